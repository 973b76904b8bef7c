"""From a request on the wire to the operation of AWS that it is, by botocore's own models of the services."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import botocore.session
from botocore.model import OperationModel, ServiceModel

from iam.wire import Request

_CREDENTIAL = re.compile(r"Credential=[^/]+/\d+/(?P<region>[^/]+)/(?P<service>[^/]+)/aws4_request")
_VERSION = re.compile(rb"<VersionId>([^<]*)</VersionId>")
_KEY = re.compile(rb"<Key>([^<]*)</Key>")
_SIGNING = {"tagging": "resourcegroupstaggingapi"}  # what a service is signed as, where that is not its name


@dataclass(frozen=True, slots=True)
class Operation:
    """`given`: the request's members, by the names of the API; of XML bodies only what is looked at."""

    who: str
    service: str
    name: str
    region: str
    given: dict[str, Any]
    status: int

    @property
    def full_name(self) -> str:
        return f"{self.service}:{self.name}"


class UnknownRequest(LookupError):
    """No operation of the service's model looks like it."""


@cache
def model(service: str) -> ServiceModel:
    return botocore.session.Session().get_service_model(service)


def operation_of(request: Request) -> Operation:
    """Raises `UnknownRequest`."""
    signed = _CREDENTIAL.search(request.headers.get("authorization", ""))
    if signed is None:
        raise UnknownRequest(f"{request.method} {request.path} is not signed")
    service = _SIGNING.get(signed["service"], signed["service"])
    name, given = _read(model(service), request)
    return Operation(request.who, service, name, signed["region"], given, request.status)


def _read(of: ServiceModel, request: Request) -> tuple[str, dict[str, Any]]:
    if "x-amz-target" in request.headers:  # protocol json
        return request.headers["x-amz-target"].rpartition(".")[2], json.loads(request.body or b"{}")
    if of.protocol in ("query", "ec2"):
        form = {name: values[0] for name, values in parse_qs(request.body.decode()).items()}
        return form.pop("Action"), form
    operation, labels = _by_path(of, request)
    given = {**labels, **_elsewhere(operation, request)}
    if of.protocol == "rest-json" and request.body and operation.get_streaming_input() is None:
        payload = operation.input_shape.serialization.get("payload") if operation.input_shape else None
        if payload is None:
            given |= json.loads(request.body)
    if operation.name == "DeleteObjects":
        given["Keys"] = [key.decode() for key in _KEY.findall(request.body)]
        given["VersionIds"] = [version.decode() for version in _VERSION.findall(request.body)]
    return operation.name, given


def _by_path(of: ServiceModel, request: Request) -> tuple[OperationModel, dict[str, str]]:
    """That of the most telling query among those whose method and path fit."""
    parts = urlsplit(request.path)
    query = parse_qs(parts.query, keep_blank_values=True)
    found: list[tuple[int, OperationModel, dict[str, str]]] = []
    for name in of.operation_names:
        operation = of.operation_model(name)
        template, _, wanted = operation.http["requestUri"].partition("?")
        needed = [pair for pair in wanted.split("&") if pair]
        labels = _labels(operation, template, parts.path)
        if (
            operation.deprecated
            or operation.http["method"] != request.method
            or labels is None
            or not _has(query, needed)
        ):
            continue
        required = _required(operation)
        if not all(_is_there(member, query, request.headers) for member in required):
            continue
        literal = len(re.sub(r"\{[^}]*\}", "", template))
        found.append((literal * 100 + (len(needed) + len(required)) * 10, operation, labels))
    if not found:
        raise UnknownRequest(f"{of.service_name}: {request.method} {request.path}")
    found.sort(key=lambda one: (-one[0], one[1].name))
    return found[0][1], found[0][2]


def _labels(operation: OperationModel, template: str, path: str) -> dict[str, str] | None:
    """What stands in the place of the template's names; None where the path is another one."""
    pattern = re.escape(template).replace(r"\{", "{").replace(r"\}", "}").replace(r"\+", "+")
    pattern = re.sub(r"\{(\w+)\+\}", r"(?P<\1>.+)", pattern)
    pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", pattern)
    matched = re.fullmatch(pattern, path.rstrip("/") or "/")
    if matched is None:
        return None
    named = {name: unquote(value) for name, value in matched.groupdict().items()}
    return {_member(operation, "uri", name): value for name, value in named.items()}


def _member(operation: OperationModel, location: str, name: str) -> str:
    members = operation.input_shape.members if operation.input_shape else {}
    for member, shape in members.items():
        if shape.serialization.get("location") == location and shape.serialization.get("name") == name:
            return str(member)
    return name


def _required(operation: OperationModel) -> list[dict[str, str]]:
    """Members in query or header that an operation cannot do without."""
    shape = operation.input_shape
    if shape is None:
        return []
    members = [shape.members[name].serialization for name in shape.required_members]
    return [member for member in members if member.get("location") in ("querystring", "header")]


def _is_there(member: dict[str, str], query: dict[str, list[str]], headers: dict[str, str]) -> bool:
    return (
        member["name"] in query if member["location"] == "querystring" else member["name"].lower() in headers
    )


def _has(query: dict[str, list[str]], needed: list[str]) -> bool:
    for pair in needed:
        name, _, value = pair.partition("=")
        if name not in query or (value and query[name] != [value]):
            return False
    return True


def _elsewhere(operation: OperationModel, request: Request) -> dict[str, str]:
    """What stands in query and headers."""
    query = parse_qs(urlsplit(request.path).query, keep_blank_values=True)
    members = operation.input_shape.members if operation.input_shape else {}
    given = {}
    for member, shape in members.items():
        where, name = shape.serialization.get("location"), shape.serialization.get("name", "")
        if where == "querystring" and name in query:
            given[str(member)] = query[name][0]
        if where == "header" and name.lower() in request.headers:
            given[str(member)] = request.headers[name.lower()]
    return given
