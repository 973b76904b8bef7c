"""Whose a bucket or a table is, by tags, by what streams have, and by owner records."""

from __future__ import annotations

from typing import Any

import pytest

from pik.api.capture_stream import CaptureStream
from pik.domain.instants import Instant
from pik.planning.storage import OWNER_TAG, STREAM_TAG, bucket_name, owner_tag
from pik.planning.unclaimed import (
    Claim,
    Held,
    Made,
    Tagged,
    Unclaimed,
    Why,
    claim_of,
    clusters_of,
    sort_out,
    with_contents,
)

LONG = f"home/{'n' * 63}/{'x' * 253}"


def stream(name: str = "things", *, has: tuple[str, str] | None = None, **spec: Any) -> CaptureStream:
    """`has`: bucket and table of its status."""
    status: dict[str, Any] = {}
    if has is not None:
        bucket, table = has
        status = {
            "storage": {"bucket": bucket, "prefix": "p", "owner": f"home/team/{name}"},
            "index": {"table": table},
        }
    return CaptureStream.model_validate(
        {
            "metadata": {"name": name, "namespace": "team"},
            "spec": {"storage": {"prefix": "p"}, **spec},
            "status": status,
        }
    )


def bucket(name: str, owner: str) -> Tagged:
    return Tagged(Made.BUCKET, name, "here", {OWNER_TAG: owner_tag(owner)})


def table(name: str, owner: str) -> Tagged:
    return Tagged(Made.TABLE, name, "here", {OWNER_TAG: owner_tag(owner), STREAM_TAG: "5" * 32})


def left(
    *found: Tagged, streams: tuple[CaptureStream, ...] = (), namespace: str | None = None
) -> dict[str, Why]:
    claims = [claim_of(one, "home") for one in streams]
    return {one.tagged.name: one.why for one in sort_out(found, "home", claims, namespace).candidates}


def test_what_a_stream_has_is_its_own() -> None:
    mine = (bucket("b", "home/team/things"), table("t", "home/team/things"))
    assert left(*mine) == {"b": Why.GONE, "t": Why.GONE}
    assert left(*mine, streams=(stream(has=("b", "t")),)) == {}
    # by another's status too: an adopted bucket keeps the tag of who made it
    assert left(*mine, streams=(stream("others", has=("b", "t")),)) == {}


def test_what_a_stream_only_names_or_will_be_given_is_its_own_too() -> None:
    named = stream(storage={"prefix": "p", "bucket": {"name": "b-named"}}, index={"tableName": "t-named"})
    assert left(bucket("b-named", "home/a/b"), table("t-named", "home/a/b"), streams=(named,)) == {}
    derived = bucket_name(stream().spec, "home", "team", "things")
    assert left(bucket(derived, "home/team/things"), streams=(stream(),)) == {}
    # its table's name is not known before its stream has an id
    assert left(table("t", "home/team/things"), streams=(stream(),)) == {}


def test_a_stream_that_has_other_storage_by_now() -> None:
    there = stream(has=("b", "t"))
    old = (bucket("old-b", "home/team/things"), table("old-t", "home/team/things"))
    assert left(*old, streams=(there,)) == {"old-b": Why.ELSEWHERE, "old-t": Why.ELSEWHERE}


def test_another_clusters_is_none_of_ours() -> None:
    assert left(bucket("b", "away/team/things"), table("t", "homely/team/things")) == {}


def test_one_namespace_alone() -> None:
    both = (bucket("b", "home/team/things"), bucket("c", "home/teams/things"))
    assert left(*both, namespace="team") == {"b": Why.GONE}


def test_an_owner_whose_name_is_too_long_for_a_tag() -> None:
    long = bucket("b", LONG)
    assert long.tags[OWNER_TAG] == owner_tag(LONG) != LONG
    claim = Claim(LONG, frozenset({"other"}), frozenset(), settled=True)
    known = sort_out([long], "home", [claim], None)
    assert [(one.owner, one.why) for one in known.candidates] == [(LONG.removeprefix("home/"), Why.ELSEWHERE)]
    unknown = sort_out([long], "home", [], None)
    assert (unknown.candidates, unknown.unreadable) == ((), (long,))


def test_how_many_are_in_use() -> None:
    found = [bucket("b", "home/team/things"), table("t", "home/team/things"), bucket("c", "home/team/gone")]
    assert sort_out(found, "home", [claim_of(stream(has=("b", "t")), "home")], None).claimed == 2


def held(owner: str, prefix: str = "p/") -> Held:
    return Held(prefix, "5" * 32, owner, Instant(0))


@pytest.mark.parametrize(
    ("owners", "others"),
    [
        ((), ()),  # nothing was ever claimed in it
        (("home/team/things",), ()),
        (("home/team/things", "home/team/gone"), ()),  # who is gone too
        (("home/team/things", "home/team/living"), ("home/team/living",)),
        (("home/team/things", "away/team/things"), ("away/team/things",)),
    ],
)
def test_who_else_has_data_in_a_bucket(owners: tuple[str, ...], others: tuple[str, ...]) -> None:
    one = Unclaimed(bucket("b", "home/team/things"), "team/things", Why.GONE)
    claims = [claim_of(stream("living", has=("x", "y")), "home")]
    found = with_contents(one, [held(owner, f"{n}/") for n, owner in enumerate(owners)], "home", claims)
    assert found is not None
    assert found.others == others


def test_a_bucket_that_another_cluster_has_taken_over_is_not_left() -> None:
    one = Unclaimed(bucket("b", "home/team/things"), "team/things", Why.GONE)
    assert with_contents(one, [held("away/team/things")], "home", []) is None


def test_the_clusters_name_is_what_streams_are_owned_by() -> None:
    assert clusters_of([stream(), stream(has=("b", "t"))]) == {"home"}
    assert clusters_of([stream()]) == set()
