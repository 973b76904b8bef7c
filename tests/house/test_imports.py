"""Law 12: nothing happens at import. Each claim is checked in a fresh interpreter."""

from __future__ import annotations

import json
import subprocess
import sys

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
    assert modules & heavy == set()
