"""A person's way to a cluster: by a kubeconfig, as kubectl has it, or by the pod's service account."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kubernetes.config import ConfigException, list_kube_config_contexts
from urllib3.exceptions import InsecureRequestWarning

from pik.aws.system import ThreadOffload
from pik.cluster.api import KubeApi, configuration
from pik.cluster.console import Console
from pik.cluster.errors import KubeUnavailable

_CONNECTIONS = 4
_POD_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


@dataclass(frozen=True, slots=True)
class Session:
    """`context`: of the kubeconfig, None in a pod. `namespace`: the one that the person works in."""

    console: Console
    server: str
    context: str | None
    namespace: str


@contextmanager
def session(kubeconfig: Path | None, context: str | None, namespace: str | None) -> Iterator[Session]:
    """`namespace` None: that of the context, or of the pod. Raises `KubeUnavailable`."""
    named, usual = _context(kubeconfig, context)
    config = configuration(kubeconfig, context)
    offload = ThreadOffload(_CONNECTIONS, "kubernetes")
    try:
        with warnings.catch_warnings():
            # who writes insecure-skip-tls-verify into a kubeconfig has said so, as kubectl has it
            warnings.simplefilter("ignore", InsecureRequestWarning)
            api = KubeApi(config, offload, offload, _CONNECTIONS)
            yield Session(Console(api), api.server, named, namespace or usual)
    finally:
        offload.close()


def _context(kubeconfig: Path | None, context: str | None) -> tuple[str | None, str]:
    """The context's name and its namespace."""
    if kubeconfig is None:
        try:
            return None, _POD_NAMESPACE.read_text(encoding="utf-8").strip() or "default"
        except OSError:
            return None, "default"
    try:
        known, current = list_kube_config_contexts(str(kubeconfig))
    except ConfigException as error:
        raise KubeUnavailable(f"{kubeconfig}: {error}") from error
    there = next((one for one in known if one["name"] == context), None) if context else current
    if there is None:
        named = ", ".join(one["name"] for one in known)
        raise KubeUnavailable(f"{kubeconfig} has no context {context} (there is: {named})")
    return str(there["name"]), str(there["context"].get("namespace") or "default")
