"""Which cell of an aggregate a replayed event touches: the time bucket that it is in. Pure."""

from __future__ import annotations

from bisect import bisect_right

from pik.api.aggregate_version import TimeBucket
from pik.domain.errors import PikError
from pik.domain.instants import Instant, InvalidInstant, parse_instant
from pik.domain.intake import ReplayClaim, claim_of
from pik.domain.json_text import read_object, take_text
from pik.domain.payloads import NotAnEvent
from pik.domain.windows import Window
from pik.planning.buckets import HOUR, starts
from pik.planning.definitions import Definition, WindowText

_LONGEST = {  # hours that no bucket of the kind exceeds, whatever clocks do
    TimeBucket.MINUTE: 1,
    TimeBucket.HOUR: 2,
    TimeBucket.DAY: 26,
    TimeBucket.WEEK: 7 * 24 + 2,
    TimeBucket.MONTH: 31 * 24 + 2,
}


class NotAReplay(PikError):
    """A message that no replay of this stream sent, or that cannot be read."""


def bucket_around(definition: Definition, instant: Instant) -> Window:
    """The bucket that the instant is in. Raises ValueError for `Window`, which has no length of its own, and
    at the end of the calendar."""
    if definition.bucket not in _LONGEST:
        raise ValueError("bucket Window has no length of its own: use Month, or a shorter one")
    hour = instant.micros // HOUR * HOUR
    hours = [hour + n * HOUR for n in (0, _LONGEST[definition.bucket])]
    begins = starts(definition.bucket, definition.zone, hours)
    place = bisect_right(begins, instant.micros)
    if place == len(begins):
        raise ValueError("the calendar ends before that bucket does")
    return Window(Instant(begins[place - 1]), Instant(begins[place]))


def over(definition: Definition, window: Window) -> Definition:
    """The same asked of this window."""
    return Definition(
        stream_id=definition.stream_id,
        window=WindowText(window.start.text, window.end.text),
        timezone=definition.timezone,
        bucket=definition.bucket,
        group_by=definition.group_by,
        measures=definition.measures,
        where=definition.where,
    )


def read_message(body: str, stream_id: str) -> tuple[ReplayClaim, Instant]:
    """The run that a message of the replay queue says it is of, and the event's time. Raises `NotAReplay`."""
    try:
        fields = read_object(body.encode(), "a message")
        claim = claim_of(take_text(fields, "pikstream"), take_text(fields, "pikrun"))
        time = take_text(fields, "time")
    except NotAnEvent as error:
        raise NotAReplay(str(error)) from error
    if claim is None or time is None:
        raise NotAReplay("it has no replay marker, or no time")
    if claim.stream_id != stream_id:
        raise NotAReplay(f"it is of the stream {claim.stream_id}, not of {stream_id}")
    try:
        return claim, parse_instant(time)
    except InvalidInstant as error:
        raise NotAReplay(f"time: {error}") from error
