"""What a stream's owner allows of its replays (law 11), and what is refused whatever anyone allows."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from urllib.parse import SplitResult, urlsplit

import msgspec

from pik.api.capture_stream import Approval, ReplayPolicy
from pik.api.conditions import Reason
from pik.api.mapping import EventMapping, TimeMapping
from pik.api.replay_job import ApprovalGrant, Pace, StaleAction
from pik.api.targets import AllowedTarget, TargetType
from pik.planning.replay.addresses import ForbiddenNetworks, forbidden_host
from pik.planning.replay.plan import ReplayPlan
from pik.planning.replay.spec import ReplaySpec, TargetAddress

_DEFAULT_PORTS = {"http": 80, "https": 443}
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class Refusal(msgspec.Struct, frozen=True):
    """Why a replay may not run (now): a reason of the ReplayJob's conditions, and a sentence for a person."""

    reason: Reason
    message: str


class StreamAddresses(msgspec.Struct, frozen=True):
    """Where a stream takes events in, and where it keeps them. `taken`: what else it takes events from."""

    ingest_urls: tuple[str, ...]
    bucket: str
    prefix: str  # of its keys: empty, or ending with a slash
    taken: tuple[TargetAddress, ...] = ()


def spec_refusals(
    policy: ReplayPolicy,
    spec: ReplaySpec,
    pace: Pace | None,
    own: StreamAddresses,
    *,
    loopback: bool,
    networks: ForbiddenNetworks = (),
) -> list[Refusal]:
    """What can be refused before anything is read. `loopback`: whether this machine may be a target.
    `networks`: what no target may be in besides."""
    refused = []
    host = urlsplit(spec.target.address).hostname or ""
    why = forbidden_host(host, loopback=loopback, networks=networks)
    if spec.target.type is TargetType.HTTP and why is not None:
        refused.append(
            Refusal(Reason.TARGET_FORBIDDEN, f"nothing is sent to {spec.target.address}: its host is {why}")
        )
    if feeds_itself(spec.target, own):
        refused.append(
            Refusal(
                Reason.SELF_REPLAY,
                f"the target {spec.target.address} is where stream {spec.stream} takes or keeps events",
            )
        )
    targets = [spec.target]
    if spec.dead_letter is not None:
        targets.append(TargetAddress(TargetType.SQS, spec.dead_letter))
    for target in targets:
        if not is_allowed(target, policy.targets):
            refused.append(
                Refusal(
                    Reason.POLICY_EXCEEDED,
                    f"replayPolicy.targets of stream {spec.stream} does not allow "
                    f"{target.type} {target.address}",
                )
            )
    most = policy.maxEventsPerSecond
    asked = None if pace is None else pace.eventsPerSecond
    if most is not None and asked is not None and asked > most:
        refused.append(
            Refusal(
                Reason.POLICY_EXCEEDED,
                f"pace.eventsPerSecond is {asked}; replayPolicy.maxEventsPerSecond of stream "
                f"{spec.stream} is {most}",
            )
        )
    return refused


def transform_refusals(spec: ReplaySpec, mapping: EventMapping | None) -> list[Refusal]:
    """What a transform would hide in vain: the envelope of each event says it too."""
    said = {} if mapping is None else _said_by_envelopes(mapping)
    return [
        Refusal(
            Reason.INVALID_SPEC,
            f"transform of {rule.path} would hide nothing: the stream's mapping takes {field} from {path}, "
            "and what is sent names it beside the payload",
        )
        for rule in spec.transform
        for path, field in said.items()
        if f"{path}.".startswith(f"{rule.path}.") or f"{rule.path}.".startswith(f"{path}.")
    ]


def _said_by_envelopes(mapping: EventMapping) -> dict[str, str]:
    fields = {
        "entityID": mapping.entityID,
        "eventTime": mapping.eventTime,
        "eventType": mapping.eventType,
        "source": mapping.source,
        "idempotencyKey": mapping.idempotencyKey,
    }
    found = {}
    for name, rule in fields.items():
        paths = [] if rule is None else [*(rule.paths or ())]
        if rule is not None and not isinstance(rule, TimeMapping) and rule.join is not None:
            paths += rule.join.paths
        found.update(dict.fromkeys(paths, name))
    return found


