"""What is installed decides what works: the client half starts without the server's libraries, and starts light."""

from __future__ import annotations

import subprocess
import sys

SERVER_LIBRARIES = (
    "sqlalchemy", "alembic", "starlette", "granian", "uvicorn", "joserfc", "prometheus_client", "python_multipart",
    "psycopg", "pymysql", "pyeclib",
)  # fmt: skip
_WITHOUT = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in %r:
            raise ModuleNotFoundError(f"{name} is not installed", name=name)
sys.meta_path.insert(0, Absent())
"""


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)


def test_the_client_half_needs_no_library_of_the_server() -> None:
    ran = run_python(
        _WITHOUT % (SERVER_LIBRARIES,)
        + """
import importlib, pkgutil
for name in ("skep.base", "skep.crypto", "skep.chunks", "skep.client"):
    package = importlib.import_module(name)
    for found in pkgutil.walk_packages(package.__path__, name + "."):
        importlib.import_module(found.name)
from skep.cli.main import run
raise SystemExit(run(["--help"]))
"""
    )
    assert ran.returncode == 0, ran.stderr
    assert "Usage: skep" in ran.stdout


def test_the_agent_needs_no_library_of_the_server() -> None:
    absent = (*SERVER_LIBRARIES, "obstore", "lxml", "httptools", "uvloop", "asyncssh")
    ran = run_python(
        _WITHOUT % (absent,)
        + """
import importlib, pkgutil
for name in ("skep.agent", "skep.stores.link"):
    package = importlib.import_module(name)
    for found in pkgutil.walk_packages(package.__path__, name + "."):
        importlib.import_module(found.name)
from skep.cli.main import run
from skep.stores.registry import open_store
open_store("fs:///nowhere?capacity=1GB")
raise SystemExit(run(["agent", "--help"]))
"""
    )
    assert ran.returncode == 0, ran.stderr
    assert "Lend disk" in ran.stdout


def test_help_imports_nothing_heavy() -> None:
    """``skep --help`` must answer at once: each of these costs it a noticeable part of a second."""
    ran = run_python(
        """
import sys
from skep.cli.main import run
run(["--help"])
print("heavy:", sorted({name.partition(".")[0] for name in sys.modules} & {"httpx", "rich", "sqlalchemy", "starlette",
      "granian", "cryptography", "asyncio", "alembic", "msgspec", "structlog"}))
"""
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines()[-1] == "heavy: []"
