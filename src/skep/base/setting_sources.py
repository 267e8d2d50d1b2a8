"""Where settings come from: files, variables, flags; in that order, the later wins."""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from skep.base.errors import InvalidSetting
from skep.base.setting_values import SettingSpec, convert_value

FILE_SIZE_MAX_BYTES = 1 << 20
_HEADER = re.compile(r"\s*\[\s*([\w.-]+)\s*\]")
_ASSIGNED = re.compile(r"\s*([\w.-]+)\s*=")


@dataclass(frozen=True, slots=True)
class Found:
    """A value in force and the source that it came from."""

    value: object
    source: str


def standard_files(environ: Mapping[str, str]) -> list[Path]:
    """The files that are read, weakest first."""
    home = Path(environ.get("XDG_CONFIG_HOME") or Path(environ.get("HOME") or "~").expanduser() / ".config")
    return [Path("/etc/skep/skep.toml"), home / "skep" / "skep.toml", Path("skep.toml")]


def gather(
    specs: Mapping[str, SettingSpec],
    flags: Mapping[str, object],
    *,
    files: Sequence[Path] | None,
    environ: Mapping[str, str] | None,
) -> dict[str, Found]:
    """The value in force of each setting. Raises InvalidSetting, see ``settings.load_settings``."""
    environ = os.environ if environ is None else environ
    found = {key: Found(spec.default, "default") for key, spec in specs.items()}
    for path in standard_files(environ) if files is None else files:
        if path.is_file():
            found.update(_from_file(specs, path))
    if named := environ.get("SKEP_CONFIG"):
        found.update(_from_file(specs, Path(named)))
    found.update(_from_variables(specs, environ))
    found.update(_from_flags(specs, flags))
    return found


def _from_file(specs: Mapping[str, SettingSpec], path: Path) -> Iterator[tuple[str, Found]]:
    text = _read(path)
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidSetting(f"{path} is not TOML: {error}", file=str(path)) from None
    lines = _line_numbers(text)
    for key, raw in _flat(document, specs):
        source = f"{path}:{lines[key]}" if key in lines else str(path)
        spec = _known(specs, key, source)
        if spec.environment_only and raw:
            raise InvalidSetting(
                f"{source}: {key} is a secret that files do not hold: set the variable {spec.variable} instead",
                setting=key,
            )
        yield key, Found(convert_value(spec, raw, source), source)


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(FILE_SIZE_MAX_BYTES + 1)
    except OSError as error:
        raise InvalidSetting(f"{path} cannot be read: {error.strerror}", file=str(path)) from None
    if len(raw) > FILE_SIZE_MAX_BYTES:
        raise InvalidSetting(f"{path} is larger than {FILE_SIZE_MAX_BYTES} bytes: it is no settings file")
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise InvalidSetting(f"{path} is not UTF-8 text", file=str(path)) from None


def _flat(document: Mapping[str, object], specs: Mapping[str, SettingSpec]) -> Iterator[tuple[str, object]]:
    """The settings of a document by key; an empty unknown section counts as an unknown key."""
    sections = {spec.section for spec in specs.values()}
    for name, value in document.items():
        if isinstance(value, dict) and (name in sections or value):
            yield from ((f"{name}.{inner}", raw) for inner, raw in value.items())
        else:
            yield name, value


def _line_numbers(text: str) -> dict[str, int]:
    """The line of each plainly written key; the first one counts."""
    numbers: dict[str, int] = {}
    section = ""
    for number, line in enumerate(text.splitlines(), 1):
        if header := _HEADER.match(line):
            section = header[1] + "."
            numbers.setdefault(header[1], number)
        elif assigned := _ASSIGNED.match(line):
            numbers.setdefault(section + assigned[1], number)
    return numbers


def _from_variables(specs: Mapping[str, SettingSpec], environ: Mapping[str, str]) -> Iterator[tuple[str, Found]]:
    known = {spec.variable: spec for spec in specs.values()}
    sections = tuple(f"SKEP_{section.upper()}_" for section in {spec.section for spec in specs.values()} if section)
    for name in sorted(environ):
        if not name.startswith("SKEP_"):
            continue
        spec = known.get(name.replace("__", "_"))
        if spec is None:
            _check_stray_variable(name, known, sections)
            continue
        source = f"variable {name}"
        yield spec.key, Found(convert_value(spec, environ[name], source), source)


def _check_stray_variable(name: str, known: Iterable[str], sections: tuple[str, ...]) -> None:
    """Refuse a variable that means to be a setting; others (SKEP_CONFIG, SKEP_CI) belong to somebody else."""
    near = difflib.get_close_matches(name.replace("__", "_"), list(known), n=1, cutoff=0.6)
    meant = name.startswith(sections) or "__" in name
    if meant or (near and difflib.SequenceMatcher(None, name, near[0]).ratio() > 0.88):
        hint = f": did you mean {near[0]}?" if near else ": see docs/settings.md"
        raise InvalidSetting(f"variable {name} is no setting{hint}", setting=name)


def _from_flags(specs: Mapping[str, SettingSpec], flags: Mapping[str, object]) -> Iterator[tuple[str, Found]]:
    for key, raw in flags.items():
        if raw is None:
            continue
        source = "flag --" + key.split(".")[-1].replace("_", "-")
        spec = _known(specs, key, source)
        yield key, Found(convert_value(spec, raw, source), source)


def _known(specs: Mapping[str, SettingSpec], key: str, source: str) -> SettingSpec:
    spec = specs.get(key)
    if spec is not None:
        return spec
    near = difflib.get_close_matches(key, list(specs), n=1, cutoff=0.5)
    bare = key.rpartition(".")[2]
    elsewhere = [known for known in specs if known.rpartition(".")[2] == bare]
    guess = (elsewhere or near or [""])[0]
    hint = f": did you mean {guess}?" if guess else ": see docs/settings.md for those there are"
    raise InvalidSetting(f"{source}: there is no setting {key}{hint}", setting=key, nearest=guess)
