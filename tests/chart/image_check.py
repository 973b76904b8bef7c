"""Run inside the image: all that pik loads is there, although much of its dependencies was left out."""

import importlib
import io
import pkgutil
import re
import sys
from typing import get_overloads

import boto3
import duckdb
import kopf
import kubernetes.client
import kubernetes.config
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

import pik
from pik.aws.clients import AwsClients

for module in pkgutil.walk_packages(pik.__path__, "pik."):
    importlib.import_module(module.name)

# every service that pik has a client of, and those that credentials come by
asked = [overload.__annotations__["service"] for overload in get_overloads(AwsClients.client)]
services = {name for text in asked for name in re.findall(r"['\"]([\w-]+)['\"]", text)}
if "s3" not in services:
    sys.exit(f"{asked} name no services")
services |= {"sts", "sso", "sso-oidc", "signin"}
for service in services:
    boto3.Session().client(service, region_name="eu-west-1")

# Parquet as segments are, read by pyarrow and by DuckDB over it
table = pa.table({"id": ["a", "b", "b"], "n": [1, 2, 3]})
file = io.BytesIO()
pq.write_table(table, file, compression="zstd")
read = pq.read_table(io.BytesIO(file.getvalue()))
dataset = ds.dataset(read)
counted = duckdb.sql("SELECT id, sum(n) AS n FROM dataset GROUP BY id ORDER BY id").fetchall()
if counted != [("a", 1), ("b", 5)]:
    sys.exit(f"DuckDB says {counted}")

kubernetes.client.ApiClient(kubernetes.client.Configuration())
kopf.OperatorRegistry()
leftover = [name for name in sys.modules if name.split(".")[0] in ("pytest", "mypy", "ruff", "pandas", "pip")]
print(f"{len(services)} services, {len(sys.modules)} modules, not wanted: {leftover}")
