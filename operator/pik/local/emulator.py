"""The embedded AWS emulator (ministack) in an environment of its own, on loopback only.

It pins a botocore that pik does not use, so it never shares pik's environment. Its versions are pinned in
`emulator-constraints.txt` beside this file.
"""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from importlib.resources import as_file, files
from pathlib import Path
from urllib.parse import urlsplit

import click
import msgspec

from pik.domain.errors import PikError

ARGUMENTS = ("-m", "ministack")
"""Of the emulator's own Python."""

_LOOPBACK = "127.0.0.1"
_HEALTH = "/_ministack/health"
_READY_SECONDS = 60.0
_STOP_SECONDS = 30.0  # a clean stop saves its state
_POLL_SECONDS = 0.05
# What of the caller's environment must not reach it: proxies (it calls itself on loopback) and other
# accounts' settings.
_DROPPED = ("AWS_", "PYTHON", "VIRTUAL_ENV")


class EmulatorFailed(PikError):
    """The emulator could not be installed or started; the text has what it printed last."""


class Emulator(msgspec.Struct, frozen=True):
    """A running emulator."""

    endpoint: str  # http://127.0.0.1:<port>
    pid: int
    log: str  # path of what it prints


def cache_directory(environ: Mapping[str, str]) -> Path:
    """Where the emulator is installed, once for each user."""
    base = environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "pik"


def install(cache: Path) -> Path:
    """The emulator's own Python; makes its environment where that is absent. Raises `EmulatorFailed`.

    An environment appears whole or not at all, so that a run that was cut off leaves nothing half made.
    """
    home = cache / f"emulator-{_version()}"
    if not home.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix="emulator-", suffix=".part") as part:
            _make_environment(Path(part) / "venv")
            try:
                (Path(part) / "venv").rename(home)
            except OSError as error:
                if not home.exists():  # else another process was first
                    raise EmulatorFailed(f"cannot write {home}: {error}") from error
    return home / "bin" / "python"


def start(python: Path, *, log: Path, state: Path | None = None, port: int = 0) -> Emulator:
    """Starts the emulator and waits until it answers. Raises `EmulatorFailed`.

    `state`: a directory that keeps buckets and tables over a clean stop; without it they are forgotten.
    `port`: 0 takes a free one. It is left running when this process ends: see `stop`.
    """
    port = port or _free_port()
    endpoint = f"http://{_LOOPBACK}:{port}"
    with tempfile.TemporaryDirectory(prefix="pik-emulator-") as scratch:
        environ = environment(os.environ, _LOOPBACK, port, state or Path(scratch), persist=state is not None)
        log.parent.mkdir(parents=True, exist_ok=True)
        output = (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
        pid = os.posix_spawn(
            python,
            [str(python), *ARGUMENTS],
            environ,
            file_actions=[output, (os.POSIX_SPAWN_DUP2, 1, 2)],
            setpgroup=0,  # Ctrl-C in the terminal is for us; we stop it when we are done with it
        )
        emulator = Emulator(endpoint, pid, str(log))
        deadline = time.monotonic() + _READY_SECONDS
        while not is_healthy(endpoint):
            if not _runs(pid) or time.monotonic() > deadline:
                stop(emulator)
                printed = log.read_text(errors="replace")[-2000:]
                raise EmulatorFailed(f"the emulator did not start; it printed:\n{printed}")
            time.sleep(_POLL_SECONDS)
    return emulator


def environment(
    environ: Mapping[str, str], host: str, port: int, state: Path, *, persist: bool
) -> dict[str, str]:
    """The emulator's settings, all of them, to listen at that address. `state`: a directory; `persist`: that
    it keeps buckets and tables over a clean stop."""
    return {
        **{name: value for name, value in environ.items() if _passed_on(name)},
        "BIND_HOST": host,
        "GATEWAY_PORT": str(port),
        "LOG_LEVEL": "WARNING",
        "PERSIST_STATE": "1" if persist else "0",
        "STATE_DIR": str(state / "aws"),
        "S3_PERSIST": "1" if persist else "0",
        "S3_DATA_DIR": str(state / "s3"),
    }


def stop(emulator: Emulator) -> None:
    """Stops the emulator cleanly, by its pid; fine if it has stopped already."""
    for number, seconds in ((signal.SIGTERM, _STOP_SECONDS), (signal.SIGKILL, _STOP_SECONDS)):
        if not _runs(emulator.pid):
            return
        os.kill(emulator.pid, number)
        deadline = time.monotonic() + seconds
        while _runs(emulator.pid) and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)


def is_healthy(endpoint: str) -> bool:
    """Whether an emulator answers there. `http.client` knows of no proxies."""
    address = urlsplit(endpoint)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=5)
    try:
        connection.request("GET", _HEALTH)
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _runs(pid: int) -> bool:
    try:
        return os.waitpid(pid, os.WNOHANG) == (0, 0)
    except ChildProcessError:  # not our child: started by an earlier process
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _passed_on(name: str) -> bool:
    return not name.startswith(_DROPPED) and not name.lower().endswith("_proxy")


def _version() -> str:
    pins = (files("pik.local") / "emulator-constraints.txt").read_text()
    return next(line.partition("==")[2] for line in pins.splitlines() if line.startswith("ministack=="))


def _make_environment(venv: Path) -> None:
    uv = shutil.which("uv")
    python = str(venv / "bin" / "python")
    with as_file(files("pik.local") / "emulator-constraints.txt") as pins:
        if uv:
            _run([uv, "venv", "--quiet", "--python", sys.executable, str(venv)])
            _run([uv, "pip", "install", "--quiet", "--python", python, "--requirements", str(pins)])
        else:
            _run([sys.executable, "-m", "venv", str(venv)])
            _run([python, "-m", "pip", "install", "--quiet", "--requirement", str(pins)])


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own words
    if done.returncode:
        raise EmulatorFailed(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")


@click.group()
def main() -> None:
    """The embedded AWS emulator, on loopback."""


@main.command("start")
@click.option("--state", type=click.Path(path_type=Path), help="Directory that keeps buckets and tables.")
@click.option("--port", type=int, default=0, show_default="a free one")
def start_command(state: Path | None, port: int) -> None:
    """Starts it, unless it runs already, and prints its endpoint and pid."""
    cache = cache_directory(os.environ)
    emulator = _recorded(cache)
    if emulator is None:
        emulator = start(install(cache), log=cache / "emulator.log", state=state, port=port)
        _record(cache).write_bytes(msgspec.json.encode(emulator))
    _show(emulator)


@main.command("stop")
def stop_command() -> None:
    """Stops what `start` started."""
    cache = cache_directory(os.environ)
    emulator = _recorded(cache)
    if emulator is not None:
        stop(emulator)
    _record(cache).unlink(missing_ok=True)


@main.command("status")
def status_command() -> None:
    """Prints endpoint and pid; exit code 1 where it does not run."""
    emulator = _recorded(cache_directory(os.environ))
    if emulator is None:
        raise click.ClickException("the emulator does not run")
    _show(emulator)


def _record(cache: Path) -> Path:
    return cache / "emulator.json"


def _recorded(cache: Path) -> Emulator | None:
    """The emulator of the record, if it still answers: else its pid may be another process' by now."""
    try:
        emulator = msgspec.json.decode(_record(cache).read_bytes(), type=Emulator)
    except FileNotFoundError:
        return None
    return emulator if is_healthy(emulator.endpoint) else None


def _show(emulator: Emulator) -> None:
    click.echo(f"AWS_ENDPOINT_URL={emulator.endpoint}\nPID={emulator.pid}")
