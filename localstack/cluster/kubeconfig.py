"""Kubeconfigs: who talks to which API server."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import yaml

from cluster.certificates import Pair


def with_token(token: str) -> dict[str, object]:
    """A user known by a token."""
    return {"token": token}


def with_certificate(pair: Pair) -> dict[str, object]:
    """A user known by a certificate."""
    return {"client-certificate-data": _data(pair.certificate), "client-key-data": _data(pair.key)}


def write(
    path: Path, server: str, authority: Path, user: Mapping[str, object], namespace: str = "default"
) -> Path:
    """A kubeconfig that stands alone: everything is in it. Only its owner may read it."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": "local", "cluster": {"server": server, "certificate-authority-data": _data(authority)}}
        ],
        "users": [{"name": "user", "user": dict(user)}],
        "contexts": [
            {"name": "local", "context": {"cluster": "local", "user": "user", "namespace": namespace}}
        ],
        "current-context": "local",
    }
    path.touch(mode=0o600)
    path.write_text(json.dumps(config))
    return path


def host(path: Path) -> str:
    """The host of the API server that a kubeconfig's current context names."""
    config = yaml.safe_load(path.read_text())
    cluster_of = {entry["name"]: entry["context"]["cluster"] for entry in config["contexts"]}
    server_of = {entry["name"]: entry["cluster"]["server"] for entry in config["clusters"]}
    return urlsplit(server_of[cluster_of[config["current-context"]]]).hostname or ""


def _data(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
