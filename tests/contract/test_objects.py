"""What the work may expect of any object store."""

from __future__ import annotations

import asyncio

import pytest

from contract.values import Objects, gathered
from pik.domain.errors import AlreadyExists, Changed, NoSuchBucket, NoSuchObject, Unavailable
from pik.domain.instants import Instant
from pik.ports.objects import ObjectStore


async def test_reads_what_was_created(store: ObjectStore) -> None:
    body = bytes(range(256))
    await store.create("a/b", body, "application/octet-stream")
    stored = await store.read("a/b")
    info = await store.stat("a/b")
    assert stored.body == body
    assert (info.key, info.size) == ("a/b", 256)
    assert (info.etag, info.last_modified) == (stored.etag, stored.last_modified)
    assert stored.last_modified.micros % 1_000_000 == 0


async def test_an_empty_object_is_an_object(store: ObjectStore) -> None:
    await store.create("empty", b"")
    assert (await store.read("empty")).body == b""
    assert (await store.stat("empty")).size == 0
    with pytest.raises(AlreadyExists):
        await store.create("empty", b"more")


async def test_no_two_creations_of_one_key(store: ObjectStore) -> None:
    await store.create("once", b"first")
    with pytest.raises(AlreadyExists, match="once"):
        await store.create("once", b"second")
    with pytest.raises(AlreadyExists):
        await store.create("once", b"first")  # nor of the same body
    assert (await store.read("once")).body == b"first"


async def test_one_of_many_at_once_creates(store: ObjectStore) -> None:
    """S3 may answer 409 to two that meet: nobody knows then, and the caller asks again."""
    answers = await gathered(store.create("race", str(n).encode()) for n in range(24))
    created = [n for n, answer in enumerate(answers) if isinstance(answer, Instant)]
    assert len(created) == 1
    # the service's own time, by which whoever lists it judges when it landed
    landed = (await store.stat("race")).last_modified
    answered = answers[created[0]]
    assert isinstance(answered, Instant)
    assert landed <= answered
    others = [answer for n, answer in enumerate(answers) if n not in created]
    assert all(isinstance(answer, AlreadyExists | Unavailable) for answer in others)
    assert (await store.read("race")).body == str(created[0]).encode()


async def test_replaces_only_what_was_seen(store: ObjectStore) -> None:
    await store.create("owner", b"a")
    seen = await store.read("owner")
    await store.replace("owner", b"b", seen.etag)
    with pytest.raises(Changed, match="owner"):
        await store.replace("owner", b"c", seen.etag)
    assert (await store.read("owner")).body == b"b"
    with pytest.raises(Changed):
        await store.replace("absent", b"c", seen.etag)
    with pytest.raises(NoSuchObject):
        await store.read("absent")


async def test_one_of_many_at_once_replaces(store: ObjectStore) -> None:
    await store.create("owner", b"a")
    seen = await store.read("owner")
    answers = await gathered(store.replace("owner", str(n).encode(), seen.etag) for n in range(16))
    replaced = [n for n, answer in enumerate(answers) if answer is None]
    assert len(replaced) == 1
    assert (await store.read("owner")).body == str(replaced[0]).encode()


async def test_absent(store: ObjectStore) -> None:
    with pytest.raises(NoSuchObject, match="nothing"):
        await store.stat("nothing")
    with pytest.raises(NoSuchObject):
        await store.read("nothing")
    assert [info async for info in store.list("nothing")] == []


async def test_lists_every_object_in_key_order(store: ObjectStore) -> None:
    keys = [f"many/{n:05d}" for n in range(2_345)]
    others = ["mano", "many.txt", "many0", "many/é ü+&=%/x"]
    for start in range(0, len(keys), 100):
        await asyncio.gather(*(store.create(key, b"x") for key in keys[start : start + 100]))
    await asyncio.gather(*(store.create(key, b"yy") for key in others))
    listed = [info async for info in store.list("many/")]
    assert [info.key for info in listed] == [*keys, "many/é ü+&=%/x"]
    assert [info.size for info in listed] == [1] * len(keys) + [2]
    after = [info.key async for info in store.list("many/", start_after="many/01233")]
    assert after == [*keys[1_234:], "many/é ü+&=%/x"]
    beyond = [info.key async for info in store.list("many/", start_after="many/00000.5")]
    assert beyond[0] == keys[1]


async def test_a_bucket_that_is_gone_is_not_an_empty_one(objects: Objects) -> None:
    store = objects.store
    await objects.drop()
    with pytest.raises(NoSuchBucket):
        await store.create("a", b"")
    with pytest.raises(NoSuchBucket):
        await store.replace("a", b"", '"0"')
    with pytest.raises(NoSuchBucket):
        await store.read("a")
    with pytest.raises(NoSuchBucket):
        await store.stat("a")
    with pytest.raises(NoSuchBucket):
        async for _ in store.list(""):
            pass
