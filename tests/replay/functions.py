"""A function in the emulator, which really runs it: it takes events, or fails, as their data says."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import ZipFile

from pik.aws.clients import AwsClients

_CODE = """
import json
import os


def handle(event, context):
    failures = []
    with open(os.environ["LOG"], "a", encoding="utf-8") as log:
        for record in event["Records"]:
            body = json.loads(record["body"])
            does = body["data"].get("does")
            if does == "raise":
                raise ValueError(record["body"])
            if does == "answer":
                return body["data"]["answer"]
            if does == "fail":
                failures.append({"itemIdentifier": record["messageId"]})
            else:
                log.write(json.dumps(record) + "\\n")
    return {"batchItemFailures": failures}
"""


class Function:
    """`log`: where it writes what it took."""

    def __init__(self, clients: AwsClients, name: str, log: Path) -> None:
        self._client: Any = clients.sender("lambda")
        self.name = name
        self._log = log
        log.touch()
        package = BytesIO()
        with ZipFile(package, "w") as code:
            code.writestr("handler.py", _CODE)
        self._client.create_function(
            FunctionName=name,
            Runtime="python3.13",
            Role="arn:aws:iam::000000000000:role/pik",
            Handler="handler.handle",
            Code={"ZipFile": package.getvalue()},
            Environment={"Variables": {"LOG": str(log)}},
            Timeout=20,
        )
        self._client.get_waiter("function_active_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1})
        self.arn: str = self._client.get_function(FunctionName=name)["Configuration"]["FunctionArn"]

    def taken(self) -> list[dict[str, Any]]:
        """Records, in the order in which it took them."""
        return [json.loads(line) for line in self._log.read_text(encoding="utf-8").splitlines()]

    def bodies(self) -> list[dict[str, Any]]:
        return [json.loads(record["body"]) for record in self.taken()]

    def throttle(self, *, always: bool) -> None:
        if always:
            self._client.put_function_concurrency(FunctionName=self.name, ReservedConcurrentExecutions=0)
        else:
            self._client.delete_function_concurrency(FunctionName=self.name)

    def delete(self) -> None:
        self._client.delete_function(FunctionName=self.name)
