"""The three kinds by name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from pik.api.aggregate_version import AggregateVersion
from pik.api.capture_stream import CaptureStream
from pik.api.replay_job import ReplayJob

AnyResource = CaptureStream | ReplayJob | AggregateVersion

KINDS: Mapping[str, type[AnyResource]] = MappingProxyType(
    {model.KIND: model for model in (CaptureStream, ReplayJob, AggregateVersion)}
)
