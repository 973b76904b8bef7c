"""Lines of NDJSON files as events; a line's text is the event, or the payload where a mapping takes rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pik.domain.arrivals import Rejection
from pik.domain.decode import decode_event
from pik.domain.intake import IntakeRules
from pik.domain.json_text import SPACE
from pik.domain.payloads import Reason
from pik.execution.importing.records import Record


def read_json_lines(lines: Iterable[tuple[bytes, bool]], rules: IntakeRules) -> Iterator[Record]:
    """The lines that are not blank. One that is not whole is rejected, with what there is of it."""
    for number, (line, whole) in enumerate(lines, 1):
        text = line.strip(SPACE)
        if not whole:
            message = f"the line is longer than {len(line)} bytes; its rest is left out here"
            yield Record(number, Rejection(Reason.PAYLOAD_TOO_LARGE, message), text)
        elif text:
            yield Record(number, decode_event(text, rules), text)
