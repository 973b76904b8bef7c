"""Payloads changed on their way out: what is to be hidden is, and nothing else is touched."""

from __future__ import annotations

import hmac
import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pik.domain.transform import Action, Rule, transform

KEY = bytes(range(32))


def changed(payload: str, *rules: tuple[str, Action]) -> str:
    return transform([Rule(*rule) for rule in rules], KEY)(payload)


def digest(text: str) -> str:
    return hmac.new(KEY, text.encode(), "sha256").hexdigest()


@pytest.mark.parametrize(
    ("payload", "path", "left"),
    [
        ('{"a": 1, "b": 2}', "a", '{"b": 2}'),
        ('{"a": 1, "b": 2}', "b", '{"a": 1}'),
        ('{"a":1,"b":2,"c":3}', "b", '{"a":1,"c":3}'),
        ('{"b":1,"a":1.50,"b":2 , "b":3 }', "b", '{"a":1.50 }'),
        ('{ "a" : [ {} ] }', "a", "{  }"),
        ('{"u":{"e":1,"n":"x"},"k":1e2}', "u.e", '{"u":{"n":"x"},"k":1e2}'),
        ('{"u.e":1,"u":{"e":2}}', "u.e", '{"u":{}}'),
        ('{"u":[{"e":1},[{"e":"]"}],3]}', "u.e", '{"u":[{},[{}],3]}'),
        ('{"\\u0061":1,"aa":"a"}', "a", '{"aa":"a"}'),
        ('{"a":"}","b":"\\"a\\":1"}', "a", '{"b":"\\"a\\":1"}'),
        ('[{"a":1},"a"]', "a", '[{},"a"]'),
        ('"a"', "a", '"a"'),
        ('{"b":{"a":1}}', "a", '{"b":{"a":1}}'),
        ('{"a":1}', "a.b", '{"a":1}'),
        ("{}", "a", "{}"),
        ('{"ü":1}', "ü", "{}"),
    ],
)
def test_dropped(payload: str, path: str, left: str) -> None:
    assert changed(payload, (path, Action.DROP)) == left


def test_masked_values_keep_their_shape() -> None:
    payload = '{"k":1.0,"p":{"name":"Ann \\"A\\"","n" :-1.5e3,"t":true,"f":false,"z":null,"l":["a",2,[]]}}'
    masked = '{"k":1.0,"p":{"name":"***","n" :0,"t":false,"f":false,"z":null,"l":["***",0,[]]}}'
    assert changed(payload, ("p", Action.MASK)) == masked


def test_hashes_tell_values_apart_and_not_their_spellings() -> None:
    payload = '{"a":"\\u00e9","b":"é","c":"1","d":1,"e":1.0,"f":null,"g":[1]}'
    found = json.loads(changed(payload, *((name, Action.HASH) for name in "abcdefg")))
    assert found["a"] == found["b"] == digest("sé")
    assert (found["c"], found["d"], found["e"]) == (digest("s1"), digest("v1"), digest("v1.0"))
    assert found["f"] is None
    assert found["g"] == digest("v[1]")


def test_rules_follow_each_other() -> None:
    payload = '{"a":{"b":"x","c":"y"}}'
    assert changed(payload, ("a.b", Action.DROP), ("a", Action.MASK)) == '{"a":{"c":"***"}}'


class Members(list[Any]):
    """An object's, in which a name may stand twice."""


NAMES = st.sampled_from(["a", "b", "a.b", "c", 'q"', "é"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from([1.5, -0.0]) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.lists(st.tuples(NAMES, inner), max_size=4).map(Members),
    max_leaves=12,
)


def written(value: Any, dice: random.Random) -> str:
    """JSON text with white space and escapes wherever they may be."""
    space = dice.choice(["", "", " ", "\n\t"])
    if isinstance(value, Members):
        inner = ",".join(
            f"{space}{json.dumps(name, ensure_ascii=dice.random() < 0.5)}{space}:{written(each, dice)}{space}"
            for name, each in value
        )
        return f"{space}{{{inner}}}{space}"
    if isinstance(value, list):
        return f"{space}[{','.join(written(each, dice) for each in value)}]{space}"
    return f"{space}{json.dumps(value, ensure_ascii=dice.random() < 0.5)}{space}"


def without(value: Any, path: str) -> Any:
    """The same by another way: on what a reader makes of it."""
    if isinstance(value, Members):
        return Members(
            (name, without(each, path.removeprefix(f"{name}.")) if path.startswith(f"{name}.") else each)
            for name, each in value
            if name != path
        )
    return [without(each, path) for each in value] if isinstance(value, list) else value


def read(text: str) -> Any:
    return json.loads(text, object_pairs_hook=Members)


@given(VALUES, st.sampled_from(["a", "a.b", "a.b.c", "é", "c.a"]), st.randoms(use_true_random=False))
def test_a_reader_sees_what_is_left_and_nothing_else_changed(
    value: Any, path: str, dice: random.Random
) -> None:
    text = written(value, dice)
    dropped = changed(text, (path, Action.DROP))
    assert read(dropped) == without(read(text), path)
    # where nothing was hit nothing is written anew
    if without(read(text), path) == read(text):
        assert dropped == text
    masked = changed(text, (path, Action.MASK))
    assert without(read(masked), path) == without(read(text), path)
    assert changed(masked, (path, Action.DROP)) == dropped
