"""Reading manifests: scalars as the Kubernetes clients read them, and the place of every field."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pik.api.manifests import MAX_BYTES, UnreadableManifest, load_path, load_text
from pik.api.validation import admit
from pik.api.violations import InvalidManifest

# what sigs.k8s.io/yaml makes of `a: …` (v1.6.0, YAMLToJSON)
SCALARS: list[tuple[str, Any]] = [
    ("2013-07-10T00:00:00Z", "2013-07-10T00:00:00Z"),
    ("2013-07-10", "2013-07-10"),
    ("1:30", "1:30"),
    ("yes", True),
    ("y", True),
    ("On", True),
    ("no", False),
    ("FALSE", False),
    ("~", None),
    ("", None),
    ("Null", None),
    ("0755", 493),
    ("-0755", -493),
    ("0o17", 15),
    ("0b11", 3),
    ("0x1F", 31),
    ("08", 8),
    ("0o8", "0o8"),
    ("0b2", "0b2"),
    ("+5", 5),
    ("-0", 0),
    ("1_000", 1000),
    ("_1", "_1"),
    ("2.0", 2),
    ("1e3", 1000),
    ("12e03", 12000),
    (".5", 0.5),
    ("-.5", -0.5),
    ("5.", 5),
    ("1.5e-3", 0.0015),
    ("1_000.25", 1000.25),
    ("1e400", "1e400"),
    ("1e21", 1e21),
    ("18446744073709551615", 18446744073709551615),
    ("123456789012345678901234567890", 1.2345678901234568e29),
    ("!!str 5", "5"),
    ('!!int "5"', 5),
    ('"5"', "5"),
    ("'yes'", "yes"),
    ("!foo bar", "bar"),
    ("=", "="),
    ("|\n  5\n", "5\n"),
]


@pytest.mark.parametrize(("text", "value"), SCALARS, ids=[text for text, _ in SCALARS])
def test_scalars_are_read_as_kubernetes_reads_them(text: str, value: Any) -> None:
    (manifest,) = load_text(f"a: {text}")
    assert manifest.value == {"a": value}
    assert type(manifest.value["a"]) is type(value)


@pytest.mark.parametrize(
    ("text", "key"), [("1", "1"), ("on", "true"), ("0x10", "16"), ("1.5", "1.5"), ("1e3", "1000")]
)
def test_keys_are_texts(text: str, key: str) -> None:
    (manifest,) = load_text(f"{text}: a")
    assert manifest.value == {key: "a"}


def test_aliases_and_merges_are_followed() -> None:
    text = "base: &base {a: 1, b: 2}\nnext: {<<: *base, b: 3}\nlist: {<<: [{a: 4}, *base]}\nsame: *base\n"
    (manifest,) = load_text(text)
    assert manifest.value == {
        "base": {"a": 1, "b": 2},
        "next": {"a": 1, "b": 3},
        "list": {"a": 4, "b": 2},
        "same": {"a": 1, "b": 2},
    }


@pytest.mark.parametrize("text", ["", "---\n---\n", "# nothing\n", "--- ~\n"])
def test_empty_documents_are_left_out(text: str) -> None:
    assert load_text(text) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "f:1: "),
        ("a: 1\nb: 2\na: 3", 'f:3: key "a" already set in map (on line 1)'),
        ('{a: 1, "a": 2}', 'f:1: key "a" already set in map (on line 1)'),
        ("true: 1\non: 2", 'f:2: key "true" already set in map (on line 1)'),
        ("~: 1", "f:1: a key must be a text"),
        ("? [a]\n: 1", "f:1: a key must be a text"),
        ("a: .nan", "f:1: .nan has no form in JSON"),
        ("<<: 1", "f:1: << takes a map or a list of maps"),
        ("just text", "f:1: a manifest is a map"),
        ("a: \x00", "f: not YAML: "),
        ("a: *b", "f:1: found undefined alias"),
        ("[" * 5000, "f: not YAML: "),
    ],
)
def test_what_cannot_be_read_is_told_with_its_line(text: str, message: str) -> None:
    with pytest.raises(UnreadableManifest) as refusal:
        load_text(text, "f")
    assert str(refusal.value).startswith(message)


def test_a_small_text_cannot_grow_without_bound() -> None:
    laughs = "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
    for old, new in zip("abcdefg", "bcdefgh", strict=True):
        laughs += f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n"
    with pytest.raises(UnreadableManifest, match="too large or too deep"):
        load_text(laughs)


def test_violations_are_told_with_file_and_line() -> None:
    text = """\
apiVersion: pik.dev/v1alpha1
kind: AggregateVersion
metadata:
  name: mean-delay
spec:
  streamRef: {name: flights}
  window:
    from: 2013-07-11T00:00:00Z
    to: 2013-07-10T00:00:00Z
  bucket: Day
  measures:
    - name: mean
      expression: avg(payload.arr_delay)
    - name: Max
      expression: max(payload.arr_delay)
  wher: payload.arr_delay is not null
"""
    (manifest,) = load_text(text, "delays.yaml")
    with pytest.raises(InvalidManifest) as refusal:
        admit(manifest.value)
    places = {violation.path: manifest.place(violation.path) for violation in refusal.value.violations}
    assert places == {
        "spec.window": "delays.yaml:7",
        "spec.measures[1].name": "delays.yaml:14",
        "spec.wher": "delays.yaml:16",
    }
    assert manifest.place("spec.streamRef.namespace") == "delays.yaml:6"
    assert manifest.place("spec.measures[7].name") == "delays.yaml:11"
    assert manifest.place() == "delays.yaml:1"


def test_a_folder_is_read_by_name_and_not_below(tmp_path: Path) -> None:
    (tmp_path / "b.yml").write_text("kind: B1\n---\nkind: B2\n")
    (tmp_path / "a.json").write_text('{"kind": "A"}')
    (tmp_path / ".hidden.yaml").write_text("kind: Hidden")
    (tmp_path / "flights.csv").write_text("a,b")
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "c.yaml").write_text("kind: C")
    found = load_path(tmp_path)
    assert [manifest.value["kind"] for manifest in found] == ["A", "B1", "B2"]
    assert [manifest.place() for manifest in found[1:]] == [f"{tmp_path}/b.yml:1", f"{tmp_path}/b.yml:3"]


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UnreadableManifest, match=r"gone\.yaml: No such file"):
        load_path(tmp_path / "gone.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"name: Z\xfcrich")
    with pytest.raises(UnreadableManifest, match=r"latin\.yaml: not UTF-8"):
        load_path(tmp_path / "latin.yaml")
    (tmp_path / "large.yaml").write_bytes(b"#" * (MAX_BYTES + 1))
    with pytest.raises(UnreadableManifest, match=r"large\.yaml: larger than"):
        load_path(tmp_path / "large.yaml")
