"""The rules of Kubernetes for the metadata of an object that a person writes."""

from __future__ import annotations

from typing import Any

from pik.api.common import DNS_1123_LABEL, DNS_1123_SUBDOMAIN
from pik.api.structural import matches
from pik.api.violations import Violation, invalid, required

FIELDS = (
    *("name", "generateName", "namespace", "labels", "annotations", "finalizers", "ownerReferences"),
    *("uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp"),
    *("deletionGracePeriodSeconds", "selfLink", "managedFields"),
)
MAX_ANNOTATIONS_BYTES = 256 * 1024

_QUALIFIED = r"^([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]$"
_LABEL_VALUE = r"^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$"
_SUBDOMAIN_DETAIL = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must "
    "start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
_LABEL_DETAIL = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start "
    "and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
_QUALIFIED_DETAIL = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
    "alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
_LABEL_VALUE_DETAIL = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must "
    "start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used "
    "for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)


def metadata_violations(metadata: Any) -> list[Violation]:
    """What is wrong with name, namespace, labels and annotations."""
    if not isinstance(metadata, dict):
        return [invalid("metadata", metadata, "must be a map with a name")]
    found = [
        Violation(f"metadata.{name}", f'unknown field "metadata.{name}"')
        for name in metadata
        if name not in FIELDS
    ]
    found += _name(metadata.get("name"))
    namespace = metadata.get("namespace")
    if namespace is not None:
        found += _text("metadata.namespace", namespace, 63, DNS_1123_LABEL, _LABEL_DETAIL)
    for field in ("labels", "annotations"):
        found += _map(field, metadata.get(field))
    return found


def _name(name: Any) -> list[Violation]:
    if name in (None, ""):
        return [required("metadata.name", "name or generateName is required")]
    return _text("metadata.name", name, 253, DNS_1123_SUBDOMAIN, _SUBDOMAIN_DETAIL)


def _map(field: str, values: Any) -> list[Violation]:
    path = f"metadata.{field}"
    if values is None:
        return []
    if not isinstance(values, dict):
        return [invalid(path, values, "must be a map of texts")]
    found: list[Violation] = []
    for key, value in values.items():
        found += _qualified(path, key)
        if not isinstance(value, str):
            found.append(invalid(f"{path}[{key}]", value, "must be a text: put it in quotes"))
        elif field == "labels":
            found += _text(path, value, 63, _LABEL_VALUE, _LABEL_VALUE_DETAIL)
    size = sum(len(f"{key}{value}".encode()) for key, value in values.items())
    if field == "annotations" and size > MAX_ANNOTATIONS_BYTES:
        found.append(Violation(path, f"Too long: may not be more than {MAX_ANNOTATIONS_BYTES} bytes"))
    return found


def _qualified(path: str, key: str) -> list[Violation]:
    prefix, slash, name = key.rpartition("/")
    if slash and not (len(prefix) <= 253 and matches(DNS_1123_SUBDOMAIN, prefix)):
        return [invalid(path, key, f"prefix part {_SUBDOMAIN_DETAIL}")]
    if len(name) > 63:
        return [invalid(path, key, "name part must be no more than 63 characters")]
    return [] if matches(_QUALIFIED, name) else [invalid(path, key, _QUALIFIED_DETAIL)]


def _text(path: str, value: Any, longest: int, pattern: str, detail: str) -> list[Violation]:
    if not isinstance(value, str):
        return [invalid(path, value, "must be a text: put it in quotes")]
    if len(value) > longest:
        return [invalid(path, value, f"must be no more than {longest} characters")]
    return [] if matches(pattern, value) else [invalid(path, value, detail)]
