"""Logs of the processes in a cluster: one JSON object a line, or text for people. kopf's and uvicorn's go the
same way as pik's.

A line says which object it speaks of, and which pass or request over it, where there is one: what a pass
starts keeps that. No payload and no credential is logged; where another library would log one (in its
DEBUG), it is not asked to.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, TextIO

from pythonjsonlogger.json import JsonFormatter

from pik.controller.objects import ObjectKey


class LogFormat(StrEnum):
    JSON = "json"
    TEXT = "text"


@dataclass(frozen=True, slots=True)
class Subject:
    """What is being worked on. `correlation_id`: of the pass or request, so that its lines can be found
    together."""

    object: ObjectKey
    correlation_id: str
    generation: int | None = None


_SUBJECT: ContextVar[Subject | None] = ContextVar("pik_subject", default=None)


@contextmanager
def about(subject: Subject) -> Iterator[None]:
    """Lines of the block, and of the tasks that it starts, say this of themselves."""
    token = _SUBJECT.set(subject)
    try:
        yield
    finally:
        _SUBJECT.reset(token)


_QUIET: Mapping[str, int] = {
    # these log requests, headers and bodies in their DEBUG, and in INFO what nobody needs
    **dict.fromkeys(
        ("botocore", "boto3", "urllib3", "s3transfer", "kubernetes", "httpx", "httpcore", "asyncio"),
        logging.WARNING,
    ),
    "uvicorn": logging.INFO,
    "kopf": logging.WARNING,  # it says in INFO that each event was seen
    "kopf._core.reactor.running": logging.ERROR,  # that signals are not its own is meant to be so
}


def configure(stream: TextIO, form: LogFormat = LogFormat.JSON, level: int = logging.INFO) -> None:
    """Sends every log of this process to the stream; the process' entry point calls it, once. `level`: of
    pik's own logs; other libraries' are never more than INFO."""
    handler = logging.StreamHandler(stream)
    handler.addFilter(_describe)
    handler.setFormatter(_Json() if form is LogFormat.JSON else logging.Formatter(_TEXT))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(max(level, logging.INFO))
    logging.getLogger("pik").setLevel(level)
    for name, least in _QUIET.items():
        logging.getLogger(name).setLevel(max(level, least))
    logging.captureWarnings(capture=True)


_TEXT = "%(pik_time)s %(levelname)-7s %(name)s: %(pik_about)s%(message)s"


def _describe(record: logging.LogRecord) -> bool:
    """Adds what the formats show. A filter of the handler, so that it is called where the line is logged."""
    subject = _subject(record)
    record.pik_time = (
        datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"
    )
    record.pik_subject = subject
    record.pik_about = f"[{subject.object}] " if subject is not None else ""
    return True


def _subject(record: logging.LogRecord) -> Subject | None:
    ref = getattr(record, "k8s_ref", None)  # kopf's own
    if _SUBJECT.get() is None and isinstance(ref, Mapping):
        key = ObjectKey(str(ref.get("kind")), str(ref.get("namespace")), str(ref.get("name")))
        return Subject(key, "")
    return _SUBJECT.get()


class _Json(JsonFormatter):
    def add_fields(
        self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]
    ) -> None:
        """Nothing but these: what other libraries attach to their lines may be anything."""
        log_data |= {
            "time": record.pik_time,  # type: ignore[attr-defined]
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.message or str(message_dict.get("message", "")),
        }
        subject: Subject | None = record.pik_subject  # type: ignore[attr-defined]
        if subject is not None:
            log_data["object"] = subject.object._asdict()
            if subject.generation is not None:
                log_data["generation"] = subject.generation
            if subject.correlation_id:
                log_data["correlation_id"] = subject.correlation_id
        for name in ("exc_info", "stack_info"):
            if message_dict.get(name):
                log_data[name] = message_dict[name]
