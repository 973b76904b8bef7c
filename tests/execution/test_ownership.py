"""One owner a prefix, in every cluster."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from pik.domain.errors import DataLost, OwnershipConflict, Unavailable, Unusable
from pik.domain.instants import parse_instant
from pik.execution.ownership import Claimant, OwnerRecord, claim, read_owner
from pik.memory.hooks import Hook, unhooked
from pik.memory.objects import MemoryBucket, MemoryObjectStore
from pik.memory.system import ManualClock, SeededEntropy

CLOCK = ManualClock(parse_instant("2013-07-10T04:00:00Z"))
HERE = Claimant("here", "team", "flights")
THERE = Claimant("there", "team", "flights")


@pytest.fixture
def bucket() -> MemoryBucket:
    return MemoryBucket()


@pytest.fixture
def store(bucket: MemoryBucket) -> MemoryObjectStore:
    return MemoryObjectStore(bucket, CLOCK)


def losing(bucket: MemoryBucket, call: str) -> MemoryObjectStore:
    """The first answer to `call` is lost."""
    left = [call]

    async def lose(called: str) -> None:
        if called in left:
            left.remove(called)
            raise Unavailable(called)

    return MemoryObjectStore(bucket, CLOCK, after=lose)


async def test_the_first_mints_the_stream_and_stays_its_owner(store: MemoryObjectStore) -> None:
    assert await read_owner(store, "p/") is None
    record = await claim(store, "p/", HERE, SeededEntropy(1))
    assert record == OwnerRecord(SeededEntropy(1).hex(32), "here", "team", "flights", 1)
    assert await claim(store, "p/", HERE, SeededEntropy(2), known_stream=record.stream_id) == record
    assert await read_owner(store, "p/") == record


async def test_a_second_owner_is_told_who_the_first_is(store: MemoryObjectStore) -> None:
    await claim(store, "p/", HERE, SeededEntropy(1))
    with pytest.raises(OwnershipConflict, match="here/team/flights"):
        await claim(store, "p/", THERE, SeededEntropy(2))
    with pytest.raises(OwnershipConflict, match="here/team/flights"):
        await claim(store, "p/", THERE, SeededEntropy(2), take_over_from="elsewhere/team/flights")


@pytest.mark.parametrize("body", [b"{}", b'{"name": "\xff"}', b""])
async def test_a_record_that_cannot_be_read_is_told_apart_from_none(
    store: MemoryObjectStore, body: bytes
) -> None:
    await store.create("p/owner.json", body)
    with pytest.raises(Unusable, match=r"p/owner\.json does not say whose p/ is"):
        await read_owner(store, "p/")
    with pytest.raises(Unusable):
        await claim(store, "p/", HERE, SeededEntropy(1), take_over_from=str(THERE))


async def test_another_namespaces_stream_is_not_taken_over_by_naming_it(store: MemoryObjectStore) -> None:
    old = await claim(store, "p/", HERE, SeededEntropy(1))
    for cluster in ("here", "there"):
        stranger = Claimant(cluster, "strangers", "flights")
        with pytest.raises(OwnershipConflict, match="stays in its namespace"):
            await claim(store, "p/", stranger, SeededEntropy(2), take_over_from=str(HERE))
    assert await read_owner(store, "p/") == old


async def test_who_is_still_there_is_not_taken_over_from(store: MemoryObjectStore) -> None:
    old = await claim(store, "p/", HERE, SeededEntropy(1))
    sibling = Claimant("here", "team", "trains")
    living = {HERE}

    async def take() -> OwnerRecord:
        return await claim(
            store,
            "p/",
            sibling,
            SeededEntropy(2),
            take_over_from=str(HERE),
            is_living=living.__contains__,
        )

    with pytest.raises(OwnershipConflict, match="still there"):
        await take()
    assert await read_owner(store, "p/") == old
    living.clear()
    assert (await take()).claimant == sibling


async def test_a_takeover_keeps_the_stream_and_raises_the_epoch(store: MemoryObjectStore) -> None:
    old = await claim(store, "p/", HERE, SeededEntropy(1))
    new = await claim(store, "p/", THERE, SeededEntropy(2), take_over_from="here/team/flights")
    assert (new.stream_id, new.claimant, new.epoch) == (old.stream_id, THERE, 2)
    # the annotation stays where it is, and does nothing more
    assert await claim(store, "p/", THERE, SeededEntropy(3), take_over_from="here/team/flights") == new
    with pytest.raises(OwnershipConflict, match="there/team/flights"):
        await claim(store, "p/", HERE, SeededEntropy(4), known_stream=old.stream_id)


async def test_lost_answers(bucket: MemoryBucket) -> None:
    with pytest.raises(Unavailable):
        await claim(losing(bucket, "objects.create"), "p/", HERE, SeededEntropy(1))
    first = await claim(losing(bucket, ""), "p/", HERE, SeededEntropy(2))
    assert first.stream_id == SeededEntropy(1).hex(32)
    taking = losing(bucket, "objects.replace")
    with pytest.raises(Unavailable):
        await claim(taking, "p/", THERE, SeededEntropy(3), take_over_from=str(HERE))
    assert (await claim(taking, "p/", THERE, SeededEntropy(3), take_over_from=str(HERE))).epoch == 2


async def test_one_of_two_at_once(bucket: MemoryBucket) -> None:
    async def others_first(call: str) -> None:
        await asyncio.sleep(0)

    def store(before: Hook) -> MemoryObjectStore:
        return MemoryObjectStore(bucket, CLOCK, before=before)

    answers = await asyncio.gather(
        claim(store(others_first), "p/", HERE, SeededEntropy(1)),
        claim(store(unhooked), "p/", THERE, SeededEntropy(2)),
        return_exceptions=True,
    )
    assert sorted(isinstance(answer, OwnershipConflict) for answer in answers) == [False, True]

    old = await read_owner(store(unhooked), "p/")
    assert old is not None
    rivals = [Claimant(f"rival{n}", "team", "flights") for n in range(5)]
    answers = await asyncio.gather(
        *(
            claim(store(others_first), "p/", rival, SeededEntropy(3), take_over_from=str(old.claimant))
            for rival in rivals
        ),
        return_exceptions=True,
    )
    taken = [answer for answer in answers if isinstance(answer, OwnerRecord)]
    assert len(taken) == 1
    assert await read_owner(store(unhooked), "p/") == taken[0]
    assert all(isinstance(answer, OwnershipConflict | OwnerRecord) for answer in answers)


async def test_a_stream_that_is_known_is_never_minted_again(
    bucket: MemoryBucket, store: MemoryObjectStore
) -> None:
    record = await claim(store, "p/", HERE, SeededEntropy(1))
    bucket.objects.clear()
    with pytest.raises(DataLost, match=record.stream_id):
        await claim(store, "p/", HERE, SeededEntropy(2), known_stream=record.stream_id)
    assert not bucket.objects
    await claim(store, "p/", HERE, SeededEntropy(3))
    with pytest.raises(DataLost, match=record.stream_id):
        await claim(store, "p/", HERE, SeededEntropy(4), known_stream=record.stream_id)


async def test_no_stream_in_another_or_over_what_lies_there(store: MemoryObjectStore) -> None:
    await store.create("a/b/notes.txt", b"")
    with pytest.raises(Unusable, match=r"a/b/notes\.txt"):
        await claim(store, "a/", HERE, SeededEntropy(1))
    await claim(store, "p/q/", HERE, SeededEntropy(1))
    with pytest.raises(OwnershipConflict, match="lies inside of p/q/"):
        await claim(store, "p/q/raw/", THERE, SeededEntropy(2))
    with pytest.raises(Unusable, match="owner"):
        await claim(store, "p/", THERE, SeededEntropy(2))
    await claim(store, "p/qq/", THERE, SeededEntropy(2))


def test_the_record_is_readable_json() -> None:
    record = OwnerRecord("0" * 32, "c", "n", "s", 1)
    assert msgspec.json.decode(msgspec.json.encode(record)) == {
        "stream_id": "0" * 32,
        "cluster": "c",
        "namespace": "n",
        "name": "s",
        "epoch": 1,
    }
