"""Last chapter: somebody flips one byte of raw, and somebody drops the table."""

from __future__ import annotations

from typing import Any

from story.folder import Folder
from story.questions import asked_again
from story.terminal import check


def damage_and_repair(stage: Folder, version: str) -> None:
    status: dict[str, Any] = stage.resource("capturestream", "flights")["status"]
    bucket = status["storage"]["bucket"]
    with stage.chapter("Somebody flips one byte of raw"):
        stage.show("seal", "flights")
        stage.show("verify", "flights")
        key, altered = _flip(stage, bucket)
        stage.show("verify", "flights", lines=30, fails=True)
        findings = stage.ask("verify", "flights", fails=True)["findings"]
        check(any(finding["key"] == key for finding in findings), "verify names the object")
        one = any(finding.get("row") is not None for finding in findings)
        check(one or any(finding.get("rows") for finding in findings), "and the row, or the page of rows")
        # the bucket is versioned: what was there before is there still
        stage.s3().delete_object(Bucket=bucket, Key=key, VersionId=altered)
        stage.show("verify", "flights")
        named = "row" if one else "page of rows that cannot be read any more"
        stage.proved(f"found, named to the {named}, and undone from the bucket's own versions")
    with stage.chapter("Somebody drops the table"):
        dynamodb, table = stage.client("dynamodb"), status["index"]["table"]
        stage.say("[yellow]its protection against deletion is taken away, and the table with it[/yellow]")
        dynamodb.update_table(TableName=table, DeletionProtectionEnabled=False)
        dynamodb.delete_table(TableName=table)
        stage.show("reindex", "flights")
        stage.until("capturestream", "flights", "Ready")
        asked_again(stage, "after-reindex", version)
        stage.show("verify", "flights")
        stage.proved(f"rebuilt from raw alone: the same version, {version[:12]}")


def _flip(stage: Folder, bucket: str) -> tuple[str, str]:
    """Flips a byte in the middle of the largest raw object. Returns its key and the new version's id."""
    s3 = stage.s3()
    found = s3.list_objects_v2(Bucket=bucket, Prefix="flights/raw/")["Contents"]
    key = max(found, key=lambda item: item["Size"])["Key"]
    body = bytearray(s3.get_object(Bucket=bucket, Key=key)["Body"].read())
    body[len(body) * 3 // 4] ^= 0x01
    put = s3.put_object(Bucket=bucket, Key=key, Body=bytes(body))
    stage.say(f"[yellow]one byte of segment {key.rsplit('/', 1)[-1][:12]} is another now[/yellow]")
    version: str = put["VersionId"]
    return str(key), version
