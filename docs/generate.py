"""Writes the tables of these pages that follow from the code: `python docs/generate.py [--check]`.

A table lies between two marks, `<!-- generated: NAME -->` and `<!-- end -->`; what stands between them is
replaced. With --check nothing is written, and the exit code is 1 where a page differs from what would be.
What to do about a reason is written by hand, in troubleshooting.yaml.
"""

from __future__ import annotations

import argparse
import re
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import yaml

from pik.api.conditions import REASONS
from pik.api.conditions import Reason as ConditionReason
from pik.api.kinds import KINDS
from pik.cluster.metrics.names import METRICS, MetricType
from pik.domain import intake, payloads
from pik.execution.parquet import SCHEMA
from pik.planning.functions import FunctionKind
from pik.planning.iam.feeds import Feed, Function
from pik.planning.iam.places import Place, Realm
from pik.planning.iam.roles import Role, policy
from pik.planning.iam.statements import Statement
from pik.planning.sql import grammar

HERE = Path(__file__).resolve().parent
ADVICE = HERE / "troubleshooting.yaml"
RULES = HERE.parent / "charts" / "pik" / "templates" / "_rules.tpl"
_RULE = re.compile(r"^# (.*)\n(- apiGroups:.*\n(?:  .*\n)+)", re.MULTILINE)
_BOUND = {  # rules of the chart, and who has them
    "operatorRules": "operator",
    "operatorClusterRules": "operator",
    "apiServerRules": "operator, in `default`, where all namespaces are watched",
    "leaderRules": "operator, in its own namespace",
    "gatewayRules": "gateway",
    "gatewayReviewRules": "gateway",
}
_REGION = re.compile(r"(<!-- generated: (?P<name>[^>]+?) -->\n).*?(<!-- end -->)", re.DOTALL)


class UnknownTable(ValueError):
    """A page asks for a table that there is none of, or the advice names a reason that is none."""


def advice() -> dict[str, str]:
    """What to do, by reason. Raises UnknownTable for a word that is no reason of a condition."""
    found: dict[str, str] = yaml.safe_load(ADVICE.read_text(encoding="utf-8"))
    unknown = found.keys() - {reason.value for reason in ConditionReason}
    if unknown:
        raise UnknownTable(f"{ADVICE.name}: no reasons: {', '.join(sorted(unknown))}")
    return found


def conditions(kind: str) -> str:
    """A kind's conditions, and the reasons that each can have."""
    rows = [
        (f"`{condition.value}`", condition.meaning, ", ".join(f"`{reason.value}`" for reason in reasons))
        for condition, reasons in REASONS[kind].items()
    ]
    return _table(("condition", "means", "reasons"), rows)


def columns(kind: str) -> str:
    """What `pik get` and kubectl print."""
    rows = [
        (column.name, f"`{column.jsonPath}`", "yes" if column.wide else "") for column in KINDS[kind].COLUMNS
    ]
    return _table(("column", "from", "only with `-o wide`"), rows)


def troubleshooting() -> str:
    """Every reason that a condition can have."""
    known = advice()
    kinds: dict[str, list[str]] = {}
    for kind, told in REASONS.items():
        for reasons in told.values():
            for reason in reasons:
                kinds.setdefault(reason.value, [])
                if kind not in kinds[reason.value]:
                    kinds[reason.value].append(kind)
    rows = [
        (f"`{reason.value}`", ", ".join(kinds[reason.value]), reason.meaning, known[reason.value])
        for reason in ConditionReason
        if reason.value in kinds
    ]
    return _table(("reason", "of", "means", "do"), rows)


def rejections() -> str:
    """Why something is not an event."""
    return _table(("reason", "means"), [(f"`{reason.value}`", reason.meaning) for reason in payloads.Reason])


def bounds() -> str:
    """What an event and a request may have at most."""
    spec = KINDS["CaptureStream"].model_fields["spec"].annotation
    ingest = spec.model_fields["ingest"].annotation.model_fields  # type: ignore[union-attr]
    event, batch = ingest["maxEventBytes"], ingest["maxBatchBytes"]
    rows: list[tuple[str, str]] = [
        ("a payload", f"`ingest.maxEventBytes`: {event.default:,} bytes unless set"),
        ("a request's body", f"`ingest.maxBatchBytes`: {batch.default:,} bytes unless set"),
        ("events in a request", f"{intake.MAX_BATCH_EVENTS:,}"),
        ("source, event type, entity id", f"{payloads.MAX_NAME_BYTES:,} bytes of UTF-8 each"),
        ("an idempotency key", f"{payloads.MAX_KEY_BYTES:,} bytes of UTF-8"),
        ("attributes that have no column of their own", f"{payloads.MAX_ATTRIBUTES_BYTES:,} bytes of JSON"),
        ("arrays and objects within each other", f"{payloads.MAX_DEPTH} deep"),
    ]
    return _table(("what", "at most"), rows)


def expressions() -> str:
    """What an expression may be made of."""
    rows = [(f"`{name}`", f"{type_}") for name, type_ in grammar.COLUMNS.items()]
    others = grammar.ALLOWED.partition("payload.<path>; ")[2]
    listed = "\n".join(textwrap.fill(part, 100, subsequent_indent="  ") for part in others.split("; "))
    return f"{_table(('column', 'is'), rows)}\n```text\n{listed}\n```\n"


def segment_columns() -> str:
    """The columns of a segment; what each holds is said by the page."""
    rows = [(f"`{field.name}`", f"`{field.type}`", "yes" if field.nullable else "") for field in SCHEMA]
    return _table(("column", "type", "may be null"), rows)


