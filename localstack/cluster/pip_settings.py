"""How this machine reaches its package index, for a build that must reach it too."""

from __future__ import annotations

import configparser
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_FILES = ("/etc/xdg/pip/pip.conf", "/etc/pip.conf")
_HOME_FILES = (".pip/pip.conf", ".config/pip/pip.conf")
_SECTIONS = ("global", "install")
_OF_UV = {
    "UV_DEFAULT_INDEX": "index-url",
    "UV_INDEX_URL": "index-url",
    "UV_EXTRA_INDEX_URL": "extra-index-url",
}
_NOT_PASSED_ON = (
    "config-file",
    "cache-dir",
    "target",
    "prefix",
    "user",
    "require-virtualenv",
    "log",
    "python",
)


@dataclass(frozen=True)
class PipSettings:
    """`text`: of a pip.conf. `folders`: of this machine that it speaks of."""

    text: str
    folders: tuple[str, ...]


def read(environ: Mapping[str, str]) -> PipSettings:
    """What pip would take here, from its files and from the environment, which wins."""
    home = Path(environ["HOME"]) if "HOME" in environ else Path.home()
    found = configparser.RawConfigParser()
    found.read([*_FILES, *(home / name for name in _HOME_FILES), environ.get("PIP_CONFIG_FILE", "/dev/null")])
    options = {name: value for at in _SECTIONS if found.has_section(at) for name, value in found.items(at)}
    for name, option in _OF_UV.items():
        if name in environ:
            options[option] = environ[name]
    for name, value in environ.items():
        if name.startswith("PIP_"):
            options[name.removeprefix("PIP_").lower().replace("_", "-")] = value
    kept = {name: value for name, value in options.items() if value and name not in _NOT_PASSED_ON}
    written = configparser.RawConfigParser()
    written["global"] = kept
    text = io.StringIO()
    written.write(text)
    folders = [word for word in kept.get("find-links", "").split() if Path(word).is_dir()]
    return PipSettings(text.getvalue(), tuple(folders))
