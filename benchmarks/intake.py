"""How long an event takes to decode, beside what must be done in any case: `python benchmarks/intake.py`.

The floor reads the payload once with orjson and hashes three times, as an arrival's ids need; interleaved,
best of many runs, so that another load on the machine counts for both.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from timeit import timeit

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from pik.domain.decode import decode_cloud_events, decode_json, decode_lines
from pik.domain.intake import Decoded, IntakeRules
from pik.domain.mapping import Mapping, TextRule
from pik.execution.importing.imports import read_file

EVENTS, ROUNDS = 1_000, 40
ROW = {
    "year": 2013,
    "month": 1,
    "day": 1,
    "dep_time": 517,
    "sched_dep_time": 515,
    "dep_delay": 2,
    "arr_time": 830,
    "sched_arr_time": 819,
    "arr_delay": 11,
    "carrier": "UA",
    "flight": 1545,
    "tailnum": "N14228",
    "origin": "EWR",
    "dest": "IAH",
    "air_time": 227,
    "distance": 1400,
    "hour": 5,
    "minute": 15,
    "time_hour": "2013-01-01T10:00:00Z",
}
FLIGHTS = Mapping(
    source=TextRule(value="departures"),
    event_type=TextRule(value="flight"),
    entity_id=TextRule(("tailnum",), ("carrier", "flight")),
    event_time=TextRule(("time_hour",)),
    received_time=TextRule(("time_hour",)),
    idempotency_key=TextRule(join=("time_hour", "carrier", "flight", "origin")),
)


def main() -> None:
    plain, rows = IntakeRules(), IntakeRules(mapping=FLIGHTS)
    kit = [
        {
            "source": "departures",
            "event_type": "flight",
            "entity_id": f"N{number}",
            "event_time": "2013-01-01T10:00:00.123Z",
            "payload": ROW,
            "idempotency_key": f"UA/{number}/2013-01-01",
        }
        for number in range(EVENTS)
    ]
    cloud = [
        {
            "specversion": "1.0",
            "source": "departures",
            "type": "flight",
            "subject": event["entity_id"],
            "time": event["event_time"],
            "id": event["idempotency_key"],
            "data": ROW,
        }
        for event in kit
    ]
    payload = orjson.dumps(ROW)
    compact, spaced, lines = orjson.dumps(kit), json.dumps(kit).encode(), b"\n".join(map(orjson.dumps, kit))
    batch, foreign = orjson.dumps(cloud), orjson.dumps([ROW] * EVENTS)
    with tempfile.TemporaryDirectory() as folder:
        csv_file, parquet_file = Path(folder) / "rows.csv", Path(folder) / "rows.parquet"
        line = ",".join(map(str, ROW.values())) + "\n"
        csv_file.write_text(",".join(ROW) + "\n" + line * EVENTS)
        pq.write_table(pa.Table.from_pylist([ROW] * EVENTS), parquet_file)
        report(
            {
                "floor": lambda: [_floor(payload) for _ in range(EVENTS)],
                "kit, compact": lambda: decode_json(compact, plain),
                "kit, spaced": lambda: decode_json(spaced, plain),
                "kit, lines": lambda: decode_lines(lines, plain),
                "CloudEvents": lambda: decode_cloud_events(batch, plain),
                "JSON rows": lambda: decode_json(foreign, rows),
                "CSV rows": lambda: [event for part in read_file(csv_file, rows) for event in part.events],
                "Parquet rows": lambda: [e for part in read_file(parquet_file, rows) for e in part.events],
            }
        )


def report(cases: dict[str, Callable[[], list[object]]]) -> None:
    for name, case in cases.items():
        found = case()
        if len(found) != EVENTS or not (name == "floor" or all(isinstance(one, Decoded) for one in found)):
            raise SystemExit(f"{name}: not {EVENTS} events")
    best = dict.fromkeys(cases, float("inf"))
    for _ in range(ROUNDS):
        for name, case in cases.items():
            best[name] = min(best[name], timeit(case, number=1))
    for name, seconds in best.items():
        micros = seconds / EVENTS * 1e6
        print(f"{name:14} {micros:6.2f} µs an event  {seconds / best['floor']:5.2f} × floor")


def _floor(payload: bytes) -> tuple[str, str, str]:
    orjson.loads(payload)
    digest = sha256(payload).hexdigest()
    return digest, sha256(payload).hexdigest(), sha256(b'["pik/1","key","departures","UA/1545"]').hexdigest()


if __name__ == "__main__":
    main()