def metrics() -> str:
    """Every metric that a process in a cluster exports."""
    rows = [
        (
            f"`{metric.name}`",
            metric.type.value,
            ", ".join(f"`{label}`" for label in metric.labels),
            ", ".join(metric.by),
            metric.help,
        )
        for metric in METRICS
    ]
    return _table(("metric", "type", "labels", "of", "says"), rows)


def metric_buckets() -> str:
    """The bounds of the histograms."""
    rows = [
        (f"`{metric.name}`", ", ".join(f"{bound:g}" for bound in metric.buckets))
        for metric in METRICS
        if metric.type is MetricType.HISTOGRAM
    ]
    return _table(("histogram", "upper bounds, seconds"), rows)


def rights() -> str:
    """What the chart's own ServiceAccounts may do, from its templates: comments say what for."""
    text = RULES.read_text(encoding="utf-8")
    rows = []
    for name, who in _BOUND.items():
        body = re.search(rf'define "pik\.{name}" -\}}\}}\n(.*?)\{{\{{- end \}}\}}\n(?:\n|$)', text, re.DOTALL)
        if body is None:
            raise UnknownTable(f"{RULES.name} has no rules {name}")
        for comment, rule in _RULE.findall(re.sub(r"^\{\{.*\}\}\n", "", body[1], flags=re.MULTILINE)):
            parsed = yaml.safe_load(rule)[0]
            group = parsed["apiGroups"][0] or "core"
            named = f" (only {', '.join(parsed['resourceNames'])})" if "resourceNames" in parsed else ""
            what = ", ".join(f"`{resource}`" for resource in parsed["resources"])
            rows.append((who, f"{group}: {what}{named}", ", ".join(parsed["verbs"]), comment))
    return _table(("who", "on", "may", "for"), rows)


_IN_AWS = tuple(role for role in Role if role is not Role.TENANT)  # which is made of others
_FEED = Feed(
    functions=tuple(
        Function(
            kind, kind.value.upper(), f"arn:aws:iam::ACCOUNT:role/{kind.upper()}", url=kind.value == "ingest"
        )
        for kind in FunctionKind
    ),
    queues=("QUEUE", "QUEUE-dlq"),
    streams=("STREAM",),
    reads_queues=("QUEUE",),
    reads_streams=("STREAM",),
    rules=(("BUS", "RULE"),),
    objects=(("SOURCE", "BELOW/"),),
    replay_queue="REPLAYED",
)
_PLACE = Place(
    bucket="BUCKET",
    table="TABLE",
    prefix="PREFIX",
    region="REGION",
    locks=True,
    deletes=True,
    kms_key="arn:aws:kms:REGION:ACCOUNT:key/KEY",
)
_REALM = Realm(account="ACCOUNT")


def iam(role: Role) -> str:
    """The statements of a part's policy on a stream that has everything; of the operator without functions
    and sources."""
    feed = Feed() if role is Role.OPERATOR else _FEED
    place = msgspec.structs.replace(_PLACE, feed=feed)
    return _statements(policy(role, [place], [], _REALM, ["WORKGROUP"]).statements)


def feeding() -> str:
    """What the operator needs besides, for functions and sources."""
    place = msgspec.structs.replace(_PLACE, feed=_FEED)
    before = policy(Role.OPERATOR, [_PLACE], [], _REALM, ["WORKGROUP"]).statements
    after = policy(Role.OPERATOR, [place], [], _REALM, ["WORKGROUP"]).statements
    return _statements([one for one in after if one not in before])


def _statements(found: Sequence[Statement]) -> str:
    rows = []
    for one in found:
        places = [resource.rpartition("ACCOUNT:")[2].split(":::")[-1] for resource in one.resources]
        where = [f"`{each.operator}` `{each.key}` {' or '.join(each.values)}" for each in one.conditions]
        rows.append((f"`{one.sid}`", _words(one.actions), _words(places), ", ".join(where)))
    return _table(("statement", "may", "on", "where"), rows)


def _words(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def tables() -> Mapping[str, Callable[[], str]]:
    """Every table, by its name in the pages."""
    by_kind = {
        f"{name} {kind}": (lambda make=make, kind=kind: make(kind))  # type: ignore[misc]
        for kind in KINDS
        for name, make in (("conditions", conditions), ("columns", columns))
    }
    return {
        **by_kind,
        "troubleshooting": troubleshooting,
        "rejections": rejections,
        "bounds": bounds,
        "expressions": expressions,
        "segment columns": segment_columns,
        "metrics": metrics,
        "metric buckets": metric_buckets,
        "rights": rights,
        "iam feeding": feeding,
        **{f"iam {role}": (lambda role=role: iam(role)) for role in _IN_AWS},
    }


def rendered(text: str) -> str:
    """A page with its tables as they are now. Raises UnknownTable."""
    known = tables()

    def replaced(match: re.Match[str]) -> str:
        name = match["name"]
        if name not in known:
            raise UnknownTable(f"there is no table {name!r}; there are: {', '.join(known)}")
        return f"{match[1]}{known[name]()}{match[3]}"

    return _REGION.sub(replaced, text)


def _table(head: tuple[str, ...], rows: list[Any]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def main(check: bool) -> int:
    """Writes, or with `check` compares. Returns the exit code."""
    differing = []
    for page in sorted(HERE.rglob("*.md")):
        text = page.read_text(encoding="utf-8")
        wanted = rendered(text)
        if wanted != text:
            differing.append(page.relative_to(HERE))
            if not check:
                page.write_text(wanted, encoding="utf-8")
    for name in differing:
        sys.stdout.write(f"docs/{name}: {'differs from the code' if check else 'written'}\n")
    return 1 if check and differing else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail where a page differs")
    sys.exit(main(parser.parse_args().check))
