"""kopf as the operator runs it."""

from __future__ import annotations

import kopf
import pytest
from kubernetes.client import Configuration

from pik.cluster.handlers import WatchEnded, Watching


async def test_kopf_need_not_look_for_the_name_of_a_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pods run as a number that no /etc/passwd has: kopf would end with a KeyError."""
    given: dict[str, object] = {}

    async def operator(**words: object) -> None:
        given.update(words)
        raise OSError("enough")

    monkeypatch.setattr(kopf, "operator", operator)
    with pytest.raises(WatchEnded, match="enough"):
        await Watching(Configuration(host="http://127.0.0.1:1"), (), lambda _kind, _object: None).run()
    assert given["identity"]
