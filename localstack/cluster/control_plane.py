"""etcd, the API server, the controller manager and, where there is a node, the scheduler.

RBAC and every admission plugin that is on by default, an audit log of all requests, certificates of its own.
Somebody is known by a certificate of its authority, the administrator also by a token.
"""

from __future__ import annotations

import http.client
import ipaddress
import json
import secrets
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from cluster import kubeconfig
from cluster.certificates import Authority, SigningKeys
from cluster.processes import Children, free_port

_READY_SECONDS = 90.0
_ANSWER_SECONDS = 5.0
_ISSUER = "https://kubernetes.default.svc.cluster.local"
_AUDIT = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [{"level": "Metadata"}],
}


@dataclass(frozen=True)
class Address:
    """Where the control plane listens. `port` 0: a free one."""

    host: str = "127.0.0.1"
    port: int = 0
    services: str = "10.96.0.0/16"  # virtual addresses of Services


@dataclass(frozen=True)
class ControlPlane:
    """A control plane that is ready."""

    server: str  # https://127.0.0.1:<port>
    authority: Authority
    admin: Path  # kubeconfig of the administrator
    audit: Path  # of the audit log, a JSON object a line
    token: str = field(repr=False)  # the administrator's

    def get(self, path: str) -> dict[str, object] | None:
        """What the API server answers; None where it does not, or not with success."""
        told = self._ask(path)
        return None if told is None else dict(json.loads(told))

    def is_ready(self) -> bool:
        return self._ask("/readyz") is not None

    def _ask(self, path: str) -> bytes | None:
        address = urlsplit(self.server)
        trusted = ssl.create_default_context(cafile=str(self.authority.own.certificate))
        # `http.client` knows of no proxies
        connection = http.client.HTTPSConnection(
            address.hostname or "", address.port, timeout=_ANSWER_SECONDS, context=trusted
        )
        try:
            connection.request("GET", path, headers={"Authorization": f"Bearer {self.token}"})
            answer = connection.getresponse()
            body = answer.read()
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()
        return body if answer.status == http.HTTPStatus.OK else None


def start(
    directory: Path, programs: Mapping[str, Path], children: Children, address: Address, node: bool = False
) -> ControlPlane:
    """Starts it in `directory` and waits until it is ready. Raises `ClusterFailed`, `ClusterImpossible`."""
    port = address.port or free_port()
    etcd = _start_etcd(directory, programs, children)
    authority = Authority.make(directory / "pki")
    token = secrets.token_hex(16)
    server = f"https://{address.host}:{port}"
    signing = authority.signing_keys("service-accounts")
    children.start(
        "kube-apiserver",
        [
            programs["kube-apiserver"],
            *_listening(authority, address, port, node),
            *_people(directory, authority, token, signing),
            f"--etcd-servers={etcd}",
            f"--service-cluster-ip-range={address.services}",
            f"--audit-policy-file={_written(directory / 'audit-policy.json', json.dumps(_AUDIT))}",
            f"--audit-log-path={directory / 'audit.log'}",
            "--audit-log-mode=blocking",  # what was answered stands in it
            "--audit-log-maxsize=2000",
            "--profiling=false",
        ],
    )
    admin = kubeconfig.write(
        directory / "admin.kubeconfig", server, authority.own.certificate, kubeconfig.with_token(token)
    )
    made = ControlPlane(server, authority, admin, directory / "audit.log", token)
    children.wait("kube-apiserver", "ready API server", made.is_ready, _READY_SECONDS)
    _start_controllers(programs, children, authority, signing, admin)
    if node:
        children.start(
            "kube-scheduler",
            [programs["kube-scheduler"], f"--kubeconfig={admin}", "--leader-elect=false", "--secure-port=0"],
        )
    return made


def service_address(services: str, number: int) -> str:
    """The `number`th address of the Services' range; the first is the API server's own."""
    return str(ipaddress.ip_network(services)[number])


def _start_etcd(directory: Path, programs: Mapping[str, Path], children: Children) -> str:
    endpoint, peers = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
    children.start(
        "etcd",
        [
            programs["etcd"],
            f"--data-dir={directory / 'etcd'}",
            f"--listen-client-urls={endpoint}",
            f"--advertise-client-urls={endpoint}",
            f"--listen-peer-urls={peers}",
            f"--initial-advertise-peer-urls={peers}",
            f"--initial-cluster=default={peers}",
            "--unsafe-no-fsync",
            "--log-level=warn",
        ],
    )
    return endpoint


def _listening(authority: Authority, address: Address, port: int, node: bool) -> list[str]:
    own = service_address(address.services, 1)
    names = ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc",
             "kubernetes.default.svc.cluster.local"]  # fmt: skip
    serving = authority.server("kube-apiserver", names, ["127.0.0.1", address.host, own])
    flags = [
        f"--bind-address={address.host}",
        f"--advertise-address={address.host}",
        f"--secure-port={port}",
        f"--tls-cert-file={serving.certificate}",
        f"--tls-private-key-file={serving.key}",
    ]
    if not node:
        return [*flags, "--endpoint-reconciler-type=none"]  # loopback is nobody else's endpoint
    kubelet = authority.client("kube-apiserver-kubelet-client", ["system:masters"])
    return [
        *flags,
        f"--kubelet-client-certificate={kubelet.certificate}",
        f"--kubelet-client-key={kubelet.key}",
        "--kubelet-preferred-address-types=InternalIP",
    ]


def _people(directory: Path, authority: Authority, token: str, signing: SigningKeys) -> list[str]:
    tokens = _written(directory / "pki" / "tokens.csv", f'{token},admin,admin,"system:masters"\n')
    return [
        "--authorization-mode=Node,RBAC",
        f"--token-auth-file={tokens}",
        f"--client-ca-file={authority.own.certificate}",
        f"--service-account-issuer={_ISSUER}",
        f"--service-account-key-file={signing.public}",
        f"--service-account-signing-key-file={signing.private}",
    ]


def _start_controllers(
    programs: Mapping[str, Path], children: Children, authority: Authority, signing: SigningKeys, admin: Path
) -> None:
    children.start(
        "kube-controller-manager",
        [
            programs["kube-controller-manager"],
            f"--kubeconfig={admin}",
            f"--service-account-private-key-file={signing.private}",
            f"--root-ca-file={authority.own.certificate}",
            f"--cluster-signing-cert-file={authority.own.certificate}",
            f"--cluster-signing-key-file={authority.own.key}",
            "--use-service-account-credentials",
            "--leader-elect=false",
            "--secure-port=0",
        ],
    )


def _written(path: Path, text: str) -> Path:
    path.touch(mode=0o600)
    path.write_text(text)
    return path
