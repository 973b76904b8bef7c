"""What local mode keeps beside the manifests, in `DIR/.pik/`.

    cluster                       the name of this "cluster" in owner records
    objects/<Kind>/<ns>/<name>.json   each object as it was last admitted, with its status and events
    applied/<Kind>.<ns>.<name>.yaml   manifests that were handed over by `pik apply`
    patches/<Kind>.<ns>.<name>.json   fields that people set by `pik approve`, `pik suspend` and the like
    expired/<Kind>.<ns>.<name>        manifests whose objects have outlived their TTL
    up.json, up.lock              the last `pik up`, and whether it still works on the folder
    segments/                     segments as files: a cache

Only `pik up` writes objects; everything may be read at any time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fcntl import LOCK_EX, LOCK_NB, LOCK_SH, flock
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import orjson

from pik.api.kinds import KINDS, AnyResource
from pik.controller.objects import ObjectKey
from pik.controller.outcome import ObjectEvent
from pik.domain.errors import PikError
from pik.domain.instants import Instant
from pik.local.files import read_if_there, write_whole

STATE = ".pik"
MAX_EVENTS = 50  # of one object, the latest
_IGNORE = b"# state of `pik up`: not for version control\n*\n"


class NoState(PikError):
    """The folder has no state of local mode."""


class AlreadyUp(PikError):
    """Another process works on the folder."""


class SeenEvent(msgspec.Struct, frozen=True):
    """An event of an object and how often it was seen, as `kubectl describe` shows it."""

    type: str
    reason: str
    message: str
    count: int
    first: str  # RFC 3339, UTC
    last: str


class Record(msgspec.Struct, frozen=True):
    """An object as it is stored. `source`: the file that declares it."""

    manifest: dict[str, Any]
    source: str
    events: tuple[SeenEvent, ...] = ()

    @property
    def key(self) -> ObjectKey:
        return key_in(self.manifest)

    @property
    def uid(self) -> str:
        return str(self.manifest["metadata"]["uid"])

    @property
    def resource(self) -> AnyResource:
        return KINDS[self.manifest["kind"]].from_manifest(self.manifest)


class Patch(msgspec.Struct, frozen=True):
    """What people set on one object, over what its manifest says (a JSON merge patch, RFC 7396)."""

    uid: str  # of the object that it is for: one that is created anew starts without
    patch: dict[str, Any]


class Up(msgspec.Struct, frozen=True):
    """A `pik up`."""

    pid: int
    gateway: str  # base URL
    endpoint: str | None  # of AWS; None: AWS itself
    region: str | None


class State:
    """The state under `directory`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.root = directory / STATE

    @property
    def applied(self) -> Path:
        return self.root / "applied"

    @property
    def patches(self) -> Path:
        return self.root / "patches"

    @property
    def segments(self) -> Path:
        return self.root / "segments"

    @property
    def lock(self) -> Path:
        return self.root / "up.lock"

    def check(self) -> None:
        """Raises `NoState`."""
        if not self.root.is_dir():
            raise NoState(f"no `pik up` has worked on {self.directory} yet")

    def create(self) -> None:
        """Makes what is missing of the folders."""
        for folder in (self.root / "objects", self.applied, self.patches, self.root / "expired"):
            folder.mkdir(parents=True, exist_ok=True)
        ignore = self.root / ".gitignore"
        if not ignore.exists():
            write_whole(ignore, _IGNORE)

    def known_cluster(self) -> str | None:
        """The cluster's name, where it has one already."""
        name = read_if_there(self.root / "cluster")
        return None if name is None else name.decode()

    def cluster(self, entropy: str) -> str:
        """The cluster's name; named with `entropy` (hex digits) the first time."""
        name = self.known_cluster()
        if name is None:
            name = f"local-{entropy}"
            write_whole(self.root / "cluster", name.encode())
        return name

    # objects

    def records(self) -> Iterator[Record]:
        """All objects, by kind, namespace and name."""
        for path in sorted((self.root / "objects").glob("*/*/*.json")):
            body = read_if_there(path)
            if body is not None:  # else it was deleted meanwhile
                yield msgspec.json.decode(body, type=Record)

    def record(self, key: ObjectKey) -> Record | None:
        body = read_if_there(self._object(key))
        return None if body is None else msgspec.json.decode(body, type=Record)

    def put(self, record: Record) -> None:
        write_whole(
            self._object(record.key), orjson.dumps(msgspec.to_builtins(record), option=orjson.OPT_INDENT_2)
        )

    def remove(self, key: ObjectKey) -> None:
        """The object, and what people set on it."""
        self._object(key).unlink(missing_ok=True)
        self._patch(key).unlink(missing_ok=True)

    # what people say

    def applied_file(self, key: ObjectKey) -> Path:
        return self.applied / f"{file_name(key)}.yaml"

    def patch(self, key: ObjectKey) -> Patch | None:
        body = read_if_there(self._patch(key))
        return None if body is None else msgspec.json.decode(body, type=Patch)

    def put_patch(self, key: ObjectKey, patch: Patch) -> None:
        write_whole(self._patch(key), msgspec.json.encode(patch))

    # manifests whose objects have expired

    def expired(self, key: ObjectKey) -> str | None:
        """The digest of the manifest whose object has expired."""
        body = read_if_there(self._expired(key))
        return None if body is None else body.decode()

    def set_expired(self, key: ObjectKey, digest: str | None) -> None:
        if digest is None:
            self._expired(key).unlink(missing_ok=True)
        else:
            write_whole(self._expired(key), digest.encode())

    # the process at work

    def up(self) -> Up | None:
        """The last `pik up`, whether it still runs or not: it says where the streams lie."""
        body = read_if_there(self.root / "up.json")
        return None if body is None else msgspec.json.decode(body, type=Up)

    def set_up(self, up: Up) -> None:
        write_whole(self.root / "up.json", msgspec.json.encode(up))

    def running(self) -> Up | None:
        """The `pik up` that works on the folder now."""
        if not self.lock.exists():
            return None
        with self.lock.open("rb") as file:
            try:
                flock(file, LOCK_SH | LOCK_NB)
            except BlockingIOError:
                return self.up()
        return None

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody else works on the folder meanwhile; the lock goes with the process, however it ends.

        Raises `AlreadyUp`.
        """
        with self.lock.open("ab") as file:
            try:
                flock(file, LOCK_EX | LOCK_NB)
            except BlockingIOError as error:
                up = self.up()
                who = f"process {up.pid}" if up else "another process"
                raise AlreadyUp(f"`pik up` works on {self.directory} already ({who})") from error
            yield

    def _object(self, key: ObjectKey) -> Path:
        return self.root / "objects" / key.kind / key.namespace / f"{key.name}.json"

    def _patch(self, key: ObjectKey) -> Path:
        return self.patches / f"{file_name(key)}.json"

    def _expired(self, key: ObjectKey) -> Path:
        return self.root / "expired" / file_name(key)


def file_name(key: ObjectKey) -> str:
    """A namespace has no dot and no kind has one, so that no two objects share a name."""
    return f"{key.kind}.{key.namespace}.{key.name}"


def key_in(manifest: dict[str, Any]) -> ObjectKey:
    """The key of an admitted manifest."""
    meta = manifest["metadata"]
    return ObjectKey(manifest["kind"], meta.get("namespace") or "default", meta["name"])


def digest_of(manifest: dict[str, Any]) -> str:
    """SHA-256 (hex) of a manifest's content."""
    return sha256(orjson.dumps(manifest, option=orjson.OPT_SORT_KEYS)).hexdigest()


def with_events(record: Record, events: Sequence[ObjectEvent], now: Instant) -> Record:
    """The record with these events seen once more, the latest last."""
    seen = list(record.events)
    for event in events:
        same = next((old for old in seen if (old.reason, old.message) == (event.reason, event.message)), None)
        if same is not None:
            seen.remove(same)
        first = now.text if same is None else same.first
        count = 1 if same is None else same.count + 1
        seen.append(SeenEvent(event.type, event.reason, event.message, count, first, now.text))
    return msgspec.structs.replace(record, events=tuple(seen[-MAX_EVENTS:]))
