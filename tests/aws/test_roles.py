"""Roles are assumed by STS: with the ExternalId of the map, under a session's name that says for whom, again
before they expire; and a stream with a role lives where that works."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from botocore.loaders import JSONFileLoader, Loader

from pik.api.capture_stream import CaptureStream
from pik.aws.clients import AssumedRole, AwsAccess, AwsClients
from pik.aws.errors import call
from pik.aws.system import SystemClock, SystemEntropy, ThreadOffload
from pik.controller.aws_cloud import AwsCloud
from pik.controller.roles import OwnRights, RoleFile
from pik.domain.errors import Denied, NoSuchBucket, RoleNotAllowed
from pik.planning.storage import CreateBucket

THEIRS = "222222222222"
ROLE = f"arn:aws:iam::{THEIRS}:role/team/orders"
ASSUMED = AssumedRole(ROLE, "pik-7f3a", "pik-shop")

_CREDENTIALS = """<{action}Response xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><{action}Result>
<Credentials><AccessKeyId>ASIA{number:016}</AccessKeyId><SecretAccessKey>s</SecretAccessKey>
<SessionToken>t{number}</SessionToken><Expiration>{expires}</Expiration></Credentials>
<Arn>arn</Arn><UserId>u</UserId><Account>1</Account>
</{action}Result></{action}Response>"""
_DENIED = """<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code>
<Message>not authorized to perform: sts:AssumeRole</Message></Error></ErrorResponse>"""


class Sts:
    """Hears what it is asked, and gives credentials for `minutes`; None: it denies."""

    def __init__(self) -> None:
        self.minutes: float | None = 60.0
        self.assumed: list[dict[str, str]] = []
        self.keys: list[str] = []  # access keys of other requests
        heard = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                asked = {name: values[0] for name, values in parse_qs(body.decode()).items()}
                status, text = heard.answer(asked, self.headers["Authorization"])
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_: Any) -> None: ...

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def answer(self, asked: dict[str, str], authorization: str) -> tuple[int, str]:
        action = asked["Action"]
        if action == "AssumeRole":
            self.assumed.append(asked)
            if self.minutes is None:
                return 403, _DENIED
        else:
            self.keys.append(authorization.partition("Credential=")[2].partition("/")[0])
        expires = datetime.now(UTC) + timedelta(minutes=self.minutes or 0)
        number = len(self.assumed)
        return 200, _CREDENTIALS.format(action=action, number=number, expires=expires.isoformat())


@pytest.fixture
def sts() -> Iterator[Sts]:
    made = Sts()
    thread = threading.Thread(target=made.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()


def identities(sts: Sts, count: int) -> None:
    """So many calls with the role."""
    client: Any = AwsClients(AwsAccess(sts.url, role=ASSUMED)).client("sts")  # type: ignore[call-overload]
    for _ in range(count):
        client.get_caller_identity()


@pytest.mark.loopback
def test_the_external_id_and_the_sessions_name_are_sent(sts: Sts) -> None:
    identities(sts, 3)
    (asked,) = sts.assumed  # once, and used for as long as it holds
    assert (asked["RoleArn"], asked["ExternalId"], asked["RoleSessionName"]) == (ROLE, "pik-7f3a", "pik-shop")
    assert sts.keys == ["ASIA0000000000000001"] * 3


@pytest.mark.loopback
def test_credentials_are_renewed_before_they_expire(sts: Sts) -> None:
    sts.minutes = 5.0
    identities(sts, 3)
    assert len(sts.assumed) == 3
    assert sts.keys == [f"ASIA{number:016}" for number in (1, 2, 3)]


@pytest.mark.loopback
async def test_a_role_that_sts_refuses_is_denied(sts: Sts) -> None:
    sts.minutes = None
    client: Any = AwsClients(AwsAccess(sts.url, role=ASSUMED)).client("sts")  # type: ignore[call-overload]
    io = ThreadOffload(1)
    with pytest.raises(Denied, match="AssumeRole"):
        await call(io, client.get_caller_identity)
    io.close()


def stream(role: str | None = ROLE, namespace: str = "shop") -> CaptureStream:
    spec: dict[str, Any] = {"storage": {"prefix": "p"}, **({} if role is None else {"roleARN": role})}
    return CaptureStream.from_manifest({"metadata": {"name": "s", "namespace": namespace}, "spec": spec})


@pytest.fixture
def role_map(tmp_path: Path) -> Path:
    path = tmp_path / "roles.yaml"
    path.write_text(f"roles: [{{roleARN: '{ROLE}', namespaces: [shop, billing], externalID: pik-7f3a}}]\n")
    return path


@pytest.fixture
def cloud(emulator: str, role_map: Path) -> Iterator[AwsCloud]:
    io, cpu = ThreadOffload(4), ThreadOffload(1)
    yield AwsCloud(
        AwsAccess(emulator),
        io=io,
        cpu=cpu,
        clock=SystemClock(),
        entropy=SystemEntropy(),
        loopback=False,
        roles=RoleFile(role_map),
    )
    io.close()
    cpu.close()


async def test_a_stream_with_a_role_lives_in_the_account_of_the_role(
    cloud: AwsCloud, emulator: str, unique: str
) -> None:
    theirs = cloud.of(stream())
    await theirs.provisioner(None).apply(CreateBucket(unique, object_lock=False))
    await theirs.objects(unique, stream().spec.storage).create("key", b"theirs")
    there = AwsClients(AwsAccess(emulator, emulated_account=THEIRS)).client("s3")
    assert there.get_object(Bucket=unique, Key="key")["Body"].read() == b"theirs"
    with pytest.raises((Denied, NoSuchBucket)):
        await cloud.objects(unique, stream().spec.storage).read("key")
    await theirs.provisioner(None).delete_bucket(unique)


def test_streams_share_what_their_rights_are_the_same_in(cloud: AwsCloud, role_map: Path) -> None:
    """Clients take memory: a set for each role of a namespace, not for each stream."""
    assert cloud.of(stream(None)) is cloud
    assert cloud.of(stream()) is cloud.of(stream())
    assert cloud.of(stream()) is not cloud.of(stream(namespace="billing"))
    with pytest.raises(RoleNotAllowed):
        cloud.of(stream(namespace="other"))
    before = cloud.of(stream())
    role_map.write_text(role_map.read_text().replace("pik-7f3a", "pik-another"))
    assert cloud.of(stream()) is not before


class ReadFiles(JSONFileLoader):
    """Knows which descriptions of services were read."""

    def __init__(self) -> None:
        self.read: list[str] = []

    def load_file(self, file_path: str) -> Any:
        found = super().load_file(file_path)
        if found is not None:
            self.read.append(file_path)
        return found


def test_roles_and_regions_share_what_describes_the_services(monkeypatch: pytest.MonkeyPatch) -> None:
    """15 MB, that a cluster with a role for each of its namespaces does not want for each."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    files = ReadFiles()
    first = AwsClients(AwsAccess(region="eu-west-1"), models=Loader(file_loader=files))
    for number in range(5):
        role = AssumedRole(f"arn:aws:iam::{THEIRS}:role/r{number}", "x", "session")
        for region in ("eu-west-1", "eu-west-2"):
            clients = AwsClients(AwsAccess(region=region, role=role), models=first.models)
            for service in ("s3", "dynamodb", "sqs"):
                clients.client(service)  # type: ignore[call-overload]
    assert any("dynamodb" in path for path in files.read)
    assert len(files.read) == len(set(files.read))
    assert len(first.models.search_paths) == len(set(first.models.search_paths))


def test_a_person_reads_with_his_own_rights(emulator: str) -> None:
    io = ThreadOffload(1)
    own = AwsCloud(
        AwsAccess(emulator),
        io=io,
        cpu=io,
        clock=SystemClock(),
        entropy=SystemEntropy(),
        loopback=True,
        roles=OwnRights(),
    )
    assert own.of(stream()) is own
    io.close()
