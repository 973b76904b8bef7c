"""A target is sent to in the region that its address names."""

from __future__ import annotations

from typing import Any

import pytest

from pik.api.targets import TargetType
from pik.aws.clients import AwsAccess
from pik.controller.aws_cloud import AwsCloud
from pik.memory.system import InlineOffload, ManualClock, SeededEntropy
from pik.planning.replay.spec import TargetAddress
from reading.streams import START


@pytest.mark.parametrize(
    ("kind", "address", "region"),
    [
        (TargetType.SQS, "https://sqs.eu-west-1.amazonaws.com/123456789012/q", "eu-west-1"),
        (TargetType.SQS, "https://queue.example.test/123456789012/q", "us-east-2"),
        (TargetType.KINESIS, "arn:aws:kinesis:eu-west-1:123456789012:stream/s", "eu-west-1"),
        (TargetType.KINESIS, "s", "us-east-2"),
        (TargetType.EVENT_BRIDGE, "arn:aws:events:eu-west-1:123456789012:event-bus/b", "eu-west-1"),
        (TargetType.LAMBDA, "arn:aws:lambda:eu-west-1:123456789012:function:f", "eu-west-1"),
    ],
)
def test_a_target_is_sent_to_in_its_region(
    kind: TargetType, address: str, region: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):  # or they are looked for on the network
        monkeypatch.setenv(name, "none")
    cloud = AwsCloud(
        AwsAccess(region="us-east-2"),
        io=InlineOffload(),
        cpu=InlineOffload(),
        clock=ManualClock(START),
        entropy=SeededEntropy(1),
        loopback=False,
    )
    sink: Any = cloud.sink(TargetAddress(kind, address))
    assert sink._client.meta.region_name == region
