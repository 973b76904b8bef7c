"""Law 12: nothing happens at import. Each claim is checked in a fresh interpreter."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

WATCH = """
import importlib, json, os, pkgutil, sys, threading

reads, opened = [], []
environ = os.environ
class Watched(type(environ)):
    pass
def hook(event, args):
    # urllib3, which boto3 imports, binds a socket of its own to learn whether there is IPv6
    if event in ("socket.connect", "subprocess.Popen"):
        opened.append(event)
    if event == "open" and isinstance(args[0], str) and args[1] and set(str(args[1])) & set("wax+"):
        opened.append(f"open {args[0]}")
sys.addaudithook(hook)
import pik
names = ["pik"] + [m.name for m in pkgutil.walk_packages(pik.__path__, "pik.")]
sys.dont_write_bytecode = True
for name in names:
    if name.rsplit(".", 1)[-1] != "__main__":
        importlib.import_module(name)
print(json.dumps({"names": names, "opened": opened, "threads": [t.name for t in threading.enumerate()]}))
"""


def fresh(code: str) -> str:
    done = subprocess.run([sys.executable, "-B", "-c", code], capture_output=True, text=True, check=True)
    return done.stdout


def test_importing_everything_opens_nothing_and_starts_no_thread() -> None:
    seen = json.loads(fresh(WATCH))
    assert len(seen["names"]) > 50
    assert seen["opened"] == []
    assert seen["threads"] == ["MainThread"]


def test_an_operator_of_streams_loads_no_engine() -> None:
    engines = {"pyarrow", "numpy", "pandas", "duckdb", "sqlglot", "jsonschema", "cel"}
    loaded = fresh("import sys\nimport pik.cluster.operator\nprint('LOADED', *sorted(sys.modules))")
    modules = set(loaded.split("LOADED", 1)[1].split())
    assert modules & engines == set()


def test_help_imports_little() -> None:
    heavy = {"boto3", "botocore", "pyarrow", "duckdb", "pydantic", "sqlglot", "jsonschema", "rich", "uvicorn"}
    loaded = fresh(
        "import sys\n"
        "from pik.cli.main import main\n"
        "try:\n main(['--help'])\nexcept SystemExit:\n pass\n"
        "print('LOADED', *sorted(sys.modules))"
    )
    modules = set(loaded.split("LOADED", 1)[1].split())
    assert modules & {*heavy, "kubernetes", "kopf", "msgspec", "yaml"} == set()


def test_a_command_on_a_folder_knows_no_cluster(tmp_path: Path) -> None:
    (tmp_path / ".pik").mkdir()
    loaded = fresh(
        "import sys\n"
        "from pik.cli.main import main\n"
        f"try:\n main(['-C', {str(tmp_path)!r}, 'get'])\nexcept SystemExit:\n pass\n"
        "print('LOADED', *sorted(sys.modules))"
    )
    said, _, modules = loaded.partition("LOADED")
    assert said == f"no objects in the folder {tmp_path}\n"
    assert set(modules.split()) & {"kubernetes", "kopf", "boto3", "pyarrow", "duckdb", "cel"} == set()


def test_without_the_package_a_cluster_is_an_error_of_one_line(tmp_path: Path) -> None:
    said = fresh(
        "import sys\n"
        "sys.modules['kubernetes'] = None\n"
        "from pik.cli.main import main\n"
        "sys.stderr = sys.stdout\n"
        "try:\n main(['-n', 'team', 'get'])\nexcept SystemExit as end:\n print(end.code)"
    )
    told, code = said.splitlines()
    assert "pip install 'pipeline-investigation-kit[operator]'" in told
    assert code == "1"
