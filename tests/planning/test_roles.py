"""The administrator's map of roles: strict, and what is wrong with it has a place."""

from __future__ import annotations

import re

import pytest

from pik.domain.errors import RoleNotAllowed, SourceNotAllowed
from pik.planning.roles import UnreadableRoles, parse_roles, session_name

ROLE, OTHER = "arn:aws:iam::123456789012:role/orders", "arn:aws-us-gov:iam::123456789012:role/a/b@c"
TEXT = f"""# of the platform team
roles:
  - roleARN: {ROLE}
    namespaces: [shop, billing]
    externalID: pik-7f3a
  - roleARN: {OTHER}
    namespaces: [shop]
    externalID: "99"
  - {{roleARN: "{ROLE}", namespaces: [reports], externalID: pik-reports}}
"""


def test_a_role_is_for_the_namespaces_that_are_named() -> None:
    found = parse_roles(TEXT, "roles.yaml")
    assert found.find(ROLE, "billing").external_id == "pik-7f3a"
    assert found.find(ROLE, "reports").external_id == "pik-reports"
    assert found.find(OTHER, "shop").external_id == "99"
    with pytest.raises(RoleNotAllowed, match=f"does not have {ROLE} for namespace other"):
        found.find(ROLE, "other")
    with pytest.raises(RoleNotAllowed, match=f"does not have {ROLE}x at all"):
        found.find(f"{ROLE}x", "shop")


@pytest.mark.parametrize("text", ["", "roles: []", "{}", "# nothing yet\n"])
def test_a_map_of_nothing_allows_nothing(text: str) -> None:
    with pytest.raises(RoleNotAllowed):
        parse_roles(text, "roles.yaml").find(ROLE, "shop")


@pytest.mark.parametrize(
    ("changed", "to", "said"),
    [
        ("    externalID: pik-7f3a\n", "", "yaml:3: roles[0]: Object missing required field `externalID`"),
        ("externalID: pik-7f3a", "externalId: pik", "yaml:3: roles[0]: Object contains unknown field"),
        ("externalID: pik-7f3a", "externalID: x", "yaml:5: roles[0].externalID: Expected `str` matching"),
        ("[shop, billing]", "[]", "roles.yaml:4: roles[0].namespaces: Expected `array` of length >= 1"),
        ("[shop, billing]", "[Shop]", "roles.yaml:4: roles[0].namespaces[0]: Expected `str` matching"),
        ("[shop, billing]", "['*']", "roles.yaml:4: roles[0].namespaces[0]: Expected `str` matching"),
        ("[shop, billing]", "shop", "roles.yaml:4: roles[0].namespaces: Expected `array`, got `str`"),
        ("role/orders", "user/orders", "roles.yaml:3: roles[0].roleARN: Expected `str` matching"),
        ("[reports]", "[billing]", f"roles.yaml: roles[2]: {ROLE} is there for namespace billing already"),
        ("roles:", "role:", "unknown field `role`"),
        ("roles:", "roles: []\nroles:", "roles.yaml:3: key \"roles\" already set"),
        ("roles:", "---\nroles: []\n---\nroles:", "2 documents, where one is wanted"),
        ("namespaces: [shop]", "\tnamespaces: [shop]", "roles.yaml:7"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_place(changed: str, to: str, said: str) -> None:
    text = TEXT.replace(changed, to, 1)
    assert text != TEXT
    with pytest.raises(UnreadableRoles, match=re.escape(said)):
        parse_roles(text, "roles.yaml")


@pytest.mark.parametrize(
    ("namespace", "name"), [("shop", "pik-shop"), ("a" * 63, f"pik-{'a' * 60}"), ("x", "pik-x")]
)
def test_a_session_has_a_name_that_sts_takes(namespace: str, name: str) -> None:
    assert session_name(namespace) == name
    assert re.fullmatch(r"[\w+=,.@-]{2,64}", name)


FEEDING = f"""
functionRoles:
  - {{roleARN: "{ROLE}", namespaces: [shop], maxReservedConcurrency: 5}}
  - {{roleARN: "{OTHER}", namespaces: [shop], openURL: true}}
sources:
  - {{address: "s3://archive/shop/*", namespaces: [shop]}}
  - {{address: "eventbridge://default", namespaces: [billing]}}
"""


@pytest.mark.parametrize(
    ("role", "namespace", "reserved", "open_url", "lacks"),
    [
        (ROLE, "shop", None, False, None),
        (ROLE, "shop", 5, False, None),
        (ROLE, "shop", 6, False, "a maxReservedConcurrency of 6"),
        (ROLE, "shop", None, True, "openURL"),
        (ROLE, "billing", None, False, "under functionRoles for namespace billing"),
        (OTHER, "shop", None, True, None),
        (OTHER, "shop", 1, False, "a maxReservedConcurrency of 1"),
    ],
)
def test_a_function_may_have_what_its_grant_says(
    role: str, namespace: str, reserved: int | None, open_url: bool, lacks: str | None
) -> None:
    found = parse_roles(FEEDING, "roles.yaml")
    if lacks is None:
        found.check_function_role(role, namespace, reserved, open_url=open_url)
        return
    with pytest.raises(RoleNotAllowed, match=lacks):
        found.check_function_role(role, namespace, reserved, open_url=open_url)


@pytest.mark.parametrize(
    ("address", "namespace", "allowed"),
    [
        ("s3://archive/shop/2025/", "shop", True),
        ("s3://archive/shopping/", "shop", False),
        ("s3://archive/shop/2025/", "billing", False),
        ("eventbridge://default", "billing", True),
        ("eventbridge://default", "shop", False),
        ("eventbridge://default-2", "billing", False),
    ],
)
def test_a_source_is_for_the_namespaces_that_are_named(address: str, namespace: str, allowed: bool) -> None:
    found = parse_roles(FEEDING, "roles.yaml")
    if allowed:
        found.check_source(address, namespace)
        return
    with pytest.raises(SourceNotAllowed, match=address):
        found.check_source(address, namespace)
