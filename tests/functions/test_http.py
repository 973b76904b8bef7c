"""Requests of payload format 2.0 as an ASGI application sees them."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from typing import Any

import pytest

from pik.functions.http import NotARequest, respond


def request(**changes: Any) -> dict[str, Any]:
    return {
        "rawPath": "/",
        "headers": {"Content-Type": "application/json"},
        "requestContext": {"http": {"method": "POST"}, "stage": "$default"},
        **changes,
    }


BAD_BODY = request(body="%", isBase64Encoded=True)


def seen(event: dict[str, Any]) -> tuple[dict[str, Any], bytes, dict[str, Any]]:
    """The scope and the body that an application got, and what it was answered with."""
    got: list[Any] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        got.extend((scope, (await receive())["body"]))
        await send({"type": "http.response.start", "status": 429, "headers": [(b"retry-after", b"3")]})
        await send({"type": "http.response.body", "body": "é".encode()})

    answer = asyncio.run(respond(application, event, "/own"))
    return got[0], got[1], answer


def test_a_request_and_its_answer() -> None:
    scope, body, answer = seen(request(body="{é}"))
    assert scope == {
        "type": "http",
        "method": "POST",
        "path": "/own",
        "headers": [(b"content-type", b"application/json")],
    }
    assert body == "{é}".encode()
    assert answer == {
        "statusCode": 429,
        "headers": {"retry-after": "3"},
        "body": "é",
        "isBase64Encoded": False,
    }


def test_a_body_that_is_no_text() -> None:
    _, body, _ = seen(request(body=b64encode(b"\xff\x00").decode(), isBase64Encoded=True))
    assert body == b"\xff\x00"


@pytest.mark.parametrize(
    ("path", "stage", "found"),
    [
        ("/", "$default", "/own"),
        ("/prod/", "prod", "/own"),
        ("/prod/v1/x", "prod", "/v1/x"),
        ("/production/v1", "prod", "/production/v1"),
        ("/v1/x", "$default", "/v1/x"),
    ],
)
def test_a_stage_is_no_part_of_the_path(path: str, stage: str, found: str) -> None:
    event = request(rawPath=path, requestContext={"http": {"method": "POST"}, "stage": stage})
    assert seen(event)[0]["path"] == found


@pytest.mark.parametrize(
    "event",
    [
        {},
        {"Records": []},
        request(requestContext={}),
        request(body="%", isBase64Encoded=True),
        request(headers=[1]),
    ],
)
def test_what_is_no_request_is_said_to_be_none(event: dict[str, Any]) -> None:
    with pytest.raises(NotARequest):
        seen(event)
