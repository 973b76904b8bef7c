"""`pik replay`"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click
import yaml

from pik.api.common import API_VERSION
from pik.api.manifests import load_text
from pik.api.replay_job import Duplicates, Order, ReplayJob, StaleAction
from pik.cli.desk import at_a_shelf
from pik.cli.parameters import INSTANT, OneOf
from pik.cli.shelf import Shelf
from pik.domain.instants import Instant


@click.command("replay")
@click.argument("stream")
@click.option("--name", required=True, help="Name of the ReplayJob.")
@click.option("--from", "start", type=INSTANT, required=True, metavar="RFC3339", help="Inclusive.")
@click.option("--to", "end", type=INSTANT, required=True, metavar="RFC3339", help="Exclusive.")
@click.option("--entity", "entities", multiple=True, help="Only this one's events; may be given again.")
@click.option("--source", "sources", multiple=True, help="Only of this source; may be given again.")
@click.option("--type", "types", multiple=True, help="Only of this event type; may be given again.")
@click.option("--where", metavar="SQL", help="Condition over the event's columns and payload.*")
@click.option("--limit", type=click.IntRange(min=1), help="Only the first so many.")
@click.option("--duplicates", type=OneOf(Duplicates), help="Default: First.")
@click.option("--order", type=OneOf(Order), help="Default: EntityTime.")
@click.option("--shards", type=click.IntRange(min=1), help="Parts that are sent side by side. Default: 1.")
@click.option("--on-stale", type=OneOf(StaleAction), help="Default: Fail.")
@click.option("--rate", type=click.IntRange(min=1), help="Events a second, at most.")
@click.option("--to-http", metavar="URL", help="Target: an HTTP endpoint.")
@click.option("--to-queue", metavar="URL", help="Target: an SQS queue.")
@click.option("--to-s3", metavar="s3://BUCKET/PREFIX", help="Target: a place in S3, in Parquet.")
@click.option("--to-kinesis", metavar="NAME|ARN", help="Target: a Kinesis data stream.")
@click.option("--to-event-bus", metavar="NAME|ARN", help="Target: an EventBridge event bus.")
@click.option("--to-lambda", metavar="NAME|ARN", help="Target: a Lambda function, which is waited for.")
@click.option("--run", is_flag=True, help="Send it. Default: the plan is shown, and nothing is sent.")
@click.option("--print", "printed", is_flag=True, help="Print the manifest and apply nothing.")
@at_a_shelf
async def command(shelf: Shelf, name: str, run: bool, printed: bool, **given: Any) -> None:
    """Replay a slice of STREAM: write a ReplayJob and apply it."""
    manifest = {
        "apiVersion": API_VERSION,
        "kind": ReplayJob.KIND,
        "metadata": {"name": name},
        "spec": _spec(run=run, **given),
    }
    text = yaml.safe_dump(manifest, sort_keys=False, allow_unicode=True)
    if printed:
        click.echo(text, nl=False)
        return
    (read,) = load_text(text, "the command line")
    key, change = await shelf.apply(read)
    click.echo(f"{key} {change}")
    click.echo(
        f"look at it: pik describe replayjob {key.namespace}/{name}"
        + ("" if run else "; send it: the same with --run")
    )
    if hint := shelf.idle():
        click.echo(hint, err=True)


def _spec(
    *,
    stream: str,
    start: Instant,
    end: Instant,
    entities: tuple[str, ...],
    sources: tuple[str, ...],
    types: tuple[str, ...],
    where: str | None,
    limit: int | None,
    duplicates: Duplicates | None,
    order: Order | None,
    shards: int | None,
    on_stale: StaleAction | None,
    rate: int | None,
    run: bool,
    **targets: str | None,
) -> dict[str, Any]:
    """What was given; what was not is the API's default."""
    namespace, _, plain = stream.rpartition("/")
    select = {
        "window": {"from": start.exact_text, "to": end.exact_text},
        "entities": list(entities),
        "sources": list(sources),
        "eventTypes": list(types),
        "where": where,
        "limit": limit,
        "duplicates": duplicates and duplicates.value,
    }
    spec = {
        "streamRef": {"name": plain, **({"namespace": namespace} if namespace else {})},
        "select": {field: value for field, value in select.items() if value},
        "target": _target(**targets),
        "order": order and order.value,
        "shards": shards,
        "parallelism": shards,
        "onStale": on_stale and on_stale.value,
        "pace": {"eventsPerSecond": rate} if rate else None,
        "mode": "Run" if run else None,
    }
    return {field: value for field, value in spec.items() if value}


def _target(**given: str | None) -> dict[str, Any]:
    """`given`: option to value; exactly one has one."""
    chosen = [(option, value) for option, value in given.items() if value is not None]
    if len(chosen) != 1:
        *most, last = (f"--{option.replace('_', '-')}" for option in given)
        raise click.UsageError(f"give one of {', '.join(most)} and {last}")
    option, value = chosen[0]
    return _TARGETS[option](value)


def _s3(place: str) -> dict[str, Any]:
    bucket, slash, prefix = place.removeprefix("s3://").partition("/")
    if not place.startswith("s3://") or not slash:
        raise click.UsageError("--to-s3 is s3://BUCKET/PREFIX")
    return {"type": "S3", "s3": {"bucket": bucket, "prefix": prefix.strip("/")}}


def _kinesis(stream: str) -> dict[str, Any]:
    return {"type": "Kinesis", "kinesis": {"streamARN" if _is_arn(stream) else "streamName": stream}}


def _event_bus(bus: str) -> dict[str, Any]:
    named = {"eventBusARN" if _is_arn(bus) else "eventBusName": bus}
    return {"type": "EventBridge", "eventBridge": named}


def _lambda(function: str) -> dict[str, Any]:
    named = {"functionARN" if _is_arn(function) else "functionName": function}
    return {"type": "Lambda", "lambda": named}


def _is_arn(text: str) -> bool:
    return text.startswith("arn:")


_TARGETS: dict[str, Callable[[str], dict[str, Any]]] = {
    "to_http": lambda url: {"type": "HTTP", "http": {"url": url}},
    "to_queue": lambda url: {"type": "SQS", "sqs": {"queueURL": url}},
    "to_s3": _s3,
    "to_kinesis": _kinesis,
    "to_event_bus": _event_bus,
    "to_lambda": _lambda,
}
