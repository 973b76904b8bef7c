"""`pik import`"""

from __future__ import annotations

import asyncio
import logging
import os
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Self
from urllib.parse import urlsplit

import click
import msgspec

from pik.api.capture_stream import CaptureStream
from pik.api.common import Toggle
from pik.cli import layout
from pik.cli.desk import Desk, at_a_desk
from pik.cli.output import Format, Table, output_option, show_csv, show_json
from pik.cli.progress import Advance, progress
from pik.cli.sending import Captured, Posted, Sender
from pik.cli.wording import number
from pik.controller.intake_rules import intake_rules
from pik.domain.errors import Incomplete, NotReady, PikError
from pik.domain.intake import IntakeRules
from pik.execution.capture.answers import Status
from pik.execution.capture.replays import ReplayClaims
from pik.execution.importing.files import DEFAULT_NULLS
from pik.execution.importing.imports import read_file
from pik.execution.importing.records import Batch, Reject

_IN_ENVIRONMENT = "PIK_GATEWAY_TOKEN"
_ROWS = 5_000  # in a batch
_BYTES = 8 * 1024 * 1024
_IN_FLIGHT = 4  # batches
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_PLAIN = {".csv", ".ndjson", ".jsonl"}
_PIECE = 1024 * 1024
_SHOWN = (
    Status.ACCEPTED,
    Status.RECORDED,
    Status.DUPLICATE,
    Status.CONFLICT,
    Status.REPLAYED,
    Status.REJECTED,
)


def _token(ctx: click.Context, param: click.Parameter, value: Path | None) -> str | None:  # noqa: ARG001
    """A secret, so that it never stands on the command line."""
    return os.environ.get(_IN_ENVIRONMENT) if value is None else value.read_text().strip()


