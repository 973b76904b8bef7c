"""AWS, or an emulator of it, as `controller.cloud.Cloud`."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec
from botocore.loaders import Loader

from pik.api.capture_stream import CaptureStream, IndexWrites
from pik.api.storage import Storage
from pik.api.targets import DEFAULT_BATCH, Invocation, S3Format, TargetType
from pik.aws.athena import AthenaQueries
from pik.aws.clients import AssumedRole, AwsAccess, AwsClients
from pik.aws.dynamo_index import DynamoIndex
from pik.aws.dynamo_table import DynamoTable
from pik.aws.event_bridge_sink import EventBridgeSink
from pik.aws.functions import AwsFunctions
from pik.aws.glue_catalog import GlueCatalog
from pik.aws.inventory import AwsInventory
from pik.aws.kinesis_sink import KinesisSink
from pik.aws.lambda_sink import LambdaSink
from pik.aws.observing import AwsObserver
from pik.aws.provisioner import AwsProvisioner
from pik.aws.s3_objects import S3ObjectStore, lock_of
from pik.aws.sources import AwsSources
from pik.aws.sqs_sink import SQSSink
from pik.controller.engines import s3_read_back, s3_sink
from pik.controller.roles import NoRoles, Roles
from pik.domain.errors import SecretUnusable
from pik.planning.replay.addresses import ForbiddenNetworks
from pik.planning.replay.spec import TargetAddress
from pik.planning.roles import session_name
from pik.ports.catalog import Catalog
from pik.ports.functions import FunctionProvisioner
from pik.ports.index import Index
from pik.ports.inventory import Inventory
from pik.ports.objects import ObjectStore
from pik.ports.provisioning import StorageProvisioner
from pik.ports.queries import QueryService
from pik.ports.readback import ReadBack
from pik.ports.sinks import Sink
from pik.ports.sources import SourceProvisioner
from pik.ports.system import Clock, Entropy, Offload
from pik.sinks.http import Authenticate, HTTPSink

if TYPE_CHECKING:
    from mypy_boto3_events import EventBridgeClient
    from mypy_boto3_kinesis import KinesisClient
    from mypy_boto3_lambda import LambdaClient


class AwsCloud:
    """`io`: threads for AWS calls, `cpu`: for work. `loopback`: whether a replay may be sent to this machine,
    `networks`: where none is sent to besides. `roles`: which streams have which role assumed for them.
    `observer`: is told of every request. `models`: as of `AwsClients`.

    One set of clients for each region, and for each role of a namespace, made at first use. Belongs to one
    event loop."""

    def __init__(
        self,
        access: AwsAccess,
        *,
        io: Offload,
        cpu: Offload,
        clock: Clock,
        entropy: Entropy,
        loopback: bool,
        networks: ForbiddenNetworks = (),
        roles: Roles | None = None,
        observer: AwsObserver | None = None,
        models: Loader | None = None,
    ) -> None:
        self._access = access
        self._models = models
        self._observer = observer
        self._io = io
        self._cpu = cpu
        self._clock = clock
        self._entropy = entropy
        self._loopback = loopback
        self._networks = networks
        self._roles = roles or NoRoles()
        self._regions: dict[str | None, _Region] = {}
        self._assuming: dict[AssumedRole, AwsCloud] = {}

    def of(self, stream: CaptureStream) -> AwsCloud:
        namespace, arn = stream.metadata.namespace, stream.spec.roleARN
        grant = None if arn is None else self._roles.find(arn, namespace)
        if grant is None:
            return self
        return self.assuming(AssumedRole(grant.role_arn, grant.external_id, session_name(namespace)))

    def assuming(self, role: AssumedRole) -> AwsCloud:
        """With the rights of this role. The same object for the same role."""
        if role not in self._assuming:
            self._assuming[role] = AwsCloud(
                msgspec.structs.replace(self._access, role=role),
                io=self._io,
                cpu=self._cpu,
                clock=self._clock,
                entropy=self._entropy,
                loopback=self._loopback,
                networks=self._networks,
                observer=self._observer,
                models=self._models or self._region(None).clients.models,
            )
        return self._assuming[role]

    def provisioner(self, region: str | None) -> StorageProvisioner:
        return self._region(region).provisioner

    def functions(self, region: str | None) -> FunctionProvisioner:
        there = self._region(region)
        return AwsFunctions(there.made("lambda"), self._io, self._clock)

    def sources(self, region: str | None) -> SourceProvisioner:
        there = self._region(region)
        clients = (there.made("lambda"), there.sqs, there.made("kinesis"), there.made("events"))
        return AwsSources(*clients, self._io)

    def inventory(self, region: str | None) -> Inventory:
        """What there is in the region that pik has made."""
        there = self._region(region)
        tagging = there.clients.client("resourcegroupstaggingapi")
        return AwsInventory(there.s3, there.dynamodb, tagging, self._io)

    def objects(self, bucket: str, storage: Storage) -> ObjectStore:
        client = self._region(storage.region).quick_s3
        return S3ObjectStore(client, bucket, self._io, self._clock, lock_of(storage))

    def index(self, table: str, storage: Storage, writes: IndexWrites = IndexWrites.STATEMENTS) -> Index:
        client = self._region(storage.region).quick_dynamodb
        return DynamoIndex(
            DynamoTable(client, table, self._io, self._clock, self._entropy),
            storage.retentionDays,
            transactions=writes is IndexWrites.TRANSACTIONS,
        )

    def read_back(self, target: TargetAddress) -> ReadBack | None:
        if target.type is not TargetType.S3:
            return None
        place = urlsplit(target.address)
        bucket = S3ObjectStore(self._region(None).s3, place.netloc, self._io, self._clock)
        form = target.format or S3Format.PARQUET
        return s3_read_back(bucket, place.path.strip("/"), form, self._cpu)

    def queries(self, region: str | None, work_group: str, output: str) -> QueryService:
        there = self._region(region)
        return AthenaQueries(
            there.athena,
            there.s3,
            self._io,
            work_group=work_group,
            output=output,
            emulated=self._access.is_emulator,
        )

    def catalog(self, region: str | None) -> Catalog:
        return GlueCatalog(self._region(region).glue, self._io)

    def sink(self, target: TargetAddress, authenticate: Authenticate | None = None) -> Sink:
        match target.type:
            case TargetType.HTTP:
                if target.secret is not None and authenticate is None:
                    raise SecretUnusable(f"the Secret {target.secret} is not mounted here")
                return HTTPSink(
                    target.address,
                    self._clock,
                    loopback=self._loopback,
                    networks=self._networks,
                    authenticate=authenticate,
                    resent=target.headers or (),
                )
            case TargetType.SQS:
                return SQSSink(self._region(target.region).sqs, self._io, target.address)
            case TargetType.S3:
                place = urlsplit(target.address)
                bucket = S3ObjectStore(self._region(None).s3, place.netloc, self._io, self._clock)
                return s3_sink(bucket, place.path.strip("/"), target.format or S3Format.PARQUET, self._cpu)
            case TargetType.KINESIS:
                return KinesisSink(self._region(target.region).kinesis, self._io, target.address)
            case TargetType.EVENT_BRIDGE:
                return EventBridgeSink(
                    self._region(target.region).events,
                    self._io,
                    target.address,
                    source=target.source,
                    detail_type=target.detail_type,
                )
            case TargetType.LAMBDA:
                return LambdaSink(
                    self._region(target.region).functions,
                    self._io,
                    target.address,
                    waits=target.invocation is not Invocation.EVENT,
                    batch_events=target.batch or DEFAULT_BATCH,
                )

    def _region(self, name: str | None) -> _Region:
        if name not in self._regions:
            access = self._access if name is None else msgspec.structs.replace(self._access, region=name)
            clients = AwsClients(access, self._observer, self._models)
            self._models = clients.models
            self._regions[name] = _Region(clients, self._io, self._clock)
        return self._regions[name]


class _Region:
    """One region's clients."""

    def __init__(self, clients: AwsClients, io: Offload, clock: Clock) -> None:
        self.clients = clients
        self.s3 = clients.client("s3")
        self.dynamodb = clients.client("dynamodb")
        self.sqs = clients.client("sqs")
        self.quick_s3 = clients.quick_s3(self.s3)
        self.quick_dynamodb = clients.quick_dynamodb(self.dynamodb)
        self.provisioner = AwsProvisioner(self.s3, self.dynamodb, io, clock)
        self._made: dict[str, Any] = {}

    @cached_property
    def events(self) -> EventBridgeClient:
        return self.clients.sender("events")

    @cached_property
    def functions(self) -> LambdaClient:
        return self.clients.sender("lambda")

    @cached_property
    def athena(self) -> Any:
        return self.clients.client("athena")

    @cached_property
    def glue(self) -> Any:
        return self.clients.client("glue")

    @cached_property
    def kinesis(self) -> KinesisClient:
        return self.clients.sender("kinesis")

    def made(self, service: str) -> Any:
        """The client of a service that few streams need: made at first use."""
        if service not in self._made:
            self._made[service] = self.clients.client(service)
        return self._made[service]