def plan_refusals(policy: ReplayPolicy, plan: ReplayPlan, approval: ApprovalGrant | None) -> list[Refusal]:
    """What can be refused once it is known what would be sent. An approval holds for one plan."""
    refused = []
    matched = plan.measure.matched
    if policy.maxEvents is not None and matched > policy.maxEvents:
        refused.append(
            Refusal(
                Reason.POLICY_EXCEEDED,
                f"the slice holds {matched} events; replayPolicy.maxEvents of stream {plan.spec.stream} is "
                f"{policy.maxEvents}",
            )
        )
    if plan.spec.on_stale is StaleAction.FAIL and plan.measure.stale > 0:
        refused.append(
            Refusal(
                Reason.STALE_EVENTS,
                f"{plan.measure.stale} entities have newer events outside the slice, which a replay would "
                "set back: change the slice, or onStale to Skip or Send",
            )
        )
    awaited = approval_refusal(policy, plan.spec.stream, plan.hash, approval)
    return refused if awaited is None else [*refused, awaited]


def approval_refusal(
    policy: ReplayPolicy, stream: str, plan_hash: str, approval: ApprovalGrant | None
) -> Refusal | None:
    """What is refused for want of an approval, before the run begins and as long as it lasts."""
    if policy.approval is not Approval.REQUIRED or (approval is not None and approval.plan == plan_hash):
        return None
    stale = "" if approval is None else f"; the approval is of another plan, {approval.plan[:12]}…"
    message = f"stream {stream} wants plan {plan_hash[:12]}… approved before it is run{stale}"
    return Refusal(Reason.AWAITING_APPROVAL, message)


def is_allowed(target: TargetAddress, allowed: Sequence[AllowedTarget] | None) -> bool:
    """Whether an owner's list (None: no list) has the target. An address that ends in `/*` stands for every
    address below it; one whose path could be read in two ways (dot segments, escaped slashes or dots) is
    below none."""
    if allowed is None:
        return True
    return any(entry.type is target.type and _covers(entry.address, target.address) for entry in allowed)


def feeds_itself(target: TargetAddress, own: StreamAddresses) -> bool:
    """Whether what is sent to the target would land in the stream that it comes from. Another name of the
    same host is not seen here; the gateway knows the stream's own events by their replay marker."""
    if target.type is TargetType.S3:
        places = [own.bucket + "/" + own.prefix]
        places += [each.address.removeprefix("s3://") for each in own.taken if each.type is TargetType.S3]
        wanted_place = target.address.removeprefix("s3://") + "/"
        # the bucket's other prefixes belong to others; one inside the other is the same place
        return any(wanted_place.startswith(each) or each.startswith(wanted_place) for each in places)
    if target.place in {each.place for each in own.taken}:
        return True
    if target.type is TargetType.HTTP:
        wanted = urlsplit(target.address)
        return any(same_place(wanted, urlsplit(url)) for url in own.ingest_urls)
    return False


def _covers(pattern: str | None, address: str) -> bool:
    if pattern is None:
        return True
    if "://" not in pattern:  # an ARN or a name, which have one spelling
        return address.startswith(pattern[:-1]) if pattern.endswith("*") else address == pattern
    wanted = urlsplit(address)
    if not pattern.endswith("/*"):
        allowed = urlsplit(pattern)
        return _origin(allowed) == _origin(wanted) and _path(allowed) == _path(wanted)
    allowed = urlsplit(pattern.removesuffix("/*"))
    below = wanted.path.startswith(allowed.path + "/") and _is_plain(wanted.path)
    return _origin(allowed) == _origin(wanted) and below


def same_place(wanted: SplitResult, own: SplitResult) -> bool:
    """Whether a URL leads to another one, or below it."""
    if _port(wanted) != _port(own):
        return False
    same_host = wanted.hostname == own.hostname or {wanted.hostname, own.hostname} <= _LOOPBACK
    path, base = posixpath.normpath(wanted.path or "/"), posixpath.normpath(own.path or "/")
    return same_host and (path == base or path.startswith(base.rstrip("/") + "/"))


def _origin(url: SplitResult) -> tuple[str, str | None, int | None]:
    return url.scheme.lower(), url.hostname, _port(url)


def _port(url: SplitResult) -> int | None:
    return url.port or _DEFAULT_PORTS.get(url.scheme.lower())


def _path(url: SplitResult) -> tuple[str, str]:
    return url.path or "/", url.query


def _is_plain(path: str) -> bool:
    escaped = any(text in path.lower() for text in ("%2e", "%2f", "%5c", "\\"))
    return not escaped and not {".", ".."} & {*path.split("/")}