@click.command("import")
@click.argument(
    "files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.option("--stream", required=True, help="CaptureStream that the events go to.")
@click.option(
    "--null",
    "nulls",
    multiple=True,
    metavar="TEXT",
    help="A cell of a CSV file that stands for nothing, such as NA; may be given again. "
    "An empty cell always does.",
)
@click.option(
    "--rejects",
    "rejects_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where rejected records are written, one JSON object a line. "
    "Default: the first FILE's name with .rejects.ndjson, in the current folder.",
)
@click.option(
    "--gateway", metavar="URL", help="Base URL of the gateway. Default: as the stream's status has it."
)
@click.option(
    "--token-file",
    "token",
    callback=_token,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Bearer token for the gateway, such as `kubectl create token` prints. Default: PIK_GATEWAY_TOKEN.",
)
@output_option
@at_a_desk
async def command(
    desk: Desk,
    files: tuple[Path, ...],
    stream: str,
    nulls: tuple[str, ...],
    rejects_file: Path | None,
    gateway: str | None,
    token: str | None,
    output: Format,
) -> None:
    """Capture the events of CSV, NDJSON and Parquet files (plain, .gz or .zip).

    Goes through the gateway: that of the cluster, or of a `pik up` that works on the folder now; where none
    does, it captures by itself. May be repeated: what is there already is answered as such. Exit code 1 where
    a record was rejected.
    """
    resource = await desk.find(CaptureStream, stream)
    rules = intake_rules(resource.spec)
    began = desk.clock.now()
    with RejectsFile(rejects_file or Path(f"{files[0].name}.rejects.ndjson")) as rejects:
        async with _sender(desk, resource, rules, gateway, token) as sender:
            imports = _Import(desk, sender, rules, DEFAULT_NULLS | set(nulls), rejects)
            with progress("importing", "records") as advance:
                await imports.run(files, advance)
    seconds = (desk.clock.now().micros - began.micros) / 1e6
    _show(imports.counts, seconds, rejects, output)
    if imports.counts[Status.REJECTED]:
        click.get_current_context().exit(1)


class RejectsFile:
    """Records that were not taken, with their reasons. The file is made with the first of them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.count = 0
        self._file: IO[bytes] | None = None
        self._encoder = msgspec.json.Encoder()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    def write(self, rejects: Sequence[Reject]) -> None:
        if rejects and self._file is None:
            self._file = self.path.open("wb")
        if self._file is not None:
            self._file.write(self._encoder.encode_lines(rejects))
        self.count += len(rejects)


class _Import:
    """An import under way. Reading a batch and sending those before it go on at the same time."""

    def __init__(
        self, desk: Desk, sender: Sender, rules: IntakeRules, nulls: frozenset[str], rejects: RejectsFile
    ) -> None:
        self.counts: Counter[Status] = Counter()
        self._desk = desk
        self._sender = sender
        self._rules = rules
        self._nulls = nulls
        self._rejects = rejects

    async def run(self, files: Sequence[Path], advance: Advance) -> None:
        """Raises what reading and sending do; what was sent before stays counted."""
        lines = [await self._desk.offload(_lines, file) for file in files]
        total = sum(lines) if all(lines) else 0
        free = asyncio.Semaphore(_IN_FLIGHT)
        try:
            async with asyncio.TaskGroup() as sending:
                for file in files:
                    batches = self._read(file)
                    while (batch := await self._desk.offload(next, batches, None)) is not None:
                        self._reject(batch.rejects)
                        advance(self.counts.total(), max(total, self.counts.total()) if total else 0)
                        await free.acquire()
                        sending.create_task(self._send(file, batch, free))
        except* PikError as group:
            raise _first(group) from group

    def _read(self, file: Path) -> Iterator[Batch]:
        return read_file(file, self._rules, nulls=self._nulls, rows=_ROWS, max_bytes=_BYTES)

    async def _send(self, file: Path, batch: Batch, free: asyncio.Semaphore) -> None:
        try:
            answers = await self._sender.send(batch.events) if batch.events else []
        finally:
            free.release()
        refused = []
        for event, line, answer in zip(batch.events, batch.lines, answers, strict=True):
            if answer.status is Status.REJECTED:
                text = event.arrival.data.decode()
                refused.append(Reject(file.name, line, answer.reason or "", answer.message or "", text))
            elif answer.event_id != event.arrival.event_id:
                raise Incomplete(
                    f"{file.name}, line {line}: was taken as event {answer.event_id}, and is "
                    f"{event.arrival.event_id}: the stream's mapping is another one where it was taken"
                )
            else:
                self.counts[answer.status] += 1
        self._reject(refused)

    def _reject(self, rejects: Sequence[Reject]) -> None:
        self._rejects.write(rejects)
        self.counts[Status.REJECTED] += len(rejects)


@asynccontextmanager
async def _sender(
    desk: Desk, resource: CaptureStream, rules: IntakeRules, gateway: str | None, token: str | None
) -> AsyncIterator[Sender]:
    logging.getLogger("stamina").setLevel(logging.ERROR)  # each try; the last one's error is shown
    url = _url(desk, resource, gateway)
    if url is not None:
        import httpx

        limits = httpx.Limits(max_connections=_IN_FLIGHT)
        headers = {"authorization": f"Bearer {token}"} if token else {}
        # a proxy of the environment never stands between this machine and itself
        trust_env = urlsplit(url).hostname not in _LOOPBACK
        async with httpx.AsyncClient(limits=limits, headers=headers, trust_env=trust_env) as client:
            yield Posted(client, url, rules)
        return
    opened = await desk.open(resource)
    for other in await desk.all(CaptureStream):  # a replay's marker may name any of them
        with suppress(PikError):
            await desk.open(other)
    yield Captured(opened.capture, ReplayClaims(desk.workshop.stream_of))


def _url(desk: Desk, resource: CaptureStream, gateway: str | None) -> str | None:
    """Where the stream takes events over HTTP; None where this process is to capture them itself, which it
    never does in a cluster: a stream's writers are those of its owner. Raises `NotReady`."""
    meta, known = resource.metadata, resource.status.ingestURL
    enabled = resource.spec.ingest.gateway is Toggle.ENABLED
    if desk.cluster is not None and not enabled:
        raise NotReady(
            f"CaptureStream {meta.namespace}/{meta.name} takes nothing over HTTP (spec.ingest.gateway is "
            "Disabled), and in a cluster nothing is captured around the gateway"
        )
    base = gateway or (desk.gateway if enabled and known is not None else None)
    if base is not None:
        return f"{base.rstrip('/')}/v1/streams/{meta.namespace}/{meta.name}/events"
    if desk.cluster is not None and known is None:
        raise NotReady(
            f"CaptureStream {meta.namespace}/{meta.name} has no address for events yet: see "
            f"`pik describe cst {meta.name}`, or give --gateway"
        )
    return known if desk.cluster is not None else None


def _show(counts: Counter[Status], seconds: float, rejects: RejectsFile, output: Format) -> None:
    total = sum(counts.values())
    rate = total / seconds if seconds > 0 else 0.0
    table = Table.of(("status", "records"), [(status, counts[status]) for status in _SHOWN if counts[status]])
    match output:
        case Format.JSON:
            show_json(
                {
                    "records": total,
                    "answers": {status.value: counts[status] for status in _SHOWN},
                    "seconds": round(seconds, 3),
                    "rejects": str(rejects.path) if rejects.count else None,
                }
            )
        case Format.CSV:
            show_csv(table)
        case Format.TABLE | Format.WIDE:
            answers = ", ".join(f"{counts[status]:,} {status.value}" for status in _SHOWN if counts[status])
            layout.say(
                f"{number(total, 'record')} in {seconds:.1f} s ({rate:,.0f} a second): {answers or 'none'}."
            )
            if rejects.count:
                layout.say(f"The {rejects.count:,} rejected are in {rejects.path}, each with its reason.")


def _lines(file: Path) -> int:
    """About how many records a file has; 0 where only reading it would tell."""
    if file.suffix.lower() not in _PLAIN:
        return 0
    with file.open("rb") as opened:
        return sum(piece.count(b"\n") for piece in iter(lambda: opened.read(_PIECE), b""))


def _first(group: BaseExceptionGroup[PikError]) -> PikError:
    """The first of the errors that tasks ended with."""
    first = group.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first
