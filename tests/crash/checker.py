"""Whether a stream kept its promises: by its bucket, its producers' log and its targets' log.

Nothing of pik is imported here, nor by what is imported here.
"""

from __future__ import annotations

import io
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import pyarrow.parquet as pq

from crash.clients import Told
from crash.receivers import Delivery
from crash.truth import (
    Bucket,
    Ledger,
    Raw,
    Row,
    data_of,
    event_id,
    fingerprint,
    read_ledger,
    read_raw,
)

_SHOWN = 5  # of faults of one kind


@dataclass(frozen=True)
class Replay:
    """`got`: what the target got of this run, in order of arrival; `ordered`: whether that order says
    something."""

    run_id: str
    got: Sequence[Delivery]
    ordered: bool


@dataclass(frozen=True)
class Evidence:
    """`deciding`: whether arrivals are decided on when they are written. `questions`: hashes of definitions
    that count, sum and rank `delay` by hour and carrier over everything."""

    bucket: Bucket
    prefix: str
    stream_id: str
    deciding: bool
    told: Sequence[Told]
    replays: Sequence[Replay] = ()
    questions: Sequence[str] = ()


@dataclass
class Verdict:
    """What was counted, and what is not as it must be."""

    events: int = 0  # distinct, in raw
    answers: Counter[str] = field(default_factory=Counter)
    arrivals: int = 0  # rows in raw
    unacknowledged: int = 0  # rows in raw that no answer names
    undecided: int = 0  # events of which raw alone says which payload is theirs
    deliveries: int = 0
    repeats: int = 0
    named: int = 0  # chunks that a ledger names as in doubt
    repeating: int = 0  # of those, chunks of which something came more than once
    aggregates: int = 0
    faults: list[str] = field(default_factory=list)

    def fault(self, kind: str, of: Iterable[object]) -> None:
        found = list(of)
        if found:
            shown = ", ".join(str(each) for each in found[:_SHOWN])
            self.faults.append(f"{kind} ({len(found)}): {shown}")


def check(evidence: Evidence) -> Verdict:
    verdict = Verdict()
    raw = read_raw(evidence.bucket, evidence.prefix, evidence.stream_id)
    events, twice = raw.events(deciding=evidence.deciding)
    verdict.events, verdict.arrivals = len(events), len(raw.rows)
    verdict.fault("accepted twice", twice)
    kept = [f"{evidence.prefix}{part}/" for part in ("raw", "runs", "aggregates", "seals", "generations")]
    verdict.fault("rewritten", [key for part in kept for key in evidence.bucket.rewritten(part)])
    _check_rows(evidence, raw, verdict)
    _check_answers(evidence, raw, events, verdict)
    _check_seals(evidence, verdict)
    for replay in evidence.replays:
        _check_replay(evidence, replay, events, verdict)
    for question in evidence.questions:
        _check_aggregate(evidence, question, events, verdict)
    return verdict


def _check_rows(evidence: Evidence, raw: Raw, verdict: Verdict) -> None:
    """What is in raw is what somebody sent, whole and unchanged."""
    sent: dict[str, set[bytes]] = defaultdict(set)
    for told in evidence.told:
        sent[event_id(told.event.source, told.event.key)].add(told.event.payload.encode())
    verdict.fault(
        "a row whose hash is not its payload's",
        (
            _at(row)
            for row in raw.rows.values()
            if row.values["payload_sha256"] != sha256(row.data).hexdigest()
        ),
    )
    verdict.fault(
        "a row that nobody sent",
        (_at(row) for row in raw.rows.values() if row.data not in sent[row.event_id]),
    )


def _check_answers(evidence: Evidence, raw: Raw, events: dict[str, Row], verdict: Verdict) -> None:
    """Every answer is true for good."""
    faults: dict[str, list[str]] = defaultdict(list)
    answered = set()
    accepted = set()
    for told in evidence.told:
        verdict.answers[told.status] += 1
        answered.add((told.s3_key, told.row))
        row, event = raw.rows.get((told.s3_key, told.row)), events.get(told.event_id)
        if told.event_id != event_id(told.event.source, told.event.key):
            faults["another event's answer"].append(told.event.key)
        elif row is None:
            faults["acknowledged, and not in raw"].append(told.event.key)
        elif row.event_id != told.event_id or row.data != told.event.payload.encode():
            faults["acknowledged, and other bytes in raw"].append(told.event.key)
        elif told.s3_key not in raw.counting:
            faults["acknowledged in a segment that does not count"].append(told.event.key)
        elif row.outcome != told.status:
            faults["told otherwise than it was decided"].append(f"{told.event.key} {told.status}")
        elif event is None:
            faults["acknowledged, and no event"].append(told.event.key)
        elif evidence.deciding:
            if told.status == "ACCEPTED":
                accepted.add(told.event_id)
            if fault := _misjudged(told, row, event):
                faults[fault].append(told.event.key)
        elif told.status != "RECORDED":
            faults["an answer that it does not give"].append(f"{told.event.key} {told.status}")
        if row is not None and not _is_like(row, told):
            faults["acknowledged, and other values in raw"].append(told.event.key)
    for kind, found in faults.items():
        verdict.fault(kind, found)
    verdict.unacknowledged = len(raw.rows.keys() - answered)
    payloads: dict[str, set[str]] = defaultdict(set)
    for told in evidence.told:
        payloads[told.event_id].add(told.event.payload)
    verdict.undecided = sum(
        len(found) > 1 and identity not in accepted for identity, found in payloads.items()
    )


