"""Clients of AWS, and of an emulator of it: the only place that makes them."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, overload
from urllib.parse import urlsplit

import boto3
import botocore.session
import msgspec
from botocore.config import Config
from botocore.credentials import (
    AssumeRoleCredentialFetcher,
    CredentialProvider,
    CredentialResolver,
    DeferredRefreshableCredentials,
)
from botocore.exceptions import BotoCoreError, NoRegionError
from botocore.loaders import Loader
from localstack_client.session import Session as LocalSession

from pik.aws.errors import translated
from pik.aws.observing import AwsObserver, observe
from pik.aws.quick import QuickDynamoDB, QuickS3
from pik.aws.whole import only_whole_answers
from pik.domain.errors import Refused

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_events import EventBridgeClient
    from mypy_boto3_kinesis import KinesisClient
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sqs import SQSClient

LONGEST_INVOKE = 120.0
"""Seconds that a call of a function waits for it."""


class AssumedRole(msgspec.Struct, frozen=True):
    """A role that is assumed, by the credentials that there are without it. `session`: what CloudTrail calls
    whoever works with it, 2 to 64 characters."""

    arn: str
    external_id: str
    session: str


class AwsAccess(msgspec.Struct, frozen=True):
    """Which AWS, with whose rights, and how many calls at once."""

    endpoint_url: str | None = None  # None: AWS itself; plain http: an emulator, with made-up credentials
    region: str | None = None  # None: that of the environment or profile
    connections: int = 32  # of each client; give its pool of threads as many
    emulated_account: str = "000000000000"
    role: AssumedRole | None = None
    own_credentials: bool = False  # those of the environment at an emulator too, as a function there has them

    @property
    def is_emulator(self) -> bool:
        return self.endpoint_url is not None and urlsplit(self.endpoint_url).scheme == "http"

    @property
    def is_made_up(self) -> bool:
        """Whether it works with made-up credentials."""
        return self.is_emulator and not self.own_credentials


class AwsClients:
    """Makes clients of one account and region. Making one takes some 50 ms: keep it. Clients may be shared by
    threads, this factory may not."""

    def __init__(
        self, access: AwsAccess, observer: AwsObserver | None = None, models: Loader | None = None
    ) -> None:
        """`models`: botocore's descriptions of the services, 15 MB in memory that factories may share; None:
        its own. Raises `Refused` for a profile that is not there."""
        self._access = access
        self._observer = observer
        self.models = models
        try:
            own = self._own()
            self._session: Any = own if access.role is None else self._assuming(own, access.role)
        except BotoCoreError as error:
            raise translated(error) from error

    @overload
    def client(self, service: Literal["s3"]) -> S3Client: ...
    @overload
    def client(self, service: Literal["dynamodb"]) -> DynamoDBClient: ...
    @overload
    def client(self, service: Literal["sqs"]) -> SQSClient: ...
    @overload
    def client(self, service: str) -> Any: ...
    def client(self, service: str) -> Any:
        """Raises `Refused` where no region is configured, and where `AWS_ENDPOINT_URL` names another emulator
        than the one wanted."""
        return self._observed(service, self._config(service))

    @overload
    def sender(self, service: Literal["kinesis"]) -> KinesisClient: ...
    @overload
    def sender(self, service: Literal["events"]) -> EventBridgeClient: ...
    @overload
    def sender(self, service: Literal["lambda"]) -> LambdaClient: ...
    def sender(self, service: str) -> Any:
        """A client that a replay sends by: it never repeats a call by itself, since the replay counts and
        records each try. Raises as `client`."""
        once = Config(retries={"mode": "standard", "total_max_attempts": 1})
        if service == "lambda":
            once = once.merge(Config(read_timeout=LONGEST_INVOKE))
        return self._observed(service, self._config(service).merge(once))

    def _observed(self, service: str, config: Config) -> Any:
        try:
            client = self._made(service, config)
        except NoRegionError as error:
            raise Refused("no AWS region is configured: set AWS_REGION, say") from error
        except BotoCoreError as error:
            raise translated(error) from error
        only_whole_answers(client)
        if self._observer is not None:
            observe(client, self._observer)
        return client

    def quick_s3(self, client: S3Client) -> QuickS3:
        """The client for the calls of commits, by a shorter way."""
        return QuickS3(client, self._session.get_credentials(), self._observer)

    def quick_dynamodb(self, client: DynamoDBClient) -> QuickDynamoDB:
        """The client for the calls of commits, by a shorter way."""
        return QuickDynamoDB(client, self._session.get_credentials(), self._observer)

    def _made(self, service: str, config: Config) -> Any:
        wanted = self._access.endpoint_url
        if not self._access.is_made_up or self._access.role is not None:
            return self._session.client(service, endpoint_url=wanted, config=config)
        client = self._session.client(service, config=config)
        if client.meta.endpoint_url != wanted:
            raise Refused(f"AWS_ENDPOINT_URL is {client.meta.endpoint_url}, but {wanted} was asked for")
        return client

    def _own(self) -> Any:
        """A session without any role."""
        access = self._access
        if access.is_made_up:
            return LocalSession(
                aws_access_key_id=access.emulated_account,
                localstack_host=urlsplit(access.endpoint_url or "").netloc,
                region_name=access.region or "us-east-1",
            )
        # of the two variables that name a region boto3 reads AWS_DEFAULT_REGION alone
        return self._over(botocore.session.Session(), access.region or os.environ.get("AWS_REGION"))

    def _over(self, session: botocore.session.Session, region: str | None) -> boto3.Session:
        session.get_scoped_config()  # raises for a profile that is not there
        if self.models is None:
            self.models = session.get_component("data_loader")
        session.register_component("data_loader", self.models)
        made = boto3.Session(botocore_session=session, region_name=region)
        paths = self.models.search_paths  # each session adds boto3's own once more
        paths[:] = dict.fromkeys(paths)
        return made

    def _assuming(self, own: Any, role: AssumedRole) -> boto3.Session:
        """A session whose credentials are those of the role: fetched at the first call, and again before they
        expire."""

        session = botocore.session.Session()
        fetcher = AssumeRoleCredentialFetcher(
            partial(
                session.create_client,
                region_name=own.region_name,
                endpoint_url=self._access.endpoint_url,
                config=self._config("sts"),
            ),
            own.get_credentials(),
            role.arn,
            extra_args={"RoleSessionName": role.session, "ExternalId": role.external_id},
        )
        session.register_component("credential_provider", CredentialResolver([_Assuming(fetcher)]))
        return self._over(session, own.region_name)

    def _config(self, service: str) -> Config:
        config = Config(
            parameter_validation=False,  # 12-20% of a call's CPU; AWS checks anyway
            tcp_keepalive=True,
            max_pool_connections=self._access.connections,
            connect_timeout=3,
            read_timeout=30,
            # a send is repeated by the replay that made it, which counts and records each try
            retries={"mode": "standard", "total_max_attempts": 1 if service == "sqs" else 4},
            user_agent_extra="pik",
        )
        if self._access.is_emulator:
            # no proxy for loopback, whatever the environment says
            config = config.merge(Config(proxies={}, s3={"addressing_style": "path"}))
        return config


class _Assuming(CredentialProvider):
    """The only provider of a session that works with a role."""

    METHOD = "assume-role"

    def __init__(self, fetcher: AssumeRoleCredentialFetcher) -> None:
        super().__init__()
        self._fetcher = fetcher

    def load(self) -> DeferredRefreshableCredentials:
        return DeferredRefreshableCredentials(self._fetcher.fetch_credentials, self.METHOD)
