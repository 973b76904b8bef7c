"""The administrator's map of roles to namespaces: which streams may have pik assume which IAM role, which
roles their functions may have, and which sources they may read by pik's own rights. Pure.

roles:
  - roleARN: arn:aws:iam::123456789012:role/orders
    namespaces: [shop]
    externalID: pik-7f3a
functionRoles:
  - roleARN: arn:aws:iam::123456789012:role/orders-ingest
    namespaces: [shop]
    maxReservedConcurrency: 50
    openURL: false
sources:
  - address: s3://orders-archive/2025/*
    namespaces: [shop]
  - address: eventbridge://default
    namespaces: [shop]
"""

from __future__ import annotations

import re
from typing import Annotated

import msgspec

from pik.api.common import DNS_1123_LABEL
from pik.api.manifests import UnreadableManifest, load_text
from pik.domain.errors import PikError, RoleNotAllowed, SourceNotAllowed

_ROLE = r"^arn:aws[a-z-]*:iam::[0-9]{12}:role/[A-Za-z0-9+=,.@_/-]{1,576}$"
_EXTERNAL_ID = r"^[A-Za-z0-9+=,.@:/_-]{2,1224}$"  # as STS takes it


_ADDRESS = r"^(eventbridge://[/.A-Za-z0-9_-]{1,256}|s3://[a-z0-9.-]{3,63}/[!-~]{1,512})$"
Namespaces = Annotated[
    tuple[Annotated[str, msgspec.Meta(max_length=63, pattern=DNS_1123_LABEL)], ...],
    msgspec.Meta(min_length=1),
]


class UnreadableRoles(PikError):
    """The map is not one; the text says where and why."""


_NAMES = {
    "role_arn": "roleARN",
    "external_id": "externalID",
    "most_reserved": "maxReservedConcurrency",
    "open_url": "openURL",
}


class RoleGrant(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename=_NAMES):
    """`namespaces`: whose streams may use the role. `external_id`: what the role's trust policy asks for, so
    that nobody else has pik assume it."""

    role_arn: Annotated[str, msgspec.Meta(pattern=_ROLE)]
    namespaces: Namespaces
    external_id: Annotated[str, msgspec.Meta(pattern=_EXTERNAL_ID)]


class FunctionRoleGrant(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename=_NAMES):
    """A role that functions of these namespaces' streams may work with. `most_reserved`: of the account's
    concurrency that one function may take for itself; `open_url`: whether its URL may be open to all."""

    role_arn: Annotated[str, msgspec.Meta(pattern=_ROLE)]
    namespaces: Namespaces
    most_reserved: Annotated[int, msgspec.Meta(ge=0, le=10_000)] = 0
    open_url: bool = False


class SourceGrant(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An event bus, `eventbridge://NAME`, or objects, `s3://BUCKET/PREFIX`, that streams of these namespaces
    may read; one that ends in /* allows every address below it."""

    address: Annotated[str, msgspec.Meta(pattern=_ADDRESS)]
    namespaces: Namespaces

    def covers(self, address: str) -> bool:
        if self.address.endswith("/*"):
            return address.startswith(self.address[:-1])
        return address == self.address


class RoleMap(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"function_roles": "functionRoles"}
):
    roles: tuple[RoleGrant, ...] = ()
    function_roles: tuple[FunctionRoleGrant, ...] = ()
    sources: tuple[SourceGrant, ...] = ()

    def check_function_role(self, role: str, namespace: str, reserved: int | None, *, open_url: bool) -> None:
        """`reserved`: concurrency. Raises `RoleNotAllowed`."""
        found = [
            each for each in self.function_roles if role == each.role_arn and namespace in each.namespaces
        ]
        lacks = None
        if not found:
            lacks = f"{role} under functionRoles for namespace {namespace}"
        elif max(each.most_reserved for each in found) < (reserved or 0):
            lacks = f"a maxReservedConcurrency of {reserved} for {role} and namespace {namespace}"
        elif open_url and not any(each.open_url for each in found):
            lacks = f"openURL for {role} and namespace {namespace}, which url.authType None needs"
        if lacks is not None:
            raise RoleNotAllowed(f"the administrator's map of roles does not have {lacks}")

    def check_source(self, address: str, namespace: str) -> None:
        """Raises `SourceNotAllowed`."""
        if not any(each.covers(address) and namespace in each.namespaces for each in self.sources):
            raise SourceNotAllowed(
                f"the administrator's map of roles does not have {address} under sources for namespace "
                f"{namespace}"
            )

    def find(self, role: str, namespace: str) -> RoleGrant:
        """Raises `RoleNotAllowed`."""
        for grant in self.roles:
            if grant.role_arn == role and namespace in grant.namespaces:
                return grant
        known = any(grant.role_arn == role for grant in self.roles)
        lacks = f"for namespace {namespace}" if known else "at all"
        raise RoleNotAllowed(f"the administrator's map of roles does not have {role} {lacks}")


def parse_roles(text: str, place: str) -> RoleMap:
    """`place`: what the text is called in what is said of it. Raises `UnreadableRoles`."""
    try:
        documents = load_text(text, place)
    except UnreadableManifest as error:
        raise UnreadableRoles(str(error)) from error
    if len(documents) > 1:
        raise UnreadableRoles(f"{place}: {len(documents)} documents, where one is wanted")
    try:
        found = msgspec.convert(documents[0].value if documents else {}, RoleMap)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at ")
        field = path.strip("`").removeprefix("$").removeprefix(".")
        raise UnreadableRoles(f"{documents[0].place(field)}: {field or 'roles'}: {message}") from error
    _check_unambiguous(found, place)
    return found


def _check_unambiguous(found: RoleMap, place: str) -> None:
    seen: set[tuple[str, str]] = set()
    for number, grant in enumerate(found.roles):
        for namespace in grant.namespaces:
            if (grant.role_arn, namespace) in seen:
                raise UnreadableRoles(
                    f"{place}: roles[{number}]: {grant.role_arn} is there for namespace {namespace} already"
                )
            seen.add((grant.role_arn, namespace))


def session_name(namespace: str) -> str:
    """What CloudTrail calls pik when it works for the streams of a namespace: 2 to 64 characters."""
    return f"pik-{re.sub('[^A-Za-z0-9_=,.@-]', '-', namespace)}"[:64]
