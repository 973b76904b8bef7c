"""What a run's plan makes of payloads, and the key that values are hashed with.

The key lies in the stream's bucket, beside what it hides: whoever can read it can read the payloads too. It
is made once, before the first run that hashes, and is the same for every run of the stream: what was hashed
can be joined from run to run, and told back by nobody who only has the target.
"""

from __future__ import annotations

from hashlib import sha256

import msgspec

from pik.domain.errors import Incomplete, NoSuchObject
from pik.domain.transform import Transform, transform
from pik.execution.documents import document
from pik.execution.replay.once import PATIENCE, create_once
from pik.execution.retrying import until_answered
from pik.execution.stream import Stream
from pik.planning.replay.spec import ReplaySpec


class HashKey(msgspec.Struct, frozen=True):
    """Bucket object `keys/hash.json`."""

    key: str  # 64 hex digits

    @property
    def digest(self) -> str:
        """What run records know it by: SHA-256 (hex)."""
        return sha256(self.key.encode()).hexdigest()


async def mint_hash_key(stream: Stream) -> HashKey:
    """The stream's key, made now or found."""
    key = HashKey(stream.entropy.hex(64))
    found = await create_once(stream, stream.layout.hash_key, msgspec.json.encode(key))
    return key if found is None else document(stream.layout.hash_key, found, HashKey)


async def transform_of(stream: Stream, spec: ReplaySpec, begun_with: str | None) -> Transform | None:
    """What becomes of payloads; None where they are sent as they are. `begun_with`: digest of the key that
    the run began with. Raises `Incomplete` where there is another by now: one event would be two."""
    if not spec.transform:
        return None
    if not spec.hashes:
        return transform(spec.transform, b"")
    place = stream.layout.hash_key
    try:
        stored = await until_answered(stream.clock, PATIENCE, lambda: stream.objects.read(place))
    except NoSuchObject as error:
        raise Incomplete(f"the key that values are hashed with, {place}, is gone") from error
    key = document(place, stored.body, HashKey)
    if key.digest != begun_with:
        raise Incomplete(f"{place} is another key than the run began with: bring the earlier version back")
    return transform(spec.transform, bytes.fromhex(key.key))
