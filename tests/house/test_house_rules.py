"""Rules of this house that no linter knows, each with its reason."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILE_LINES_MAX = 700
FUNCTION_LINES_MAX = 90


@cache
def tracked() -> list[Path]:
    """The files of the project: what git tracks, or, in a source archive, what lies in its directories."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    names = [name for name in listed.stdout.decode().split("\0") if name]
    if names:
        return [ROOT / name for name in names if (ROOT / name).is_file()]
    tops = [ROOT / top for top in ("src", "tests", "docs", "bench", ".ci", "requirements")]
    return [path for top in tops for path in top.rglob("*") if path.is_file() and "__pycache__" not in path.parts]


def sources(*tops: str) -> list[Path]:
    """Python files below the named directories."""
    return [p for p in tracked() if p.suffix == ".py" and any(p.is_relative_to(ROOT / top) for top in tops)]


def texts() -> Iterator[tuple[Path, str]]:
    for path in tracked():
        raw = path.read_bytes()
        if b"\0" not in raw[:4096]:
            yield path.relative_to(ROOT), raw.decode(errors="replace")


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def test_a_file_is_a_sitting() -> None:
    """Longer ones hold two subjects, and are read by nobody to the end."""
    counts = {str(p.relative_to(ROOT)): p.read_text().count("\n") for p in sources("src", "tests", "bench")}
    assert {name: lines for name, lines in counts.items() if lines > FILE_LINES_MAX} == {}


def test_a_function_fits_a_screen_or_little_more() -> None:
    """What does not fit the eye does not fit the head."""
    lengths = {
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}": (node.end_lineno or 0) - node.lineno + 1
        for path in sources("src", "tests", "bench")
        if "migrations" not in path.parts
        for node in functions(path)
    }
    assert {name: lines for name, lines in lengths.items() if lines > FUNCTION_LINES_MAX} == {}


def test_no_module_is_a_drawer_for_anything() -> None:
    """A name that fits everything says nothing about what is inside."""
    drawers = {"utils", "util", "helpers", "helper", "manager", "managers", "misc", "tools", "lib"}
    assert [p.name for p in sources("src") if p.stem in drawers or p.parent.name in drawers] == []


def test_nothing_is_left_for_later() -> None:
    """What is worth doing is done or is an issue; a note in the code is neither."""
    later = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b|[Nn]ot implemented yet|\b[Ff]or now\b")
    this = Path(__file__).relative_to(ROOT)
    found = [
        f"{path}:{number}"
        for path, text in texts()
        if path.suffix in (".py", ".toml", ".md", ".sh", "") and path not in (this, Path("LICENSE"))
        for number, line in enumerate(text.splitlines(), 1)
        if later.search(line)
    ]
    assert found == []


def test_nothing_names_one_machine_or_registry() -> None:
    """The project is built and run by others, elsewhere, behind mirrors of their own."""
    local = re.compile(
        r"pypi\.org|pythonhosted\.org|registry\.npmjs|deb\.debian\.org|(?<![\w.$}])/(?:work|root|farm)/|/home/[a-z]"
    )
    this = Path(__file__).relative_to(ROOT)
    found = [f"{path}: {match[0]}" for path, text in texts() if path != this for match in local.finditer(text)]
    assert found == []


def test_tests_do_not_sleep_to_wait_for_something() -> None:
    """A sleep is too short on a busy machine and too long on every other; wait for the thing itself.

    A poll loop that waits for another process says so in a comment on the line.
    """
    nap = re.compile(r"\b(?:time\.sleep|asyncio\.sleep|anyio\.sleep)\((?!0\))")
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in sources("tests")
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if nap.search(line) and "  # " not in line and path != Path(__file__)
    ]
    assert found == []


def test_every_public_module_class_and_function_of_the_package_says_what_it_is() -> None:
    """The docstring is the contract; a name alone is a promise without terms."""
    bare = []
    for path in sources("src"):
        if "migrations" in path.parts:
            continue
        module = parsed(path)
        if not ast.get_docstring(module) and module.body:
            bare.append(str(path.relative_to(ROOT)))
        for node in module.body:
            named = isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            if named and not node.name.startswith("_") and not ast.get_docstring(node):
                bare.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name}")
    assert bare == []


@pytest.mark.parametrize("name", ["server.txt", "dev.txt"])
def test_requirements_are_pinned_and_hashed(name: str) -> None:
    """Who installs Skep gets the bytes that were tested, wherever they come from."""
    text = (ROOT / "requirements" / name).read_text()
    entries = re.split(r"\n(?=[a-z0-9])", text)
    pinned = [entry for entry in entries if re.match(r"[a-z0-9][\w.-]*==", entry)]
    assert len(pinned) > 20
    assert [entry.split()[0] for entry in pinned if "--hash=sha256:" not in entry] == []
    assert not re.search(r"(?m)^\s*(--index|--extra-index|--find-links|--trusted-host|-i )", text)
