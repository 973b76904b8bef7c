"""What a package is made of, without installing anything."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from hashlib import sha256
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow
import pytest
from msgspec import _core

from functions.deployed import MACHINES, uv

_LOADED = """
import os, sys
os.environ["LAMBDA_TASK_ROOT"] = sys.argv[1]
sys.path.insert(0, sys.argv[1])
import handler
from pik.functions.health import strangers
print("{}.{}".format(*sys.version_info), strangers())
"""
_FILE = Path(__file__).parents[2] / "lambdas" / "package.py"


@pytest.fixture(scope="module")
def packaging() -> Iterator[ModuleType]:
    spec = spec_from_file_location("lambda_package", _FILE)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, spec.name, module)  # its dataclasses look there
        spec.loader.exec_module(module)
        yield module


def elf(machine: int) -> bytes:
    return b"\x7fELF" + bytes(14) + machine.to_bytes(2, "little")


def test_what_never_runs_there_is_left_out(tmp_path: Path, packaging: ModuleType) -> None:
    kept = ["handler.py", "pik/domain/columns.py", "pyarrow/libarrow.so.2600", "botocore/data/s3/x.json.gz"]
    kept += ["botocore/data/endpoints.json", "pyarrow/vendored/docscrape.py", "a-1.dist-info/METADATA"]
    left = ["pik/__pycache__/a.pyc", "pyarrow/include/a.h", "pyarrow/libarrow_flight.so.2600"]
    left += ["botocore/data/ec2/x.json.gz", "a-1.dist-info/RECORD", "pyarrow/tests/test_a.py"]
    for name in kept + left:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    assert sorted(packaging.kept(tmp_path, {"s3"})) == sorted(kept)


def own(packaging: ModuleType) -> Any:
    """The target that is this machine."""
    return next(target for target in packaging.TARGETS if target.architecture == MACHINES[platform.machine()])


def test_a_library_of_another_machine_is_refused(tmp_path: Path, packaging: ModuleType) -> None:
    _, arm = packaging.TARGETS
    (tmp_path / "a.so").write_bytes(elf(62))
    with pytest.raises(packaging.CannotPackage, match=r"a\.so is not for arm64"):
        packaging.check(tmp_path, ["a.so"], arm)


def test_a_library_must_find_what_it_was_linked_with(tmp_path: Path, packaging: ModuleType) -> None:
    names = [path.name for path in Path(pyarrow.__file__).parent.glob("libarrow*.so.*")]
    [inner] = [name for name in names if re.fullmatch(r"libarrow\.so\.\d+", name)]
    [outer] = [name for name in names if re.fullmatch(r"libarrow_acero\.so\.\d+", name)]
    for name in names:
        (tmp_path / name).symlink_to(Path(pyarrow.__file__).parent / name)
    packaging.check(tmp_path, [name for name in names if "flight" not in name], own(packaging))
    with pytest.raises(packaging.CannotPackage, match=f"{outer} needs .*{inner}, which is left out"):
        packaging.check(tmp_path, [outer, *(name for name in names if "_compute" in name)], own(packaging))


def test_a_library_for_a_newer_c_library_is_refused(
    tmp_path: Path, packaging: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = Path(_core.__file__)
    (tmp_path / there.name).symlink_to(there)
    packaging.check(tmp_path, [there.name], own(packaging))
    monkeypatch.setattr(packaging, "C_LIBRARY", (2, 1))
    with pytest.raises(packaging.CannotPackage, match="needs glibc"):
        packaging.check(tmp_path, [there.name], own(packaging))


def test_what_is_shipped_is_the_same_for_each_machine(tmp_path: Path, packaging: ModuleType) -> None:
    """Of the largest; `put_together` looks at sizes and libraries."""
    found = []
    for target in packaging.TARGETS:
        tree = tmp_path / target.architecture
        names = packaging.put_together("processor", target, tree, uv=uv())
        found.append({re.sub(r"-(x86_64|aarch64)-linux-gnu", "", name) for name in names})
    assert found[0] == found[1]
    assert {"handler.py", "duckdb/__init__.py", "sqlglot/__init__.py", "tzdata/zones"} <= found[0]
    assert any(name.startswith("pyarrow/libparquet.so") for name in found[0])
    assert any(name.endswith(".cpython-313.so") for name in found[0])
    _is_loaded_by_its_python(tmp_path / own(packaging).architecture, packaging.RUNTIME)


def test_what_is_put_together_again_is_the_same(tmp_path: Path, packaging: ModuleType) -> None:
    """Every file of it; `write` makes the same bytes of the same files."""
    found = []
    for number in range(2):
        tree = tmp_path / str(number)
        names = packaging.put_together("ingest", own(packaging), tree, uv=uv())
        found.append({name: sha256((tree / name).read_bytes()).hexdigest() for name in names})
    assert found[0] == found[1]


def _is_loaded_by_its_python(tree: Path, version: str) -> None:
    """Where that is at hand: the emulator's is another. Nothing but the package and Python itself is used."""
    python = shutil.which(f"python{version}")
    if python is None:
        return
    said = [python, "-I", "-c", _LOADED, tree]
    environ = {"PATH": os.environ["PATH"], "PYENV_VERSION": version, "HOME": os.environ["HOME"]}
    done = subprocess.run(said, env=environ, check=False, capture_output=True, text=True)
    if done.returncode == 127:
        return  # a name of pyenv's, for no version that it has
    assert (done.returncode, done.stdout.strip()) == (0, f"{version} []"), done.stderr


def test_more_than_aws_takes_is_refused(tmp_path: Path, packaging: ModuleType) -> None:
    with (tmp_path / "large").open("wb") as file:
        file.truncate(packaging.MOST_UNPACKED + 1)
    with pytest.raises(packaging.CannotPackage, match="unpacked"):
        packaging.check(tmp_path, ["large"], packaging.TARGETS[0])


def test_the_same_files_are_the_same_bytes(tmp_path: Path, packaging: ModuleType) -> None:
    made = []
    for number, order in enumerate((["b", "a"], ["a", "b"])):
        tree = tmp_path / str(number)
        tree.mkdir()
        for name in order:
            (tree / name).write_text(name * 100)
            (tree / name).chmod(0o600 + number)
            os.utime(tree / name, (number, number))
        archive = tmp_path / f"{number}.zip"
        packaging.write(tree, sorted(order), archive)
        made.append(archive.read_bytes())
    assert made[0] == made[1]
    with zipfile.ZipFile(tmp_path / "0.zip") as archive_:
        assert archive_.read("a") == b"a" * 100
