"""An account of the emulator that asks who may do what: roles with policies, and pik at work in each."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from iam.wire import Wire
from pik.aws.clients import AssumedRole, AwsAccess
from pik.local import emulator as embedded

ACCOUNT = "000000000000"
REGION = "us-east-1"
EVERYTHING = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
_ANYBODY = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}],
}


class Account:
    """`root`: makes clients that may do everything. `access`: pik's, in a role of its own, over a door of the
    wire that has the role's name."""

    def __init__(self, endpoint: str, wire: Wire) -> None:
        self.endpoint = endpoint
        self.wire = wire
        self._iam = self.root("iam")

    def root(self, service: str) -> Any:
        return boto3.client(
            service,
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id=ACCOUNT,
            aws_secret_access_key="test",
            config=Config(proxies={}, s3={"addressing_style": "path"}),
        )

    def access(self, name: str, policy: dict[str, Any] = EVERYTHING) -> AwsAccess:
        self._iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(_ANYBODY))
        self.allow(name, policy)
        role = AssumedRole(arn_of(name), "external", name)
        return AwsAccess(self.wire.door(name), region=REGION, role=role, connections=8)

    def allow(self, name: str, policy: dict[str, Any]) -> None:
        self._iam.put_role_policy(RoleName=name, PolicyName="all", PolicyDocument=json.dumps(policy))


def arn_of(role: str) -> str:
    return f"arn:aws:iam::{ACCOUNT}:role/{role}"


@contextmanager
def asking_account(directory: Path) -> Iterator[Account]:
    """An emulator of its own, with `AUTH=true`."""
    python = embedded.install(embedded.cache_directory(os.environ))
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("AUTH", "true")
        patched.setenv("TMPDIR", str(directory))  # where functions leave their code
        running = embedded.start(python, log=directory / "log")
    try:
        with Wire(running.endpoint) as wire:
            yield Account(running.endpoint, wire)
    finally:
        embedded.stop(running)
