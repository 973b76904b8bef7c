"""Spec and observed state in, differences out."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from pik.api.capture_stream import CaptureStreamSpec
from pik.api.stream_status import DriftAction
from pik.domain.errors import BucketTaken, DataLost, NoSuchBucket, OwnershipConflict, Unusable
from pik.planning.drift import plan
from pik.planning.storage import (
    OTHER_RULE,
    CreateBucket,
    CreateTable,
    EnableObjectLock,
    Encryption,
    LifecycleRule,
    Names,
    ObservedBucket,
    ObservedTable,
    SetBucketTags,
    SetRules,
    SetTableTags,
    SetVersioning,
    bucket_differences,
    bucket_name,
    longer_retention,
    table_differences,
    table_name,
)

KEY = "arn:aws:kms:eu-west-1:111122223333:key/1234abcd"
NAMES = Names("home", "team", "flights", "bucket", "p/flights/")
OWNER = {"pik.dev/owner": "home/team/flights"}
STREAM = "5" * 32


def spec(index: dict[str, Any] | None = None, drift: str = "Repair", **storage: Any) -> CaptureStreamSpec:
    return CaptureStreamSpec.model_validate(
        {"storage": {"prefix": "p/flights", **storage}, "index": index or {}, "driftPolicy": drift}
    )


def bucket_diff(
    wanted: CaptureStreamSpec,
    observed: ObservedBucket | None,
    owned: bool = True,
    known: str | None = None,
) -> list[tuple[str, Any]]:
    found = bucket_differences(wanted, NAMES, observed, owned=owned, known_stream=known)
    assert {difference.resource for difference in found} <= {"bucket"}
    return [(difference.field, difference.action) for difference in found]


def table_diff(wanted: CaptureStreamSpec, observed: ObservedTable | None) -> list[tuple[str, Any]]:
    return [
        (difference.field, difference.action)
        for difference in table_differences(wanted, NAMES, "table", STREAM, observed)
    ]


def settled_bucket(**changes: Any) -> ObservedBucket:
    """As it is when all was done for a spec without anything special."""
    rules = {"pik:p/flights/": LifecycleRule("p/flights/", None, 7, 1)}
    there = ObservedBucket(versioning=True, public_access_blocked=True, rules=rules, tags=OWNER, empty=False)
    return msgspec.structs.replace(there, **changes)


def settled_table(**changes: Any) -> ObservedTable:
    there = ObservedTable(
        point_in_time_recovery=True,
        time_to_live=True,
        deletion_protection=True,
        tags={**OWNER, "pik.dev/stream": STREAM, "pik.dev/retention-days": "none"},
    )
    return msgspec.structs.replace(there, **changes)


# The bucket


def test_a_new_bucket() -> None:
    found = bucket_diff(spec(tags={"team": "data"}), None, owned=False)
    assert [field for field, _ in found] == ["bucket", "tags", "publicAccess", "versioning", "lifecycle"]
    assert found[0][1] == CreateBucket("bucket", object_lock=False)
    assert found[1][1] == SetBucketTags("bucket", {**OWNER, "team": "data"})


def test_nothing_to_do() -> None:
    assert bucket_diff(spec(), settled_bucket()) == []


def test_a_bucket_that_held_a_stream_is_not_made_anew() -> None:
    with pytest.raises(DataLost, match="bucket"):
        bucket_diff(spec(), None, known=STREAM)
    with pytest.raises(DataLost):
        bucket_diff(spec(bucket={"name": "bucket", "origin": "Adopt"}), None, known=STREAM)


def test_a_bucket_that_others_made_is_refused() -> None:
    theirs = settled_bucket(tags={"pik.dev/owner": "away/team/flights"})
    with pytest.raises(BucketTaken, match="Adopt"):
        bucket_diff(spec(), theirs, owned=False)
    with pytest.raises(BucketTaken):
        bucket_diff(spec(), settled_bucket(tags={}), owned=False)  # it has something in it
    with pytest.raises(BucketTaken):
        bucket_diff(spec(), settled_bucket(tags={"a": "b"}, empty=True), owned=False)


def test_a_bucket_whose_making_was_cut_off_is_finished() -> None:
    cut_off = ObservedBucket()
    found = bucket_diff(spec(), cut_off, owned=False)
    assert [field for field, _ in found] == ["tags", "publicAccess", "versioning", "lifecycle"]


def test_after_a_takeover_the_tags_name_the_new_owner() -> None:
    old = settled_bucket(tags={"pik.dev/owner": "old/team/flights", "cost": "7"})
    assert bucket_diff(spec(), old) == [("tags", SetBucketTags("bucket", OWNER))]


def test_each_setting_is_set_right_alone() -> None:
    assert bucket_diff(spec(), settled_bucket(versioning=False)) == [("versioning", SetVersioning("bucket"))]
    (public,) = bucket_diff(spec(), settled_bucket(public_access_blocked=False))
    assert public[0] == "publicAccess"
    (encryption,) = bucket_diff(spec(encryption={"type": "KMS", "kmsKeyARN": KEY}), settled_bucket())
    assert encryption[1].encryption == Encryption(KEY)
    (encryption,) = bucket_diff(spec(), settled_bucket(encryption=Encryption(KEY)))
    assert encryption[1].encryption == Encryption()
    lock = {"mode": "Governance", "days": 7}
    assert bucket_diff(spec(objectLock=lock), settled_bucket()) == [
        ("objectLock", EnableObjectLock("bucket"))
    ]
    assert bucket_diff(spec(objectLock=lock), settled_bucket(object_lock=True)) == []
    # a lock that is no longer wanted stays possible
    assert bucket_diff(spec(), settled_bucket(object_lock=True)) == []


def test_only_raw_expires_and_only_our_rules_are_looked_at() -> None:
    ours = settled_bucket().rules
    foreign = {"theirs": LifecycleRule("", 1, None, None), "odd": OTHER_RULE}
    assert bucket_diff(spec(), settled_bucket(rules={**ours, **foreign})) == []
    ((field, action),) = bucket_diff(spec(retentionDays=30), settled_bucket(rules={**ours, **foreign}))
    assert field == "lifecycle"
    assert action == SetRules(
        "bucket", {**ours, "pik:p/flights/raw": LifecycleRule("p/flights/raw/", 31, None, None)}
    )
    settled = settled_bucket(rules={**foreign, **action.rules})
    assert bucket_diff(spec(retentionDays=30), settled) == []
    # kept for good again: the rule must go
    ((_, action),) = bucket_diff(spec(), settled)
    assert action.rules["pik:p/flights/raw"] is None
    for edited in (OTHER_RULE, LifecycleRule("p/flights/", 1, 7, 1)):
        ((_, action),) = bucket_diff(spec(), settled_bucket(rules={"pik:p/flights/": edited}))
        assert action == SetRules("bucket", {**ours, "pik:p/flights/raw": None})


def test_foreign_tags_are_left_alone() -> None:
    tags = {**OWNER, "team": "data", "cost": "7", "aws:createdBy": "x"}
    assert bucket_diff(spec(tags={"team": "data"}), settled_bucket(tags=tags)) == []
    assert bucket_diff(spec(tags={"team": "ops"}), settled_bucket(tags=tags)) == [
        ("tags", SetBucketTags("bucket", {**OWNER, "team": "ops"}))
    ]


def test_of_an_adopted_bucket_only_our_rules_are_touched() -> None:
    adopted = {"name": "bucket", "origin": "Adopt"}
    bare = ObservedBucket(versioning=True, encryption=Encryption(KEY), empty=False)
    found = bucket_diff(spec(bucket=adopted, tags={"a": "b"}), bare, owned=False)
    assert [field for field, _ in found] == ["lifecycle"]
    with pytest.raises(NoSuchBucket):
        bucket_diff(spec(bucket=adopted), None)
    with pytest.raises(Unusable, match="versioning"):
        bucket_diff(spec(bucket=adopted), ObservedBucket())
    with pytest.raises(Unusable, match="Object Lock"):
        bucket_diff(spec(bucket=adopted, objectLock={"mode": "Governance", "days": 7}), bare)
    with pytest.raises(Unusable, match=KEY):
        bucket_diff(
            spec(bucket=adopted, encryption={"type": "KMS", "kmsKeyARN": KEY}),
            ObservedBucket(versioning=True),
        )


# The table


def test_a_new_table() -> None:
    found = table_diff(spec(retentionDays=30, tags={"team": "data"}), None)
    assert [field for field, _ in found] == ["table", "timeToLive", "pointInTimeRecovery"]
    assert found[0][1] == CreateTable(
        "table",
        {**OWNER, "team": "data", "pik.dev/stream": STREAM, "pik.dev/retention-days": "30"},
        protected=True,
    )
    _, create = table_diff(spec(deletionPolicy="Delete"), None)[0]
    assert not create.protected
    assert table_diff(spec(), settled_table()) == []


def test_a_table_is_one_streams() -> None:
    with pytest.raises(OwnershipConflict, match="6666"):
        table_diff(spec(), settled_table(tags={**OWNER, "pik.dev/stream": "6" * 32}))
    with pytest.raises(OwnershipConflict, match="not one that pik made"):
        table_diff(spec(), settled_table(tags={}))
    with pytest.raises(Unusable):
        table_diff(spec(), settled_table(fitting=False))


def test_each_setting_of_a_table() -> None:
    for field, changed in {
        "billingMode": {"on_demand": False},
        "timeToLive": {"time_to_live": False},
        "pointInTimeRecovery": {"point_in_time_recovery": False},
        "deletionProtection": {"deletion_protection": False},
    }.items():
        ((found, action),) = table_diff(spec(), settled_table(**changed))
        assert found == field
        assert getattr(action, "enabled", True)
    without = spec(index={"pointInTimeRecovery": "Disabled"}, deletionPolicy="Delete")
    assert [(field, action.enabled) for field, action in table_diff(without, settled_table())] == [
        ("pointInTimeRecovery", False),
        ("deletionProtection", False),
    ]


@pytest.mark.parametrize(
    ("recorded", "wanted", "reindex"),
    [
        ("30", 30, False),
        ("none", None, False),
        ("30", 60, True),
        ("9", 30, True),
        ("100", 30, False),
        ("30", None, True),
        (None, 30, True),
        ("60", 30, False),
        ("none", 30, False),
    ],
)
def test_no_entry_expires_before_its_event(recorded: str | None, wanted: int | None, reindex: bool) -> None:
    """The tag says how early entries may expire: lowered at once, raised after all were written anew."""
    there = settled_table()
    tags = {**OWNER, "pik.dev/stream": STREAM}
    if recorded is not None:
        tags["pik.dev/retention-days"] = recorded
    there = settled_table(tags=tags)
    wanting = spec(**({} if wanted is None else {"retentionDays": wanted}))
    after = longer_retention(wanting, "table", there)
    assert (after is not None) == reindex
    now = "none" if wanted is None else str(wanted)
    found = table_diff(wanting, there)
    if reindex:
        assert found == []
        assert after == SetTableTags("table", {"pik.dev/retention-days": now})
    elif recorded == now:
        assert found == []
    else:
        ((_, action),) = found
        assert action.tags["pik.dev/retention-days"] == now


# Names and drift


def test_derived_names() -> None:
    assert bucket_name(spec(bucket={"name": "mine"}), "c", "n", "s") == "mine"
    long = bucket_name(spec(), "c", "n" * 63, "very.long." * 20)
    assert len(long) <= 63
    assert "." not in long
    assert bucket_name(spec(), "c", "a", "b-c") != bucket_name(spec(), "c", "a-b", "c")
    assert bucket_name(spec(), "c", "a", "b") == bucket_name(spec(), "c", "a", "b")
    assert table_name(spec(index={"tableName": "mine"}), "s", STREAM) == "mine"
    assert table_name(spec(), "flights", STREAM) == f"pik-flights-{STREAM}"


def test_drift_is_what_somebody_else_changed() -> None:
    differences = bucket_differences(
        spec(), NAMES, settled_bucket(versioning=False), owned=True, known_stream=STREAM
    )
    (action,) = [difference.action for difference in differences]
    own_change = plan(spec(drift="Report").driftPolicy, differences, settled=False)
    assert (own_change.actions, own_change.drift) == ((action,), ())
    repaired = plan(spec().driftPolicy, differences, settled=True)
    assert repaired.actions == (action,)
    assert [(d.field, what) for d, what in repaired.drift] == [("versioning", DriftAction.REPAIRED)]
    reported = plan(spec(drift="Report").driftPolicy, differences, settled=True)
    assert reported.actions == ()
    assert [what for _, what in reported.drift] == [DriftAction.REPORTED]
