"""Manifests and events of the reconcilers' tests."""

from __future__ import annotations

from pik.domain.arrivals import Arrival
from pik.domain.intake import Decoded, IntakeRules, Said, assemble

STREAM = """
apiVersion: pik.dev/v1alpha1
kind: CaptureStream
metadata: {name: things}
spec:
  storage: {prefix: some}
"""

JOB = """
apiVersion: pik.dev/v1alpha1
kind: ReplayJob
metadata: {name: again}
spec:
  streamRef: {name: things}
  select: {window: {from: "2026-02-01T00:00:00Z", to: "2026-03-01T00:00:00Z"}}
  target: {type: HTTP, http: {url: "http://127.0.0.1:9/x"}}
"""

VERSION = """
apiVersion: pik.dev/v1alpha1
kind: AggregateVersion
metadata: {name: total}
spec:
  streamRef: {name: things}
  window: {from: "2026-02-01T00:00:00Z", to: "2026-03-01T00:00:00Z"}
  bucket: Window
  measures: [{name: events, expression: count(*)}, {name: amount, expression: sum(payload.amount)}]
"""


def event(number: int, *, entity: str = "e", amount: str = "1", day: int = 10) -> Arrival:
    """An event of February 2026, keyed by its number."""
    said = Said(
        source="tests",
        event_type="happened",
        entity_id=entity,
        event_time=f"2026-02-{day:02}T00:{number // 60:02}:{number % 60:02}Z",
        idempotency_key=f"k{number}",
    )
    decoded: Decoded = assemble(said, f'{{"amount":{amount}}}'.encode(), IntakeRules())
    return decoded.as_ordinary()


def events(count: int, entities: int = 3) -> list[Arrival]:
    return [event(number, entity=f"e{number % entities}") for number in range(count)]
