"""The reference pages say what the code says: a setting, error, command, route or event is documented or it fails."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"


def _reference() -> ModuleType:
    spec = importlib.util.spec_from_file_location("skep_reference", DOCS / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


reference = _reference()


@pytest.mark.parametrize("name", sorted(reference.PAGES))
def test_the_page_is_what_the_code_says(name: str) -> None:
    path = DOCS / name
    assert path.exists(), f"run `make docs`: {name} is missing"
    assert path.read_text() == reference.PAGES[name](), f"run `make docs`: {name} is out of date"


def test_every_setting_is_used() -> None:
    """A setting that nothing reads is a promise that nothing keeps."""
    code = "\n".join(
        path.read_text()
        for path in (ROOT / "src").rglob("*.py")
        if not (path.parent.name == "base" and path.name.startswith("setting"))
    )
    unread = [
        key
        for key, spec in reference.setting_specs().items()
        if not re.search(rf"\.{spec.name}\b", code) and key not in ("data_dir", "database.url", "keys.master_key_file")
    ]
    assert unread == []


def test_links_between_the_documents_lead_somewhere() -> None:
    link = re.compile(r"\]\((?!https?:|mailto:|#)([^)#\s]+)(?:#[^)]*)?\)")
    pages = [*ROOT.glob("*.md"), *DOCS.rglob("*.md")]
    broken = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in pages
        for target in link.findall(page.read_text())
        if not (page.parent / target).exists()
    ]
    assert broken == []


def test_pages_that_the_code_points_to_are_there() -> None:
    named = re.compile(r"\bdocs/[\w/-]+\.md\b")
    sources = [*(ROOT / "src").rglob("*.py"), *(ROOT / "src").rglob("*.toml")]
    missing = {
        f"{path.relative_to(ROOT)}: {page}"
        for path in sources
        for page in named.findall(path.read_text())
        if not (ROOT / page).exists()
    }
    assert missing == set()


def test_every_revision_of_the_schema_says_what_going_back_loses() -> None:
    versions = (ROOT / "src/skep/db/migrations/versions").glob("v[0-9]*.py")
    told = re.findall(r"^\| (\d{4}) \|", (DOCS / "operate/database.md").read_text(), re.MULTILINE)
    assert told == sorted(path.name[1:5] for path in versions)


def test_every_direct_dependency_is_accounted_for() -> None:
    """docs/DEPENDENCIES.md says why each library is there."""
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = [*project["dependencies"], *(item for extra in project["optional-dependencies"].values() for item in extra)]
    page = (DOCS / "DEPENDENCIES.md").read_text()
    names = {re.split(r"[<>=;\[ ]", item)[0] for item in named}
    assert {name for name in names if f"`{name}`" not in page} == set()


def test_every_format_page_and_every_package_is_on_the_map() -> None:
    architecture = (DOCS / "ARCHITECTURE.md").read_text()
    packages = [path.parent.name for path in (ROOT / "src" / "skep").glob("*/__init__.py")]
    assert [name for name in packages if f"`{name}`" not in architecture] == []
    formats = [path.name for path in (DOCS / "formats").glob("*.md")]
    assert [name for name in formats if f"formats/{name}" not in architecture] == []
