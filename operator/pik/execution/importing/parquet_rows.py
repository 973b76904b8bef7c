"""Rows of Parquet files as events.

The payload of a row is a JSON object of its columns, in their order, by their types: timestamps in UTC as
RFC 3339 with the digits of their unit (without an offset where the file does not say that they are UTC:
those are no event times), dates and times of day as ISO 8601, decimals with their digits, bytes as base64. A
float that is not finite rejects its row. A column of another type (maps, durations, unions) refuses the file.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import types

from pik.domain.errors import UnreadableFile
from pik.domain.instants import format_micros
from pik.domain.intake import Intake, IntakeRules
from pik.domain.kit_events import mapped_row
from pik.domain.payloads import NotAnEvent, Reason
from pik.execution.importing.records import Record

Convert = Callable[[Any], Any]
_DIGITS = {"ms": 3, "us": 6, "ns": 9}  # Parquet has no coarser unit
_EPOCH = date(1970, 1, 1)
_ROWS = 10_000


def read_parquet(path: Path, rules: IntakeRules) -> Iterator[Record]:
    """The rows, numbered from 1. Raises `UnreadableFile`."""
    if rules.mapping is None or not rules.mapping.takes_rows:
        raise UnreadableFile("rows become events by the stream's mapping, and it has none for rows")
    try:
        with pq.ParquetFile(path) as file:
            schema = file.schema_arrow
            missing = rules.mapping.missing(frozenset(_paths(schema)))
            if missing:
                raise UnreadableFile(f"no column gives what the mapping wants for {', '.join(missing)}")
            convert = _converter(pa.struct(list(schema)))
            plain = pa.schema([field.with_type(_plain(field.type)) for field in schema])
            number = 0
            for batch in file.iter_batches(_ROWS):
                for row in batch.cast(plain).to_pylist():
                    number += 1
                    yield _record(number, row, convert, rules)
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise UnreadableFile(f"not a readable Parquet file: {error}") from error


def _record(number: int, row: dict[str, Any], convert: Convert, rules: IntakeRules) -> Record:
    intake: Intake
    try:
        text = orjson.dumps(convert(row))
    except NotAnEvent as error:
        return Record(number, error.rejection, json.dumps(row, default=str).encode())
    try:
        intake = mapped_row(text, rules)
    except NotAnEvent as error:
        intake = error.rejection
    return Record(number, intake, text)


def _paths(fields: Any, prefix: str = "") -> Iterator[str]:
    """The dot paths of columns and of the fields within them."""
    for field in fields:
        yield prefix + field.name
        if types.is_struct(field.type):
            yield from _paths(field.type, f"{prefix}{field.name}.")


def _plain(kind: pa.DataType) -> pa.DataType:
    """The type to read instead: times as whole numbers, since Python's own stop at microseconds and at the
    years 1 and 9999, and one value beyond would fail the whole batch."""
    if types.is_dictionary(kind):
        return _plain(kind.value_type)
    if types.is_struct(kind):
        return pa.struct([field.with_type(_plain(field.type)) for field in kind])
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return pa.list_(kind.value_field.with_type(_plain(kind.value_type)))
    if types.is_timestamp(kind) or types.is_time64(kind) or types.is_date64(kind):
        return pa.int64()
    if types.is_time32(kind) or types.is_date32(kind):
        return pa.int32()
    return kind


def _converter(kind: pa.DataType) -> Convert:
    """From a value of the plain type to what stands in the JSON text."""
    known = _nested(kind) or _scalar(kind)
    if known is None:
        raise UnreadableFile(f"a column of type {kind} cannot be written as JSON")
    return lambda value: None if value is None else known(value)


def _nested(kind: pa.DataType) -> Convert | None:
    if types.is_dictionary(kind):
        return _converter(kind.value_type)
    if types.is_struct(kind):
        fields = {field.name: _converter(field.type) for field in kind}
        return lambda row: {name: convert(row[name]) for name, convert in fields.items()}
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        inner = _converter(kind.value_type)
        return lambda values: [inner(value) for value in values]
    return None


def _scalar(kind: pa.DataType) -> Convert | None:
    if types.is_boolean(kind) or types.is_integer(kind) or types.is_null(kind) or _is_text(kind):
        return lambda value: value
    if types.is_floating(kind):
        return _finite
    if types.is_decimal(kind):
        return _decimal
    if types.is_timestamp(kind):
        end, digits = "Z" if kind.tz else "", _DIGITS[kind.unit]
        return lambda count: _moment(count, digits) + end
    if types.is_date32(kind):
        return _day
    if types.is_date64(kind):
        return lambda millis: _day(millis // 86_400_000)
    if types.is_time(kind):
        digits = _DIGITS[kind.unit]
        return lambda count: _moment(count, digits)[11:]
    if types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind):
        return lambda value: base64.b64encode(value).decode()
    return None


def _is_text(kind: pa.DataType) -> bool:
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise NotAnEvent(Reason.NOT_FINITE, f"the row has a number that is not finite: {value}")
    return value


def _decimal(value: Decimal) -> orjson.Fragment:
    return orjson.Fragment(format(value, "f"))


def _moment(count: int, digits: int) -> str:
    seconds, fraction = divmod(count, 10**digits)
    try:
        text = format_micros(seconds * 1_000_000)[:19]
    except OverflowError as error:
        raise NotAnEvent(Reason.INVALID_TIME, "the row has a time beyond the years 0001 to 9999") from error
    return f"{text}.{fraction:0{digits}d}"


def _day(days: int) -> str:
    try:
        return (_EPOCH + timedelta(days)).isoformat()
    except OverflowError as error:
        raise NotAnEvent(Reason.INVALID_TIME, "the row has a date beyond the years 0001 to 9999") from error
