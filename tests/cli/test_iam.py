"""`pik iam`: the policies themselves are held against calls in tests/iam."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from cli.desks import Office
from controller.manifests import VERSION
from pik.planning.iam.roles import FUNCTIONS, SENDS, Role

STREAM = """
apiVersion: pik.dev/v1alpha1
kind: CaptureStream
metadata: {name: %s}
spec: {storage: {prefix: some, bucket: {name: a-bucket}}, index: {tableName: a-table}}
"""
JOB = """
apiVersion: pik.dev/v1alpha1
kind: ReplayJob
metadata: {name: again}
spec:
  streamRef: {name: things}
  select: {window: {from: "2026-02-01T00:00:00Z", to: "2026-03-01T00:00:00Z"}}
  target: {type: SQS, sqs: {queueURL: "https://sqs.eu-west-1.amazonaws.com/123456789012/orders"}}
"""


@pytest.mark.parametrize("role", Role)
def test_without_names_a_policy_is_for_names_that_pik_makes(tmp_path: Path, role: Role) -> None:
    result = Office(tmp_path).run("iam", role)
    resources = [one for each in json.loads(result.stdout)["Statement"] for one in each["Resource"]]
    assert resources
    assert all("pik-*" in one or "/aws/lambda/pik-" in one for one in resources)
    assert (result.stderr == "") is (role not in SENDS | FUNCTIONS)


def test_names_come_from_files(tmp_path: Path) -> None:
    (tmp_path / "stream.yaml").write_text(STREAM % "things")
    (tmp_path / "job.yaml").write_text(JOB)
    result = Office(tmp_path).run(
        "iam", "worker", "-f", str(tmp_path), "-o", "yaml", "--account", "123456789012"
    )
    found = {one for each in yaml.safe_load(result.stdout)["Statement"] for one in each["Resource"]}
    assert found == {
        "arn:aws:s3:::a-bucket",
        "arn:aws:s3:::a-bucket/some/*",
        "arn:aws:s3:::a-bucket/some/runs/*",
        "arn:aws:dynamodb:*:123456789012:table/a-table",
        "arn:aws:sqs:eu-west-1:123456789012:orders",
    }
    assert result.stderr == ""


def test_names_come_from_a_streams_status(tmp_path: Path) -> None:
    result = Office(tmp_path).run("iam", "gateway", "things")
    found = {one for each in json.loads(result.stdout)["Statement"] for one in each["Resource"]}
    assert {"arn:aws:s3:::b/some/raw/*", "arn:aws:dynamodb:*:*:table/t"} <= found
    assert Office(tmp_path).run("iam", "gateway", "others").exit_code == 1


def test_deletion_is_only_in_it_where_it_is_asked_for(tmp_path: Path) -> None:
    office = Office(tmp_path)
    assert "s3:DeleteBucket" not in office.run("iam", "operator").stdout
    assert "s3:DeleteBucket" in office.run("iam", "operator", "--deletion").stdout


def test_what_is_too_large_for_iam_is_said_to_be_so(tmp_path: Path) -> None:
    for number in range(40):
        (tmp_path / f"{number}.yaml").write_text(
            STREAM.replace("a-bucket", f"bucket-{number}") % f"s{number}"
        )
    result = Office(tmp_path).run("iam", "operator", "-f", str(tmp_path))
    assert "a managed policy has at most 6,144" in result.stderr
    assert result.exit_code == 0


def test_a_manifest_that_is_refused_is_no_stream(tmp_path: Path) -> None:
    (tmp_path / "stream.yaml").write_text(STREAM.replace("prefix: some", "prefix: /") % "things")
    result = Office(tmp_path).run("iam", "gateway", "-f", str(tmp_path))
    assert result.exit_code == 1
    assert "prefix" in result.stderr


def test_work_groups_come_from_versions_that_athena_computes(tmp_path: Path) -> None:
    (tmp_path / "stream.yaml").write_text(STREAM % "things")
    without = json.loads(Office(tmp_path).run("iam", "aggregate", "-f", str(tmp_path)).stdout)
    version = VERSION + "  engine: Athena\n  execution: {athena: {workGroup: cheap}}\n"
    (tmp_path / "version.yaml").write_text(version)
    arguments = ("-f", str(tmp_path), "--account", "1", "--region", "eu-west-1")
    aggregate = json.loads(Office(tmp_path).run("iam", "aggregate", *arguments).stdout)["Statement"]
    assert not any(action.startswith("athena:") for one in without["Statement"] for action in one["Action"])
    (query,) = [one for one in aggregate if "athena:StartQueryExecution" in one["Action"]]
    assert query["Resource"] == ["arn:aws:athena:eu-west-1:1:workgroup/cheap"]
    results = {one for each in aggregate if each["Sid"].startswith("ByAthena") for one in each["Resource"]}
    assert "arn:aws:s3:::a-bucket/some/athena/*" in results
    operator = json.loads(Office(tmp_path).run("iam", "operator", *arguments).stdout)["Statement"]
    (catalog,) = [one for one in operator if "glue:UpdateTable" in one["Action"]]
    assert catalog["Resource"] == [
        "arn:aws:glue:eu-west-1:1:catalog",
        "arn:aws:glue:eu-west-1:1:database/pik",
        "arn:aws:glue:eu-west-1:1:table/pik/stream_*",
    ]
