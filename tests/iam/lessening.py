"""Policies with a part taken out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from iam.asking import Asked
from pik.planning.iam.places import Place
from pik.planning.iam.statements import Policy, Statement, matches


@dataclass(frozen=True)
class Part:
    """What was taken out: an action, or a kind of resource. `less`: the policy without it; `taken`: as
    statements."""

    name: str
    less: Policy
    taken: tuple[Statement, ...]

    def concerns(self, asked: Asked) -> bool:
        return any(
            asked.action in one.actions and any(matches(each, asked.resource) for each in one.resources)
            for one in self.taken
        )


def without_actions(of: Policy) -> Iterator[Part]:
    """Each action of each kind of statement: those that differ by streams' names alone are one kind."""
    for sid, ours in _by_kind(of).items():
        for action in sorted({action for one in ours for action in one.actions}):
            taken = [replace(one, actions=(action,)) for one in ours if action in one.actions]
            rest = [replace(one, actions=tuple(a for a in one.actions if a != action)) for one in ours]
            yield _part(of, f"{sid}: {action}", ours, rest, taken)


def without_resources(of: Policy, places: Sequence[Place]) -> Iterator[Part]:
    """Each kind of resource of each kind of statement."""
    for sid, ours in _by_kind(of).items():
        for wanted in sorted({kind(each, places) for one in ours for each in one.resources}):
            taken, rest = [], []
            for one in ours:
                alike = tuple(each for each in one.resources if kind(each, places) == wanted)
                others = tuple(each for each in one.resources if each not in alike)
                taken.append(replace(one, resources=alike))
                rest.append(replace(one, resources=others))
            yield _part(of, f"{sid}: {wanted}", ours, rest, taken)


def kind(resource: str, places: Sequence[Place]) -> str:
    """Without a stream's own names: all streams have the same rights at the same places."""
    for place in sorted(places, key=lambda one: -len(one.prefix)):
        resource = resource.replace(f"{place.bucket}/{place.prefix}/", "BUCKET/PREFIX/")
        resource = resource.replace(f"table/{place.table}", "table/TABLE")
    for place in places:
        resource = resource.replace(f":::{place.bucket}", ":::BUCKET")
    return resource


def _by_kind(of: Policy) -> dict[str, list[Statement]]:
    found: dict[str, list[Statement]] = {}
    for one in of.statements:
        found.setdefault(one.sid.rstrip("0123456789"), []).append(one)
    return {sid: ours for sid, ours in found.items() if not any(one.unproved for one in ours)}


def _part(
    of: Policy, name: str, ours: Sequence[Statement], rest: Sequence[Statement], taken: Sequence[Statement]
) -> Part:
    whole = [one for one in rest if one.actions and one.resources]
    others = [one for one in of.statements if one not in ours]
    return Part(name, Policy((*others, *whole)), tuple(one for one in taken if one.resources))
