"""One JSON object a line, which says what it speaks of, and nothing that another library attached."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

from pik.cluster.logs import LogFormat, Subject, about, configure
from pik.controller.objects import ObjectKey

KEY = ObjectKey("CaptureStream", "shop", "orders")


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    """Where logs go; the process' own logging is as it was afterwards."""
    root = logging.getLogger()
    before = (root.handlers, root.level)
    levels = {
        name: logging.getLogger(name).level
        for name in ("pik", "kopf", "uvicorn", "botocore", "kubernetes", "urllib3")
    }
    stream = io.StringIO()
    configure(stream)
    yield stream
    root.handlers, root.level = before
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    logging.captureWarnings(capture=False)


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_says_which_object_and_which_pass(written: io.StringIO) -> None:
    log = logging.getLogger("pik.some.where")
    with about(Subject(KEY, "c0ffee", 3)):
        log.warning("it is %s", "late")
    log.info("done")
    first, second = lines(written)
    assert first.pop("time").endswith("Z")
    assert first == {
        "level": "warning",
        "logger": "pik.some.where",
        "message": "it is late",
        "object": {"kind": "CaptureStream", "namespace": "shop", "name": "orders"},
        "generation": 3,
        "correlation_id": "c0ffee",
    }
    assert "object" not in second


async def test_what_a_pass_starts_keeps_its_name_and_others_do_not_get_it(written: io.StringIO) -> None:
    log = logging.getLogger("pik")
    go = asyncio.Event()

    async def work(text: str) -> None:
        await go.wait()
        log.info(text)

    before = asyncio.create_task(work("another"))
    with about(Subject(KEY, "1", None)):
        of_the_pass = asyncio.create_task(work("of the pass"))
    go.set()
    await asyncio.gather(before, of_the_pass)
    assert {line["message"]: line.get("correlation_id") for line in lines(written)} == {
        "another": None,
        "of the pass": "1",
    }


def test_errors_are_one_line(written: io.StringIO) -> None:
    try:
        json.loads("two\nlines")
    except ValueError:
        logging.getLogger("pik").exception("failed")
    [line] = lines(written)
    assert line["level"] == "error"
    assert "JSONDecodeError" in line["exc_info"]


def test_other_libraries_lines_come_the_same_way_without_what_they_attach(written: io.StringIO) -> None:
    logging.getLogger("kopf.objects").info("each event", extra={})
    logging.getLogger("kopf.objects").warning(
        "seen",
        extra={
            "attached": object(),
            "k8s_ref": {"kind": "ReplayJob", "namespace": "shop", "name": "again", "uid": "u"},
        },
    )
    logging.getLogger("uvicorn.error").warning("odd", extra={"color_message": "\x1b[1modd"})
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        warnings.warn("deprecated", stacklevel=1)
    kopf, uvicorn, warned = lines(written)
    assert kopf["object"] == {"kind": "ReplayJob", "namespace": "shop", "name": "again"}
    assert set(uvicorn) == {"time", "level", "logger", "message"}
    assert "deprecated" in warned["message"]


@pytest.mark.parametrize("name", ["botocore.endpoint", "kubernetes.client.rest", "urllib3.connectionpool"])
def test_what_would_log_bodies_and_headers_is_never_asked_to(written: io.StringIO, name: str) -> None:
    configure(written, LogFormat.JSON, logging.DEBUG)
    logging.getLogger(name).debug("Authorization: Bearer secret")
    logging.getLogger("pik.x").debug("shown")
    assert [line["message"] for line in lines(written)] == ["shown"]


def test_text_for_people(written: io.StringIO) -> None:
    configure(written, LogFormat.TEXT)
    with about(Subject(KEY, "1")):
        logging.getLogger("pik.x").info("hello")
    assert written.getvalue().endswith("INFO    pik.x: [CaptureStream shop/orders] hello\n")
