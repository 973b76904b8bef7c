"""What a stream is called outside of its cluster: in AWS, and in owner records."""

from __future__ import annotations

from pik.api.capture_stream import CaptureStream
from pik.controller.world import World
from pik.execution.ownership import Claimant
from pik.planning.storage import Names, bucket_name


def names_of(resource: CaptureStream, world: World) -> Names:
    meta, spec = resource.metadata, resource.spec
    return Names(
        world.cluster,
        meta.namespace,
        meta.name,
        bucket_name(spec, world.cluster, meta.namespace, meta.name),
        f"{spec.storage.prefix}/",
    )


def claimant_of(resource: CaptureStream, world: World) -> Claimant:
    return Claimant(world.cluster, resource.metadata.namespace, resource.metadata.name)
