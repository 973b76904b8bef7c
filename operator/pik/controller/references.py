"""Whether the stream that a spec refers to is there, may be referred to from its namespace, and is open."""

from __future__ import annotations

from pik.api.capture_stream import Access, AccessFrom, CaptureStream
from pik.api.conditions import Reason
from pik.controller.faults import STALLED_AGAIN
from pik.controller.objects import ObjectKey
from pik.controller.outcome import Stalled, Waiting
from pik.controller.workshop import OpenStream
from pik.controller.world import World
from pik.domain.errors import SelectorNotReadable
from pik.planning.access import selects


def stream_of(own: str, namespace: str | None, name: str) -> ObjectKey:
    """The stream that a reference of an object in namespace `own` names."""
    return ObjectKey(CaptureStream.KIND, namespace or own, name)


async def waits_for_stream(
    key: ObjectKey, namespace: str, world: World
) -> tuple[CaptureStream, OpenStream] | Waiting | Stalled:
    """The stream of a reference from `namespace`, if it is there, may be referred to, and is open."""
    stream = world.objects.find(key)
    if not isinstance(stream, CaptureStream):
        return Waiting(Reason.STREAM_NOT_FOUND, f"there is no {key}", on=key)
    try:
        denied = None if key.namespace == namespace else await _denied(stream.spec.access, namespace, world)
    except SelectorNotReadable as error:
        return Stalled(Reason.SELECTOR_NOT_READABLE, str(error), on=key, again=STALLED_AGAIN)
    if denied is not None:
        message = f"access of {key} allows {denied}, and this is {namespace}"
        # labels of a namespace change without its objects being told
        return Stalled(Reason.ACCESS_DENIED, message, on=key, again=STALLED_AGAIN)
    opened = world.workshop.find(key)
    if opened is None or not opened.whole:
        return Waiting(Reason.STREAM_NOT_READY, f"{key} is not ready", on=key)
    return stream, opened


async def _denied(access: Access, namespace: str, world: World) -> str | None:
    """What the owner allows instead of this other namespace; None where it is allowed."""
    if access.from_ is AccessFrom.SELECTOR and access.selector is not None:
        chosen = selects(access.selector, await world.namespaces.labels(namespace))
        return None if chosen else "its own namespace and those that its selector selects"
    return None if access.from_ is AccessFrom.ALL else "its own namespace only"
