"""Makes the functions' packages: `python lambdas/package.py --uv UV [--out DIR]` (`make lambdas`).

A zip for each function and architecture: its handler, what it needs of pik, and the distributions that its
`requirements.txt` names, without what never runs there. The same inputs give the same bytes: names in order,
one date, one mode. What AWS would refuse, or could not load, is an error here.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Set
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO

from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerNeedSection

HERE = Path(__file__).parent
ROOT = HERE.parent
_STREAM = frozenset({"dynamodb", "s3", "sts"})
FUNCTIONS = {"ingest": _STREAM, "processor": _STREAM, "replay": _STREAM | {"sqs"}}
"""Each with the services whose models stay in botocore."""

RUNTIME = "3.13"
"""Of Python: one on Amazon Linux 2023, since wheels of pyarrow want its C library (manylinux_2_28)."""

MOST_UNPACKED = 250 * 2**20
"""Bytes of a function with its layers (docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html)."""

C_LIBRARY = (2, 34)
"""Version of glibc on Amazon Linux 2023."""

LEVEL = 6  # of compression
_DATE = (1980, 1, 1, 0, 0, 0)
_PIK = ("api", "aws", "domain", "execution", "functions", "gateway", "planning", "ports")
_LEFT_OUT = re.compile(
    r"""
    (^|/)(__pycache__|tests?|testing|include|bin)/
    | \.(pyc|pyx|pxd|pxi|pyi|h|hpp|c|cc|cpp|lib)$
    | \.dist-info/(?!METADATA$)
    | ^pyarrow/(src|includes|interchange)/
    | ^pyarrow/lib(arrow_flight|arrow_python_flight|arrow_python_parquet_encryption|arrow_s3)
    | ^pyarrow/libarrow_python\.so(\.\d+\.\d+\.\d+)?$
    | ^pyarrow/_?(flight|s3fs|gcsfs|azurefs|hdfs|orc|feather|substrait|cuda|pyarrow_cpp_tests|jvm)\b
    | ^pyarrow/_(dataset_)?parquet_encryption\b
    | ^boto3/examples/
    """,
    re.VERBOSE,
)
_MODEL = re.compile(r"^botocore/data/(?P<service>[^/]+)/")


class CannotPackage(Exception):
    """The package would not be one that AWS takes and can load."""


@dataclass(frozen=True)
class Target:
    """`platform`: as uv names it."""

    architecture: str
    platform: str
    machine: int  # e_machine of its ELF files


TARGETS = (
    Target("x86_64", "x86_64-manylinux_2_28", 62),
    Target("arm64", "aarch64-manylinux_2_28", 183),
)


def package(
    function: str, target: Target, out: Path, *, uv: Path, python: str = RUNTIME, level: int = LEVEL
) -> Path:
    """Makes the zip of a function. Raises `CannotPackage`, and CalledProcessError where uv failed."""
    with tempfile.TemporaryDirectory(prefix="pik-lambda-") as scratch:
        names = put_together(function, target, Path(scratch), uv=uv, python=python)
        out.mkdir(parents=True, exist_ok=True)
        made = out / f"{function}-{target.architecture}.zip"
        write(Path(scratch), names, made, level)
        return made


def put_together(function: str, target: Target, tree: Path, *, uv: Path, python: str = RUNTIME) -> list[str]:
    """Fills a folder; the names of those files in it that go into the package. Raises as `package` does."""
    _install(HERE / function / "requirements.txt", tree, target, uv, python)
    shutil.copy(HERE / function / "handler.py", tree / "handler.py")
    for part in ("__init__.py", *_PIK):
        there = ROOT / "operator" / "pik" / part
        into = tree / "pik" / part
        if there.is_dir():
            shutil.copytree(there, into)
        else:
            into.parent.mkdir(exist_ok=True)
            shutil.copy(there, into)
    names = sorted(kept(tree, FUNCTIONS[function]))
    check(tree, names, target)
    return names


def _install(requirements: Path, tree: Path, target: Target, uv: Path, python: str) -> None:
    command = [uv, "pip", "install", "--quiet", "--no-deps", "--only-binary", ":all:"]
    command += [
        "--no-binary",
        "localstack-client",
        "--link-mode",
        "copy",
    ]  # it has no wheel, and is Python alone
    command += ["--python-version", python, "--python-platform", target.platform, "--target", tree]
    command += ["--constraint", ROOT / "constraints.txt", "--requirement", requirements]
    subprocess.run(command, check=True)  # noqa: S603 - put together here


def kept(tree: Path, services: Set[str]) -> Iterator[str]:
    """The names of those files that go into a package. `services`: whose models botocore keeps."""
    for path in tree.rglob("*"):
        name = path.relative_to(tree).as_posix()
        model = _MODEL.match(name)
        if path.is_file() and not _LEFT_OUT.search(name) and (not model or model["service"] in services):
            yield name


def check(tree: Path, names: list[str], target: Target) -> None:
    """Raises `CannotPackage`."""
    size = sum((tree / name).stat().st_size for name in names)
    if size > MOST_UNPACKED:
        raise CannotPackage(f"{size} bytes unpacked, and AWS takes {MOST_UNPACKED}")
    left_out = {path.name for path in tree.rglob("*")} - {Path(name).name for name in names}
    for name in names:
        with (tree / name).open("rb") as file:
            if file.read(4) == b"\x7fELF":
                _check_library(name, file, target, left_out)


def _check_library(name: str, file: BinaryIO, target: Target, left_out: Set[str]) -> None:
    """That it is for the machine, that the C library there is new enough, and that the libraries which it was
    linked with are in the package if they were installed. Raises `CannotPackage`."""
    file.seek(0)
    if int.from_bytes(file.read(20)[18:], "little") != target.machine:
        raise CannotPackage(f"{name} is not for {target.architecture}")
    library = ELFFile(file)
    for section in library.iter_sections():
        if isinstance(section, DynamicSection):
            for tag in section.iter_tags("DT_NEEDED"):
                if tag.needed in left_out:
                    raise CannotPackage(f"{name} needs {tag.needed}, which is left out")
        if isinstance(section, GNUVerNeedSection):
            for _, versions in section.iter_versions():
                wanted = max((_glibc(each.name) for each in versions), default=())
                if wanted > C_LIBRARY:
                    raise CannotPackage(f"{name} needs glibc {wanted}, and there is {C_LIBRARY}")


def _glibc(version: str) -> tuple[int, ...]:
    """Of `GLIBC_2.28`; empty for a version of another library."""
    _, is_glibc, numbers = version.partition("GLIBC_")
    return tuple(int(number) for number in numbers.split(".") if number.isdigit()) if is_glibc else ()


def write(tree: Path, names: list[str], archive: Path, level: int = LEVEL) -> None:
    """A zip of these files, whenever they were made and by whom."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=level) as made:
        for name in names:
            entry = zipfile.ZipInfo(name, _DATE)
            entry.external_attr = 0o100644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            made.writestr(entry, (tree / name).read_bytes())


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--uv", type=Path, required=True, help="the program that installs distributions")
    options.add_argument("--out", type=Path, default=ROOT / "build" / "lambdas")
    options.add_argument(
        "--python", default=RUNTIME, help="its version there; an emulator runs functions by its own"
    )
    options.add_argument("--architecture", choices=[target.architecture for target in TARGETS])
    options.add_argument("--function", choices=FUNCTIONS)
    options.add_argument("--level", type=int, default=LEVEL, help="of compression: 1 is quick, 9 is small")
    asked = options.parse_args()
    for function in FUNCTIONS:
        for target in TARGETS:
            if asked.architecture not in (None, target.architecture) or asked.function not in (
                None,
                function,
            ):
                continue
            made = package(function, target, asked.out, uv=asked.uv, python=asked.python, level=asked.level)
            with zipfile.ZipFile(made) as archive:
                unpacked = sum(entry.file_size for entry in archive.infolist())
            digest = sha256(made.read_bytes()).hexdigest()
            size = made.stat().st_size / 2**20
            sys.stdout.write(f"{made.name}  {size:.1f} MiB, {unpacked / 2**20:.1f} unpacked  {digest}\n")


if __name__ == "__main__":
    main()
