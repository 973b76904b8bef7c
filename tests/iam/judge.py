"""The offline evaluator of policies: @cloud-copilot/iam-simulate, by Node, in a process of its own. It is
installed once for each user, at the versions and hashes of evaluator/package-lock.json."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from iam.account import ACCOUNT
from pik.planning.iam.statements import Policy

HERE = Path(__file__).parent / "evaluator"
ALLOWED = "Allowed"
DENIED = "ImplicitlyDenied"
_KEY_POLICY = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"},
            "Action": "kms:*",
            "Resource": "*",
        }
    ],
}


@dataclass(frozen=True)
class Question:
    """`context`: of the request, by condition keys."""

    policy: Policy
    action: str
    resource: str
    context: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        told = ", ".join(f"{key}={value}" for key, value in self.context)
        return f"{self.action} on {self.resource}" + (f" with {told}" if told else "")


class Judge:
    """`home`: where the evaluator is installed."""

    def __init__(self, home: Path) -> None:
        self._home = home

    def verdicts(self, questions: Sequence[Question]) -> list[str]:
        """ALLOWED, DENIED, or what else it says; `error: …` for an action or a resource that there is not."""
        numbers: dict[int, int] = {}  # of policies, by identity: there are few, and many questions of each
        policies, requests = [], []
        for one in questions:
            number = numbers.setdefault(id(one.policy), len(policies))
            if number == len(policies):
                policies.append(one.policy.document)
            asked = {"action": one.action, "resource": one.resource, "context": dict(one.context)}
            requests.append({"policy": number, **asked})
        whole = {"policies": policies, "requests": requests, "keyPolicy": _KEY_POLICY}
        done = subprocess.run(
            ["node", HERE / "judge.mjs", self._home],
            input=json.dumps(whole),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        found: list[str] = json.loads(done.stdout)
        return found


def install(cache: Path) -> Judge:
    """Appears whole or not at all."""
    lock = (HERE / "package-lock.json").read_bytes()
    home = cache / f"iam-evaluator-{sha256(lock).hexdigest()[:12]}"
    if not home.exists():
        assert shutil.which("npm"), (
            "policies are judged by a program for Node: install node and npm (20 or newer)"
        )
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix="iam-evaluator-", suffix=".part") as part:
            made = Path(part) / "made"
            made.mkdir()
            for name in ("package.json", "package-lock.json"):
                shutil.copy(HERE / name, made)
            done = subprocess.run(
                ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
                cwd=made,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done.stderr
            try:
                made.rename(home)
            except OSError:
                assert home.exists()  # another process was first
    return Judge(home)