def _misjudged(told: Told, row: Row, event: Row) -> str | None:
    """Why an answer does not fit the arrival that is the event."""
    is_event = (row.key, row.number) == (event.key, event.number)
    same = event.data == told.event.payload.encode()
    if told.status == "ACCEPTED":
        return None if is_event else "ACCEPTED, and another arrival is the event"
    if is_event or told.status not in ("DUPLICATE", "CONFLICT"):
        return "an answer that it does not give"
    if same != (told.status == "DUPLICATE"):
        return f"{told.status}, and the event's payload says otherwise"
    return None if told.winner == event.key else "an answer that names another winner"


def _is_like(row: Row, told: Told) -> bool:
    event, values = told.event, row.values
    written = (values["source"], values["event_type"], values["entity_id"], values["event_time_text"])
    return written == (event.source, event.type, event.entity, event.time) and (
        values["idempotency_key"] == event.key
    )


def _check_seals(evidence: Evidence, verdict: Verdict) -> None:
    """The chain goes from one to the next, and its hashes are those of the objects."""
    before = None
    wrong = []
    for key in evidence.bucket.keys(f"{evidence.prefix}seals/"):
        body = evidence.bucket.read(key)
        seal = json.loads(body)
        if seal["previous"] != before:
            wrong.append(key)
        before = sha256(body).hexdigest()
        there = set(evidence.bucket.keys(f"{evidence.prefix}raw/"))
        wrong += [
            sealed["key"]
            for sealed in seal["segments"]
            if sealed["key"] not in there
            or sha256(evidence.bucket.read(sealed["key"])).hexdigest() != sealed["sha256"]
        ]
    verdict.fault("not as it was sealed", wrong)


def _check_replay(evidence: Evidence, replay: Replay, events: dict[str, Row], verdict: Verdict) -> None:
    """Every event, once but for what the ledger names, as it was captured."""
    ledger = read_ledger(evidence.bucket, evidence.prefix, replay.run_id)
    times = Counter(delivery.key for delivery in replay.got)
    identities = {key: key.split(".")[0] for key in times}
    came = set(identities.values())
    acknowledged = {told.event_id for told in evidence.told}
    verdict.deliveries += len(replay.got)
    verdict.repeats += len(replay.got) - len(times)
    verdict.fault("acknowledged, and not delivered", sorted(acknowledged - came))
    verdict.fault("an event that was not delivered", sorted(events.keys() - came - acknowledged))
    verdict.fault("delivered, and no event", sorted(came - events.keys()))
    verdict.fault(
        "delivered under two stable ids", [i for i, n in Counter(identities.values()).items() if n > 1]
    )
    bodies: dict[str, set[bytes]] = defaultdict(set)
    for delivery in replay.got:
        bodies[delivery.key].add(delivery.body)
    verdict.fault("a repeat with another body", [key for key, found in bodies.items() if len(found) > 1])
    verdict.fault(
        "delivered with other bytes",
        [
            key
            for key, found in bodies.items()
            if (event := events.get(identities[key])) is not None
            and not all(_is_delivery(body, event, replay.run_id, evidence.stream_id) for body in found)
        ],
    )
    _check_ledger(ledger, replay.run_id, times, events, verdict)
    if replay.ordered:
        _check_order(replay, verdict)


def _is_delivery(body: bytes, event: Row, run_id: str, stream_id: str) -> bool:
    head, values = json.loads(body), event.values
    said = [head[name] for name in ("id", "source", "type", "subject", "time", "pikrun", "pikstream")]
    names = ("idempotency_key", "source", "event_type", "entity_id", "event_time_text")
    return data_of(body) == event.data and said == [*(values[name] for name in names), run_id, stream_id]


