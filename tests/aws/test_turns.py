"""Changes of one bucket wait for one another, since rules and tags are read and written back; those of
others do not wait."""

from __future__ import annotations

import asyncio
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest

from pik.aws.provisioner import AwsProvisioner
from pik.domain.instants import Instant
from pik.memory.system import ManualClock
from pik.planning.storage import SetBucketTags


class Slow:
    """`Offload` whose work is under way for a while. `most`: at once, by bucket and altogether."""

    def __init__(self) -> None:
        self.now: Counter[str] = Counter()
        self.most: Counter[str] = Counter()

    async def __call__(self, work: Any, *args: Any, **kwargs: Any) -> Any:
        bucket = kwargs.get("Bucket") or args[0]
        for name in (bucket, "all"):
            self.now[name] += 1
            self.most[name] = max(self.most[name], self.now[name])
        for _ in range(5):
            await asyncio.sleep(0)
        for name in (bucket, "all"):
            self.now[name] -= 1
        return work(*args, **kwargs)


@pytest.mark.parametrize("buckets", [1, 20])
async def test_turns(buckets: int) -> None:
    tags: dict[str, list[dict[str, str]]] = {}

    def put_bucket_tagging(Bucket: str, Tagging: Any) -> None:  # noqa: N803 - AWS's names
        tags[Bucket] = Tagging["TagSet"]

    s3: Any = SimpleNamespace(
        get_bucket_tagging=lambda Bucket: {"TagSet": tags.get(Bucket, [])},  # noqa: N803
        put_bucket_tagging=put_bucket_tagging,
    )
    slow = Slow()
    provisioner = AwsProvisioner(s3, s3, slow, ManualClock(Instant(0)))
    names = [f"bucket-{number}" for number in range(buckets)]
    await asyncio.gather(
        *[
            provisioner.apply(SetBucketTags(name, {f"tag-{number}": "x"}))
            for name in names
            for number in range(4)
        ]
    )
    for name in names:
        assert slow.most[name] == 1
        assert {tag["Key"] for tag in tags[name]} == {f"tag-{number}" for number in range(4)}
    assert slow.most["all"] == buckets
