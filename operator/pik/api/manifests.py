"""Manifests read from YAML (or JSON, which is YAML) with the place of every field.

Scalars are read as the Kubernetes clients read them (the goyaml.v2 behind sigs.k8s.io/yaml), which is
neither PyYAML's way nor YAML 1.2: an unquoted instant stays the text it is, `yes` and `on` are booleans,
1:30 is a text. A repeated key is an error: the last one does not win.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

SUFFIXES = (".yaml", ".yml", ".json")
MAX_BYTES = 3 * 1024 * 1024  # what an API server takes in one request
MAX_NODES = 100_000
MAX_DEPTH = 64

Json = Any
_INT = re.compile(r"[-+]?(0b[01]+|0o[0-7]+|0x[0-9a-fA-F]+|[0-9]+)")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_WORDS: Mapping[str, Json] = MappingProxyType(
    {
        **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
        **dict.fromkeys(("y", "Y", "yes", "Yes", "YES", "on", "On", "ON", "true", "True", "TRUE"), True),
        **dict.fromkeys(("n", "N", "no", "No", "NO", "off", "Off", "OFF", "false", "False", "FALSE"), False),
    }
)


_PLAIN = "!plain"
_TYPES = "tag:yaml.org,2002:"
_RESOLVED = frozenset({_PLAIN, *(_TYPES + name for name in ("null", "bool", "int", "float"))})


class _Loader(yaml.SafeLoader):
    """Composes nodes and resolves nothing but << itself: what a plain scalar means is decided here."""

    yaml_implicit_resolvers = {  # noqa: RUF012
        "<": [(f"{_TYPES}merge", re.compile("^<<$"))],
        None: [(_PLAIN, re.compile(""))],
    }


class UnreadableManifest(Exception):
    """The text is not YAML of JSON's data model. The message names file and line."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """One document. `lines` has the line of each field by its path, written as in a violation."""

    value: dict[str, Json]
    source: str
    line: int
    lines: Mapping[str, int]

    def place(self, path: str = "") -> str:
        """`file:line` of the field at the path, or of the nearest one around it that is there."""
        while path and path not in self.lines:
            path = _parent(path)
        return f"{self.source}:{self.lines.get(path, self.line)}"


def load_path(path: Path) -> list[Manifest]:
    """The manifests of a file, or of the .yaml, .yml and .json files of a directory by name (none below it).

    Raises UnreadableManifest, also for a file that cannot be opened.
    """
    files = [path]
    if path.is_dir():
        files = sorted(
            file for file in path.iterdir() if file.suffix in SUFFIXES and not file.name.startswith(".")
        )
    found: list[Manifest] = []
    for file in files:
        try:
            data = file.read_bytes()
        except OSError as error:
            raise UnreadableManifest(f"{file}: {error.strerror}") from error
        if len(data) > MAX_BYTES:
            raise UnreadableManifest(f"{file}: larger than {MAX_BYTES} bytes")
        try:
            text = data.decode()
        except UnicodeDecodeError as error:
            raise UnreadableManifest(f"{file}: not UTF-8: {error.reason} at byte {error.start}") from error
        found.extend(load_text(text, str(file)))
    return found


def load_text(text: str, source: str = "<text>") -> list[Manifest]:
    """The documents of a text; empty ones are left out. Raises UnreadableManifest."""
    try:
        nodes = list(yaml.compose_all(text, Loader=_Loader))
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise UnreadableManifest(f"{source}:{line}: {error.problem or error.context}") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise UnreadableManifest(f"{source}: not YAML: {error}") from error
    return [manifest for node in nodes if node is not None for manifest in _Reader(source).document(node)]


class _Reader:
    """Turns the nodes of one document into values, and notes where they stand."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._lines: dict[str, int] = {}
        self._nodes = 0

    def document(self, node: yaml.Node) -> Iterator[Manifest]:
        line = _line(node)
        value = self._value(node, "", 0)
        if value is None:
            return
        if not isinstance(value, dict):
            raise self._error(node, "a manifest is a map with apiVersion, kind, metadata and spec")
        yield Manifest(value, self._source, line, MappingProxyType(self._lines))

    def _error(self, node: yaml.Node, message: str) -> UnreadableManifest:
        return UnreadableManifest(f"{self._source}:{_line(node)}: {message}")

    def _value(self, node: yaml.Node, path: str, depth: int) -> Json:
        self._nodes += 1
        if self._nodes > MAX_NODES or depth > MAX_DEPTH:
            raise self._error(node, "too large or too deep once its aliases are followed")
        match node:
            case yaml.MappingNode():
                return self._map(node, path, depth)
            case yaml.SequenceNode():
                items: list[Json] = []
                for index, item in enumerate(node.value):
                    self._lines[f"{path}[{index}]"] = _line(item)
                    items.append(self._value(item, f"{path}[{index}]", depth + 1))
                return items
            case _:
                return self._scalar(node)

    def _map(self, node: yaml.MappingNode, path: str, depth: int) -> dict[str, Json]:
        result: dict[str, Json] = {}
        merged: dict[str, Json] = {}
        places: dict[str, int] = {}
        for key_node, value_node in node.value:
            if key_node.tag == f"{_TYPES}merge":
                sources = value_node.value if isinstance(value_node, yaml.SequenceNode) else [value_node]
                for source in sources:
                    value = self._value(source, path, depth + 1)
                    if not isinstance(value, dict):
                        raise self._error(source, "<< takes a map or a list of maps")
                    merged = {**value, **merged}
                continue
            key = self._key(key_node)
            if key in result:
                raise self._error(key_node, f'key "{key}" already set in map (on line {places[key]})')
            places[key] = _line(key_node)
            below = f"{path}.{key}" if path else key
            self._lines[below] = places[key]
            result[key] = self._value(value_node, below, depth + 1)
        return {**merged, **result}

    def _key(self, node: yaml.Node) -> str:
        if not isinstance(node, yaml.ScalarNode):
            raise self._error(node, "a key must be a text")
        value = self._scalar(node)
        match value:
            case str():
                return value
            case None:
                raise self._error(node, "a key must be a text")
            case bool():
                return str(value).lower()
            case _:
                return str(value)

    def _scalar(self, node: yaml.Node) -> Json:
        text: str = node.value
        if node.tag not in _RESOLVED:
            return text
        if text in _WORDS:
            return _WORDS[text]
        if _NOT_FINITE.fullmatch(text):
            raise self._error(node, f"{text} has no form in JSON")
        return _number(text) if text[0] in "+-.0123456789" else text


def _number(text: str) -> int | float | str:
    """The number that the text is, or the text."""
    plain = text.replace("_", "")
    if _INT.fullmatch(plain):
        octal = re.fullmatch(r"([-+]?)0([0-7]+)", plain)
        base = 0 if plain.lstrip("+-")[1:2].isalpha() else 10
        whole = int(octal[1] + octal[2], 8) if octal else int(plain, base)
        return whole if -(2**63) <= whole < 2**64 else float(whole)
    if _FLOAT.fullmatch(plain) and math.isfinite(number := float(plain)):
        # as JSON writes it: a whole number has no fraction
        return int(number) if number.is_integer() and abs(number) < 2**63 else number
    return text


def _line(node: yaml.Node) -> int:
    line: int = node.start_mark.line
    return line + 1


def _parent(path: str) -> str:
    return path[: max(path.rfind("."), path.rfind("["), 0)]
