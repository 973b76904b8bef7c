"""Values as people read them: short enough for a terminal, never so rounded that they mislead."""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal
from typing import Any

import msgspec

from pik.domain.differences import Difference
from pik.domain.instants import Instant
from pik.execution.inspect.report import Kind

DIGITS = 12
"""Of an id or a hash in a table; the commands take the beginning of one for the whole."""
_PLACES = Decimal("0.001")
_DIGEST = re.compile(r"[0-9a-f]{32,64}")
_SEGMENT = re.compile(r"(?:.*/)?([0-9a-f]{32})\.g[0-9]{8,}(?:\.parquet)?")
_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z")


def shown(value: Any, kind: Kind = Kind.TEXT, *, whole: bool = False) -> str:
    """One cell. `whole`: with every digit of ids, instants and decimals."""
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case Instant():
            return _instant(value.exact_text, whole)
        case timedelta():
            return duration_text(value)
        case float() if kind is Kind.SHARE:
            return share_text(value)
        case Decimal():
            return format(value, "f") if whole else decimal_text(value)
        case int():
            return f"{value:,}"
        case Difference():
            return difference_text(value)
        case tuple() | list():
            return ", ".join(shown(item, whole=whole) for item in value)
        case msgspec.Struct():
            fields = msgspec.structs.asdict(value).items()
            return ", ".join(f"{name} {shown(item, whole=whole)}" for name, item in fields)
    return _text(str(value), whole=whole)


def number(count: int, one: str, many: str | None = None) -> str:
    """`1 event`, `2,512 events`"""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def share_text(share: float) -> str:
    """`12.5%`; what is neither nothing nor all is never shown as if it were."""
    if 0 < share < 0.0005:
        return "<0.1%"
    if 0.9995 <= share < 1:
        return ">99.9%"
    return f"{share:.1%}"


def decimal_text(value: Decimal) -> str:
    """At most three places: `59.626`, `1,234.5`"""
    if value == value.to_integral_value():
        return f"{value:,.0f}"
    rounded = f"{value.quantize(_PLACES) if abs(value) < 10**15 else value:,f}"
    return rounded.rstrip("0").rstrip(".")


def duration_text(duration: timedelta) -> str:
    """`3d04h05m`, `1h02m`, `12.5s`, `250ms`: exact enough to read, not to compute with."""
    sign = "-" if duration < timedelta() else ""
    seconds = abs(duration).total_seconds()
    if seconds < 1:
        return f"{sign}{seconds * 1000:.3g}ms" if seconds else "0s"
    if seconds < 60:
        return f"{sign}{seconds:.3g}s"
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    if days:
        return f"{sign}{days:,}d{hour:02}h{minute:02}m"
    if hours:
        return f"{sign}{hour}h{minute:02}m"
    return f"{sign}{minute}m{second:02}s"


def difference_text(difference: Difference) -> str:
    """`payload.temp  51.98 → 50`"""
    sides = (
        "absent" if side is None else _text(side, whole=True) for side in (difference.first, difference.other)
    )
    return f"{printable(difference.path)}  {' → '.join(sides)}"


def short(digest: str) -> str:
    """A hash or an id by its beginning."""
    return digest[:DIGITS]


def is_instant(text: str) -> bool:
    return _INSTANT.fullmatch(text) is not None


def printable(text: str) -> str:
    """Without what a terminal would obey: a producer's text must not move the cursor or change a title."""
    return "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in text)


def _text(text: str, *, whole: bool) -> str:
    if not whole:
        if _DIGEST.fullmatch(text):
            return short(text)
        if (segment := _SEGMENT.fullmatch(text)) is not None:
            return short(segment[1])
    return _instant(text, whole) if is_instant(text) else printable(text)


def _instant(text: str, whole: bool) -> str:
    """`2013-07-10T04:00:00Z`, or with milliseconds; `whole`: with all digits that are not zero."""
    seconds, _, fraction = text.removesuffix("Z").partition(".")
    kept = (fraction if whole else fraction[:3]).rstrip("0")
    if kept and not whole:
        kept = kept.ljust(3, "0")
    return f"{seconds}.{kept}Z" if kept else f"{seconds}Z"
