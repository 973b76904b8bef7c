"""What reconcilers ask of AWS, as ports: made for each bucket, table and target."""

from __future__ import annotations

from typing import Protocol

from pik.api.capture_stream import CaptureStream, IndexWrites
from pik.api.storage import Storage
from pik.planning.replay.spec import TargetAddress
from pik.ports.catalog import Catalog
from pik.ports.functions import FunctionProvisioner
from pik.ports.index import Index
from pik.ports.objects import ObjectStore
from pik.ports.provisioning import StorageProvisioner
from pik.ports.queries import QueryService
from pik.ports.readback import ReadBack
from pik.ports.sinks import Sink
from pik.ports.sources import SourceProvisioner


class Cloud(Protocol):
    """One account. `region` None: that of pik's own configuration. Making a port calls nothing."""

    def of(self, stream: CaptureStream) -> Cloud:
        """With the rights that work for this stream has: those of its roleARN, or pik's own. The same object
        as long as these are the same. Raises `RoleNotAllowed`."""
        ...

    def provisioner(self, region: str | None) -> StorageProvisioner: ...

    def functions(self, region: str | None) -> FunctionProvisioner: ...

    def sources(self, region: str | None) -> SourceProvisioner: ...

    def objects(self, bucket: str, storage: Storage) -> ObjectStore:
        """The bucket, whose raw objects are locked as the spec says."""
        ...

    def index(self, table: str, storage: Storage, writes: IndexWrites = IndexWrites.STATEMENTS) -> Index: ...

    def read_back(self, target: TargetAddress) -> ReadBack | None:
        """How to read what the target has got; None where it cannot tell."""
        ...

    def queries(self, region: str | None, work_group: str, output: str) -> QueryService:
        """Athena. `output`: `s3://bucket/prefix/` for results, where the work group names no place."""
        ...

    def catalog(self, region: str | None) -> Catalog: ...

    def sink(self, target: TargetAddress) -> Sink:
        """A sink of its own, which the caller closes. Raises `Unusable` for a type that is not served, and
        `SecretUnusable`."""
        ...
