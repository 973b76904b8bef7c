"""The verdict of an API server on a manifest, from the same schema and rules, where there is no API server.

It differs in two things that are not seen here: an update is not forgiven for a fault that its object had
before (ratcheting), since every object was admitted by the same schema; and the cost of rules is not counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pik.api.common import API_VERSION
from pik.api.crd import schema_of
from pik.api.defaulting import unknown_fields, with_defaults
from pik.api.evaluation import ABSENT, rule_violations
from pik.api.kinds import KINDS, AnyResource
from pik.api.metadata import metadata_violations
from pik.api.structural import list_violations, schema_violations
from pik.api.violations import InvalidManifest, Violation

UNCHECKED = Violation(
    "",
    "some validation rules were not checked because the object was invalid; "
    "correct the existing errors to complete validation",
)


@dataclass(frozen=True, slots=True)
class Admitted:
    """A manifest as it would be stored (defaults set, status as before), and as a typed object."""

    manifest: dict[str, Any]
    resource: AnyResource


def admit(manifest: Mapping[str, Any], old: Mapping[str, Any] | None = None) -> Admitted:
    """Admits a new object, or with `old` (an object as stored, with its status) a change of it.

    As at an API server the status of the manifest does not count: a new object has none, a changed one keeps
    its own. Raises InvalidManifest with every violation.
    """
    kind = _kind_of(manifest)
    schema = schema_of(kind)
    violations = unknown_fields({**manifest, "metadata": {}}, schema)
    metadata = manifest.get("metadata", {})
    of_metadata = metadata_violations(metadata)
    violations += of_metadata
    stored: dict[str, Any] = with_defaults({**manifest, "metadata": {}}, schema)
    stored.pop("status", None)
    if old is not None and "status" in old:
        stored["status"] = old["status"]
    faults, blocking = schema_violations(stored, schema)
    violations += faults
    violations += list_violations(stored, schema)
    if blocking or any(fault.message.startswith(("Required value", "Too long")) for fault in of_metadata):
        violations.append(UNCHECKED)
    else:
        violations += rule_violations(
            stored, ABSENT if old is None else old, schema, faulty=[fault.path for fault in faults]
        )
    if violations:
        raise InvalidManifest(violations)
    stored["metadata"] = {"namespace": "default", **metadata}
    return Admitted(stored, KINDS[kind].from_manifest(stored))


def _kind_of(manifest: Mapping[str, Any]) -> str:
    version, kind = manifest.get("apiVersion"), manifest.get("kind")
    if version == API_VERSION and kind in KINDS:
        return str(kind)
    hint = f"pik knows {', '.join(KINDS)} in {API_VERSION}"
    path = "apiVersion" if kind in KINDS else "kind"
    raise InvalidManifest([Violation(path, f'no matches for kind "{kind}" in version "{version}"', hint)])
