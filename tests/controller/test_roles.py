"""The mounted map of roles: read again when it changes, as it was while it cannot be read."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from pik.controller.roles import NoRoles, OwnRights, RoleFile
from pik.domain.errors import RoleNotAllowed
from pik.planning.roles import UnreadableRoles

ROLE = "arn:aws:iam::123456789012:role/orders"


def text(namespace: str = "shop", external_id: str = "id-1") -> str:
    return f"roles: [{{roleARN: '{ROLE}', namespaces: [{namespace}], externalID: {external_id}}}]\n"


@pytest.fixture
def mounted(tmp_path: Path) -> Path:
    """As a kubelet mounts a ConfigMap: a link to a link to a directory."""
    publish(tmp_path, text())
    (tmp_path / "roles.yaml").symlink_to("..data/roles.yaml")
    return tmp_path / "roles.yaml"


def publish(directory: Path, content: str) -> None:
    """Another version, at one stroke."""
    version = directory / f"..{len(list(directory.iterdir()))}"
    version.mkdir()
    (version / "roles.yaml").write_text(content)
    link = directory / "..new"
    link.symlink_to(version.name)
    link.replace(directory / "..data")


def test_a_change_counts_at_once(mounted: Path) -> None:
    roles = RoleFile(mounted)
    assert roles.find(ROLE, "shop").external_id == "id-1"
    publish(mounted.parent, text(external_id="id-2"))
    assert roles.find(ROLE, "shop").external_id == "id-2"
    publish(mounted.parent, text("billing"))
    with pytest.raises(RoleNotAllowed):
        roles.find(ROLE, "shop")
    assert roles.find(ROLE, "billing").external_id == "id-1"


@pytest.mark.parametrize("broken", ["roles: [{}]\n", "\xff", None])
def test_what_cannot_be_read_changes_nothing(
    mounted: Path, broken: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    roles = RoleFile(mounted)
    with caplog.at_level(logging.ERROR):
        if broken is None:
            mounted.unlink()
        else:
            publish(mounted.parent, "")
            mounted.resolve().write_bytes(broken.encode("latin-1"))
        for _ in range(3):
            assert roles.find(ROLE, "shop").external_id == "id-1"
    assert len(caplog.records) == 1  # said once, and where
    assert str(mounted) in caplog.text


def test_without_a_map_that_can_be_read_nothing_begins(mounted: Path) -> None:
    with pytest.raises(UnreadableRoles, match=r"gone\.yaml"):
        RoleFile(mounted.with_name("gone.yaml"))
    publish(mounted.parent, "roles: 7\n")
    with pytest.raises(UnreadableRoles, match="Expected `array`, got `int`"):
        RoleFile(mounted)


def test_who_has_no_map_assumes_nothing() -> None:
    with pytest.raises(RoleNotAllowed, match="there is no map of roles"):
        NoRoles().find(ROLE, "shop")
    assert OwnRights().find(ROLE, "shop") is None
