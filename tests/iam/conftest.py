from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Iterator

import pytest

from iam.account import asking_account
from iam.day import Day, policies_of
from iam.emulated import translated
from iam.judge import Judge, install
from iam.scenes import TENANT, perform, script
from jobs.receivers import Receiver
from pik.local.emulator import cache_directory


@pytest.fixture(scope="session")
def judge() -> Judge:
    """Where there is no Node, what needs it is skipped; in CI (`CI=true`) that is an error."""
    if os.environ.get("CI") != "true" and not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("IAM policies are judged by a program for Node: install node and npm, 20 or newer")
    return install(cache_directory(os.environ))


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Day]:
    """Each part of pik at work with its own policy and no other right, on an emulator that asks for them."""
    directory = tmp_path_factory.mktemp("iam")
    receiver = Receiver()
    receiver.start()
    try:
        with asking_account(directory) as account:
            written = script(account, receiver)
            policies = policies_of(written)
            accesses = {
                role.value: account.access(role.value, translated(policy.document))
                for role, policy in policies.items()
            }
            assert TENANT in accesses
            try:
                asyncio.run(perform(account, written, receiver, directory, accesses))
            except Exception as error:
                denied = [
                    (one.who, one.method, one.path, one.body[:80])
                    for one in account.wire.requests
                    if one.denied
                ]
                error.add_note(f"denied: {denied}")
                raise
            yield Day(account, written, policies, list(account.wire.requests))
    finally:
        receiver.stop()
