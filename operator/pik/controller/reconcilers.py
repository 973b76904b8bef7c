"""Which reconciler an object of which kind has."""

from __future__ import annotations

from pik.api.aggregate_version import AggregateVersion
from pik.api.capture_stream import CaptureStream
from pik.api.conditions import Reason
from pik.api.kinds import AnyResource
from pik.api.replay_job import ReplayJob
from pik.controller.aggregate_version import reconcile_aggregate
from pik.controller.capture_stream import reconcile_stream
from pik.controller.deletion import finalize_stream, wants_finalizer
from pik.controller.manager import Reconcilers
from pik.controller.objects import ObjectKey, key_of
from pik.controller.outcome import Done, Pass
from pik.controller.replay_job import finalize_replay, reconcile_replay
from pik.controller.world import World


def reconcilers(world: World) -> Reconcilers:
    """Those of all three kinds in this world."""

    async def reconcile(resource: AnyResource) -> Pass:
        match resource:
            case CaptureStream():
                return await reconcile_stream(resource, world)
            case ReplayJob():
                return await reconcile_replay(resource, world)
            case AggregateVersion():
                return await reconcile_aggregate(resource, world)

    async def finalize(resource: AnyResource) -> Pass:
        match resource:
            case CaptureStream():
                return await finalize_stream(resource, world)
            case ReplayJob():
                return Pass(resource.status, await finalize_replay(resource, world))
            case AggregateVersion():
                await world.computations.halt(key_of(resource))
                return Pass(resource.status, Done(Reason.SUCCEEDED))

    async def forget(key: ObjectKey) -> None:
        await world.background.stop(key)
        if key.kind == ReplayJob.KIND:
            await world.runs.forget(key)
        if key.kind == AggregateVersion.KIND:
            await world.computations.forget(key)
        await world.workshop.close(key)

    def holds(resource: AnyResource) -> bool:
        return isinstance(resource, CaptureStream) and wants_finalizer(resource)

    return Reconcilers(reconcile, holds, finalize, forget)