def _check_ledger(
    ledger: Ledger, run_id: str, times: Counter[str], events: dict[str, Row], verdict: Verdict
) -> None:
    lines = {
        line.get("key", f"{line['event_id']}.{run_id[:16]}"): (place, chunk, line)
        for place, chunk in ledger.chunks.items()
        for line in chunk.lines or []
    }
    count = sum(len(chunk.lines or []) for chunk in ledger.chunks.values())
    end = ledger.end
    if end is None or end["state"] != "Succeeded" or end["totals"]["sent"] != len(events):
        verdict.faults.append(f"the run did not end with {len(events)} events sent: {end}")
    if count != len(lines) or {line["event_id"] for _, _, line in lines.values()} != events.keys():
        verdict.faults.append(
            f"the ledger has {count} lines of {len(lines)} messages for {len(events)} events"
        )
    verdict.fault("on the ledger as sent, and not delivered", sorted(lines.keys() - times.keys()))
    verdict.fault("delivered, and not on the ledger", sorted(times.keys() - lines.keys()))
    unnamed, too_often = [], []
    repeating = set()
    for key, count in times.items():
        if count == 1 or key not in lines:
            continue
        place, chunk, line = lines[key]
        repeating.add(place)
        again = line.get("attempts", 1) > 1
        if not chunk.named and not again:
            unnamed.append(key)
        elif count > chunk.intents and not again:
            too_often.append(key)
    verdict.fault("repeated, and in no chunk that the ledger names", unnamed)
    verdict.fault("repeated more often than its chunk was begun", too_often)
    verdict.named += sum(chunk.named for chunk in ledger.chunks.values())
    verdict.repeating += len(repeating)
    verdict.fault(
        "a chunk without an outcome", [p for p, chunk in ledger.chunks.items() if chunk.lines is None]
    )


def _check_order(replay: Replay, verdict: Verdict) -> None:
    """Each entity's events by their times, at their first delivery."""
    last: dict[str, str] = {}
    seen = set()
    wrong = []
    for delivery in replay.got:
        if delivery.key in seen:
            continue
        seen.add(delivery.key)
        head = json.loads(delivery.body)
        if head["time"] < last.get(head["subject"], ""):
            wrong.append(delivery.key)
        last[head["subject"]] = head["time"]
    verdict.fault("delivered out of order", wrong)


def _check_aggregate(evidence: Evidence, question: str, events: dict[str, Row], verdict: Verdict) -> None:
    """One version, of the events that there are, with the rows that follow from them."""
    bucket, root = evidence.bucket, f"{evidence.prefix}aggregates/"
    records = [json.loads(bucket.read(key)) for key in bucket.keys(root) if key.endswith("/version.json")]
    found = [record for record in records if record["definition_hash"] == question]
    if len(found) != 1:
        verdict.faults.append(f"{len(found)} versions answer {question[:12]}")
        return
    verdict.aggregates += 1
    version = found[0]["version"]
    wanted = sorted(f"{identity} {_fingerprint(row)}\n" for identity, row in events.items())
    inputs = sha256("".join(wanted).encode()).hexdigest()
    name = sha256((question + inputs).encode()).hexdigest()
    if (name, len(wanted)) != (version, found[0]["input_count"]):
        verdict.faults.append(
            f"version {version[:12]} is not that of the {len(wanted)} events that there are"
        )
    if (kept := _rows(bucket.read(f"{root}{version}/rows.parquet"))) != (
        own := _recomputed(evidence, events)
    ):
        wrong = sorted(kept.items() ^ own.items())[:_SHOWN]
        verdict.faults.append(f"version {version[:12]} has other rows than the producers' log gives: {wrong}")


def _fingerprint(row: Row) -> str:
    values = row.values
    exact = f"{values['event_time_text'].removesuffix('Z')}000Z"  # producers gave three digits
    return fingerprint(values["event_type"], values["entity_id"], exact, row.data)


def _rows(body: bytes) -> dict[tuple[str, str], tuple[int, ...]]:
    table = pq.read_table(io.BytesIO(body))
    found = {}
    for values in zip(*(column.to_pylist() for column in table.columns), strict=True):
        hour, carrier, *numbers = values
        found[f"{hour:%Y-%m-%dT%H}", carrier] = tuple(int(number) for number in numbers)
    return found


def _recomputed(evidence: Evidence, events: dict[str, Row]) -> dict[tuple[str, str], tuple[int, ...]]:
    """By the producers' log: what they were told was accepted, or else the payload that they all sent. Only
    where they sent several and none was told so does raw say which it was."""
    chosen: dict[str, Any] = {}
    sent: dict[str, set[str]] = defaultdict(set)
    times: dict[str, str] = {}
    for told in evidence.told:
        sent[told.event_id].add(told.event.payload)
        times[told.event_id] = told.event.time
        if told.status == "ACCEPTED":
            chosen[told.event_id] = told.event.payload
    groups: dict[tuple[str, str], list[int]] = defaultdict(list)
    for identity, payloads in sent.items():
        (only, *others) = payloads
        text = chosen.get(identity, only)
        if others and identity not in chosen and identity in events:
            text = events[identity].data.decode()
        value = json.loads(text)
        groups[times[identity][:13], value["carrier"]].append(value["delay"])
    return {group: (len(found), sum(found), max(found)) for group, found in groups.items()}


def _at(row: Row) -> str:
    return f"{row.key} row {row.number}"
