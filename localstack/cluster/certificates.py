"""A certificate authority of the cluster's own, by the `openssl` command: for servers and for people."""

from __future__ import annotations

import secrets
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cluster.errors import ClusterFailed, ClusterImpossible

_DAYS = "365"
_CURVE = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]


@dataclass(frozen=True)
class Pair:
    """Paths of a certificate and its key, PEM."""

    certificate: Path
    key: Path


@dataclass(frozen=True)
class SigningKeys:
    """Paths of a public key and its private key, PEM."""

    public: Path
    private: Path


class Authority:
    """Signs certificates; its own lie in `directory`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.own = Pair(directory / "ca.crt", directory / "ca.key")

    @classmethod
    def make(cls, directory: Path) -> Authority:
        """A new one. Raises `ClusterImpossible` where there is no openssl."""
        directory.mkdir(mode=0o700, parents=True)
        made = cls(directory)
        extensions = ["-extensions", "ca", "-config", str(_written(directory / "ca.conf", _AUTHORITY))]
        _openssl("req", "-x509", *_CURVE, "-days", _DAYS, "-subj", "/CN=throw-away-cluster", *extensions,
                 "-keyout", str(made.own.key), "-out", str(made.own.certificate))  # fmt: skip
        return made

    def server(self, name: str, hosts: Sequence[str], addresses: Sequence[str]) -> Pair:
        """For a server of these names and IP addresses."""
        told = ",".join([*(f"DNS:{host}" for host in hosts), *(f"IP:{address}" for address in addresses)])
        return self._sign(name, f"/CN={name}", f"extendedKeyUsage=serverAuth\nsubjectAltName={told}\n")

    def client(self, user: str, groups: Sequence[str] = ()) -> Pair:
        """For somebody."""
        name = "client-" + user.replace("/", "_").replace(":", "_")
        return self._sign(name, _subject(user, groups), "extendedKeyUsage=clientAuth\n")

    def signing_keys(self, name: str) -> SigningKeys:
        """For the tokens of service accounts."""
        keys = SigningKeys(self.directory / f"{name}.pub", self.directory / f"{name}.key")
        curve = ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
        _openssl("genpkey", *curve, "-out", str(keys.private))
        _openssl("pkey", "-in", str(keys.private), "-pubout", "-out", str(keys.public))
        return keys

    def _sign(self, name: str, subject: str, extensions: str) -> Pair:
        pair = Pair(self.directory / f"{name}.crt", self.directory / f"{name}.key")
        request = self.directory / f"{name}.csr"
        wanted = _written(
            self.directory / f"{name}.conf",
            "basicConstraints=critical,CA:FALSE\nauthorityKeyIdentifier=keyid\n" + extensions,
        )
        _openssl("req", "-new", *_CURVE, "-subj", subject, "-keyout", str(pair.key), "-out", str(request))
        _openssl("x509", "-req", "-in", str(request), "-days", _DAYS, "-extfile", str(wanted),
                 "-CA", str(self.own.certificate), "-CAkey", str(self.own.key),
                 "-set_serial", f"0x{secrets.token_hex(16)}", "-out", str(pair.certificate))  # fmt: skip
        return pair


def request(pair: Pair, user: str, groups: Sequence[str]) -> bytes:
    """What another authority is asked to sign for somebody, PEM; makes the pair's key."""
    _openssl("req", "-new", *_CURVE, "-subj", _subject(user, groups), "-keyout", str(pair.key),
             "-out", str(pair.certificate))  # fmt: skip
    return pair.certificate.read_bytes()


def _subject(user: str, groups: Sequence[str]) -> str:
    """Kubernetes takes the user's name from CN and the groups from O."""
    return "".join([*(f"/O={_escaped(group)}" for group in groups), f"/CN={_escaped(user)}"])


_AUTHORITY = """[req]
distinguished_name=name
[name]
[ca]
basicConstraints=critical,CA:TRUE
keyUsage=critical,keyCertSign,cRLSign,digitalSignature
subjectKeyIdentifier=hash
"""


def _written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("/", "\\/").replace("+", "\\+")


def _openssl(*words: str) -> None:
    program = shutil.which("openssl")
    if program is None:
        raise ClusterImpossible("certificates are made by the command openssl, which is not there")
    done = subprocess.run([program, *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ClusterFailed(f"openssl {words[0]} failed: {done.stderr[-1000:]}")
