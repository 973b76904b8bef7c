"""Events: counted where they repeat, bounded in number, and never what fails a pass."""

from __future__ import annotations

from controller.manifests import STREAM
from kube.fake_api import FakeApi
from pik.api.capture_stream import CaptureStream
from pik.api.manifests import load_text
from pik.api.validation import admit
from pik.cluster.errors import KubeUnavailable
from pik.cluster.events import EventRecorder
from pik.controller.outcome import EventType, ObjectEvent
from pik.domain.instants import parse_instant
from pik.memory.system import ManualClock, SeededEntropy

START = parse_instant("2026-03-01T12:00:00Z")
DRIFT = ObjectEvent(EventType.WARNING, "DriftRepaired", "versioning of b differed")


def stream() -> CaptureStream:
    (manifest,) = load_text(STREAM)
    found = admit({**manifest.value, "metadata": {"name": "things", "uid": "u"}}).resource
    assert isinstance(found, CaptureStream)
    return found


def recorder() -> tuple[FakeApi, ManualClock, EventRecorder]:
    api, clock = FakeApi(), ManualClock(START)
    return api, clock, EventRecorder(api, clock, SeededEntropy(1), "pik-0")


async def test_the_same_event_again_is_counted() -> None:
    api, clock, events = recorder()
    await events.record(stream(), [DRIFT])
    clock.advance(30)
    await events.record(stream(), [DRIFT, ObjectEvent(EventType.NORMAL, "Provisioned", "done")])
    counted, other = sorted(api.objects.values(), key=lambda event: event["reason"])
    assert (counted["count"], counted["lastTimestamp"]) == (2, "2026-03-01T12:00:30Z")
    assert counted["involvedObject"] | {"resourceVersion": None} == {
        "apiVersion": "pik.dev/v1alpha1",
        "kind": "CaptureStream",
        "namespace": "default",
        "name": "things",
        "uid": "u",
        "resourceVersion": None,
    }
    assert (other["reason"], other["count"]) == ("Provisioned", 1)


async def test_one_that_was_removed_is_made_anew() -> None:
    api, _, events = recorder()
    await events.record(stream(), [DRIFT])
    api.objects.clear()
    await events.record(stream(), [DRIFT])
    (event,) = api.objects.values()
    assert event["count"] == 1


async def test_an_object_gone_mad_does_not_fill_the_cluster() -> None:
    api, clock, events = recorder()
    for number in range(200):
        await events.record(stream(), [ObjectEvent(EventType.NORMAL, "Odd", str(number))])
    assert len(api.objects) == 25
    clock.advance(120)
    for number in range(200, 210):
        await events.record(stream(), [ObjectEvent(EventType.NORMAL, "Odd", str(number))])
    assert len(api.objects) == 27


async def test_an_api_server_that_takes_no_events_fails_nothing() -> None:
    api, _, events = recorder()
    api.fault = lambda _: KubeUnavailable("away")
    await events.record(stream(), [DRIFT])
