"""`pik verify` as it is typed, over the emulator: what is changed in the bucket and the table is found."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest
from click.testing import CliRunner, Result

from pik.aws.clients import AwsAccess, AwsClients
from pik.cli.main import pik

STREAM = """
apiVersion: pik.dev/v1alpha1
kind: CaptureStream
metadata: {{name: readings}}
spec:
  storage: {{prefix: readings, bucket: {{name: "{bucket}"}}}}
  mapping:
    source: {{value: sensors}}
    eventType: {{value: reading}}
    entityID: {{paths: [sensor]}}
    eventTime: {{paths: [at]}}
    idempotencyKey: {{join: {{paths: [sensor, at]}}}}
"""


def run(*arguments: str) -> Result:
    return CliRunner(env={"COLUMNS": "250"}).invoke(pik, arguments)


def ask(*arguments: str, code: int = 0) -> Any:
    result = run(*arguments, "-o", "json")
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


@dataclass
class Stream:
    s3: Any
    dynamodb: Any
    bucket: str
    table: str

    @property
    def keys(self) -> list[str]:
        found = self.s3.list_objects_v2(Bucket=self.bucket)["Contents"]
        return sorted(one["Key"] for one in found)

    @property
    def raw(self) -> list[str]:
        return [key for key in self.keys if "/raw/" in key]

    def body(self, key: str) -> bytes:
        body: bytes = self.s3.get_object(Bucket=self.bucket, Key=key)["Body"].read()
        return body

    def put(self, key: str, body: bytes) -> None:
        self.s3.put_object(Bucket=self.bucket, Key=key, Body=body)

    def item(self, pk: str, sk: str) -> dict[str, Any]:
        key = {"pk": {"S": pk}, "sk": {"S": sk}}
        item: dict[str, Any] = self.dynamodb.get_item(TableName=self.table, Key=key)["Item"]
        return item

    def items(self) -> list[dict[str, Any]]:
        pages = self.dynamodb.get_paginator("scan").paginate(TableName=self.table)
        return [item for page in pages for item in page["Items"]]

    def remove(self, item: dict[str, Any]) -> None:
        self.dynamodb.delete_item(TableName=self.table, Key={name: item[name] for name in ("pk", "sk")})

    def write(self, item: dict[str, Any]) -> None:
        self.dynamodb.put_item(TableName=self.table, Item=item)

    def versions(self) -> set[tuple[str, str]]:
        """Keys and versions of all objects, marks of deletion among them."""
        found = self.s3.list_object_versions(Bucket=self.bucket)
        both = [*found.get("Versions", []), *found.get("DeleteMarkers", [])]
        return {(one["Key"], one["VersionId"]) for one in both}

    def restore(self, versions: set[tuple[str, str]], items: list[dict[str, Any]]) -> None:
        """As one repairs it: what came later is deleted, so that what was there is itself again."""
        for key, version in self.versions() - versions:
            self.s3.delete_object(Bucket=self.bucket, Key=key, VersionId=version)
        for item in self.items():
            self.remove(item)
        for item in items:
            self.write(item)


@pytest.fixture(scope="module")
def stream(tmp_path_factory: pytest.TempPathFactory, emulator: str, module_unique: str) -> Iterator[Stream]:
    """Sealed events of two sensors, some of them twice, and others that no seal names yet."""
    folder = tmp_path_factory.mktemp("folder")
    (folder / "stream.yaml").write_text(STREAM.format(bucket=module_unique))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("PIK_DIR", str(folder))
        patch.setenv("AWS_ENDPOINT_URL", emulator)
        assert run("up", str(folder), "--once").exit_code == 0
        for day in (10, 11):
            rows = [
                f"{sensor},2013-07-{day}T{hour:02}:00:00Z,{hour}" for sensor in "ab" for hour in range(24)
            ]
            (folder / "rows.csv").write_text("\n".join(["sensor,at,value", *rows]))
            assert run("import", "rows.csv", "--stream", "readings").exit_code == 0
            if day == 10:
                assert run("import", "rows.csv", "--stream", "readings").exit_code == 0
                ask("seal", "readings", "--settle", "0")
        [told] = ask("get", "cst")["items"]
        clients = AwsClients(AwsAccess(endpoint_url=emulator))
        status = told["status"]
        yield Stream(
            clients.client("s3"), clients.client("dynamodb"), module_unique, status["index"]["table"]
        )


@pytest.fixture(scope="module")
def module_unique() -> str:
    return f"pik-test-{uuid4().hex[:20]}"


Change = Callable[[Stream], str]


def body(which: int, change: Callable[[bytes], bytes]) -> Change:
    def do(stream: Stream) -> str:
        key = stream.raw[which]
        stream.put(key, change(stream.body(key)))
        return key

    return do


def flip(at: float) -> Callable[[bytes], bytes]:
    def flipped(body: bytes) -> bytes:
        damaged = bytearray(body)
        damaged[int((len(body) - 1) * at)] ^= 4
        return bytes(damaged)

    return flipped


def removed(part: str) -> Change:
    def do(stream: Stream) -> str:
        key = next(key for key in stream.keys if part in key)
        stream.s3.delete_object(Bucket=stream.bucket, Key=key)
        return key

    return do


def exchanged(stream: Stream) -> str:
    one, other = stream.raw[0], stream.raw[-1]
    first = stream.body(one)
    stream.put(one, stream.body(other))
    stream.put(other, first)
    return one


def edited(part: str, old: bytes, new: bytes) -> Change:
    """Of an object of JSON."""

    def do(stream: Stream) -> str:
        key = [key for key in stream.keys if part in key][-1]
        found = stream.body(key)
        assert old in found
        stream.put(key, found.replace(old, new, 1))
        return key

    return do


def manifest_row(attribute: str, change: Callable[[str], str]) -> Change:
    """Of the first segment."""

    def do(stream: Stream) -> str:
        item = next(item for item in stream.items() if item["pk"]["S"] == "#segments")
        name = item["sk"]["S"]
        stream.remove(item)
        stream.write({**item, attribute: {"S": change(item[attribute]["S"])}})
        return name

    return do


def entry(attribute: str, change: Callable[[str], str] | None) -> Change:
    """Of an event; None: all of it."""

    def do(stream: Stream) -> str:
        item = min((item for item in stream.items() if "v" in item), key=lambda item: item["t"]["S"])
        stream.remove(item)
        if change is not None:
            stream.write({**item, attribute: {"S": change(item[attribute]["S"])}})
        return str(item["pk"]["S"])

    return do


def generation(stream: Stream) -> str:
    item = stream.item("#generation", "#")
    stream.write({**item, "n": {"N": "7"}})
    return "generations/00000001.json"


CHANGES: dict[str, Change] = {
    "a flipped bit in the middle": body(0, flip(0.5)),
    "a flipped bit in what is not sealed": body(-1, flip(0.4)),
    "a segment removed": removed("/raw/"),
    "two segments exchanged": exchanged,
    "a seal removed": removed("/seals/"),
    "a seal edited": edited("/seals/", b'"bytes":', b'"bytes":1'),
    "a generation record removed": removed("/generations/"),
    "a generation record edited": edited("/generations/", b'"nonce":"', b'"nonce":"0'),
    "the owner record removed": removed("owner.json"),
    "the owner record edited": edited("owner.json", b'"epoch":1', b'"epoch":2'),
    "a manifest row: its object": manifest_row("d", lambda text: text.replace('"rows":', '"rows":1')),
    "a manifest row: no JSON": manifest_row("d", lambda text: text[:-1]),
    "a manifest row: its place": manifest_row("sk", lambda text: text.replace(".g", "0.g")[1:]),
    "a manifest row: removed": manifest_row("pk", lambda _: "#elsewhere"),
    "an entry: its event": entry("pk", lambda text: "0" + text[1:]),
    "an entry: its entity": entry("e", lambda text: text + "x"),
    "an entry: its time": entry("t", lambda text: text.replace("2013", "2014")),
    "an entry: its row": entry("v", lambda text: "#".join([*text.split("#")[:2], "77", text.split("#")[3]])),
    "an entry: its generation": entry("v", lambda text: "00000009" + text[8:]),
    "an entry: no entry": entry("v", lambda _: "nothing"),
    "an entry: removed": entry("v", None),
    "the generation of the index": generation,
}


NOTES = {"a manifest row: removed"}
"""Its segment landed within the last minute: a writer may be about to write the row."""


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_is_found_and_named(stream: Stream, name: str) -> None:
    versions, items = stream.versions(), stream.items()
    try:
        what = CHANGES[name](stream)
        told = ask("verify", "readings", code=0 if name in NOTES else 1)
    finally:
        stream.restore(versions, items)
    assert any(what in json.dumps(finding) for finding in told["findings"]), (what, told)


def test_it_is_shown_and_what_was_undone_is_not(stream: Stream) -> None:
    versions, items = stream.versions(), stream.items()
    assert run("verify", "readings").stdout.startswith("Nothing is wrong: 144 rows in 3 segments")
    key = CHANGES["a flipped bit in the middle"](stream)
    result = run("verify", "readings")
    stream.restore(versions, items)
    assert result.exit_code == 1
    said, _, findings = result.stdout.partition("Findings")
    assert "wrong: 144 rows in 3 segments" in said
    lines = [line for line in findings.splitlines() if "ObjectAltered" in line]
    assert len(lines) == 1
    assert key.rpartition("/")[2][:12] in lines[0]
    assert any("rows 0–23" in line or "row " in line for line in findings.splitlines())
    assert run("verify", "readings").exit_code == 0
