"""What one setting is: its name, type, bounds and meaning; and how a raw value becomes a typed one."""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec

from skep.base.durations import parse_duration
from skep.base.errors import InvalidSetting, SkepError
from skep.base.sizes import parse_size

Kind = Literal["flag", "count", "number", "size", "duration", "text", "choice", "list"]
_TRUE = frozenset(("true", "yes", "on", "1"))
_FALSE = frozenset(("false", "no", "off", "0"))


@dataclass(frozen=True, slots=True)
class SettingSpec:
    """One setting: where it is, what it takes, what it means."""

    section: str
    name: str
    kind: Kind
    default: object
    meaning: str
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    secret: bool = False
    environment_only: bool = False

    @property
    def key(self) -> str:
        """``section.name``, or the bare name at the top level."""
        return f"{self.section}.{self.name}" if self.section else self.name

    @property
    def variable(self) -> str:
        """The environment variable that sets it."""
        return "SKEP_" + self.key.replace(".", "_").upper()

    def takes(self) -> str:
        """What the setting can be, for people."""
        if self.kind == "choice":
            return "one of " + ", ".join(f'"{choice}"' for choice in self.choices)
        noun = {
            "flag": "true or false",
            "count": "a whole number",
            "number": "a number",
            "size": 'a size in bytes such as 1048576 or "16 MiB"',
            "duration": 'seconds or a duration such as "30s" or "24h"',
            "text": "text",
            "list": "a list of texts",
        }[self.kind]
        if self.minimum is None or self.maximum is None:
            return noun
        return f"{noun}, from {self.minimum:.15g} to {self.maximum:.15g}"


def default_file_text() -> str:
    """The annotated file of defaults, as it is shipped."""
    return resources.files("skep.base").joinpath("settings.toml").read_text("utf-8")


@functools.cache
def build_specs(root: type[msgspec.Struct]) -> Mapping[str, SettingSpec]:
    """The settings of a root class whose fields are settings or sections, by key, in file order.

    Raises ValueError when the classes and the annotated file do not name the same settings.
    """
    text = default_file_text()
    defaults = tomllib.loads(text)
    meanings = read_meanings(text)
    specs: dict[str, SettingSpec] = {}
    for name, hint in get_type_hints(root, include_extras=True).items():
        if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
            fields = get_type_hints(hint, include_extras=True)
            section = defaults.pop(name)
            for field, kind in fields.items():
                key = f"{name}.{field}"
                specs[key] = _spec(name, field, kind, section.pop(field), meanings[key])
            if section:
                raise ValueError(f"settings.toml has {name}.{next(iter(section))}, which no class declares")
        else:
            specs[name] = _spec("", name, hint, defaults.pop(name), meanings[name])
    if defaults:
        raise ValueError(f"settings.toml has {next(iter(defaults))}, which no class declares")
    return {key: specs[key] for key in meanings}


def read_meanings(text: str) -> dict[str, str]:
    """The comment above each key of an annotated file; keys that share one comment share the text."""
    meanings: dict[str, str] = {}
    section, comment, fresh = "", list[str](), True
    for line in text.splitlines():
        if line.startswith("#"):
            comment = [line[1:].strip()] if fresh else [*comment, line[1:].strip()]
            fresh = False
            continue
        fresh = True
        if line.startswith("["):
            section = line.strip("[] ") + "."
        elif "=" in line:
            meanings[section + line.split("=", 1)[0].strip()] = " ".join(comment)
        else:
            comment = []
    return meanings


def _spec(section: str, name: str, hint: Any, raw_default: object, meaning: str) -> SettingSpec:
    bare, meta = _unwrapped(hint)
    extra = (meta.extra or {}) if meta else {}
    draft = SettingSpec(
        section=section,
        name=name,
        kind=_kind(name, bare),
        default=None,
        meaning=meaning,
        minimum=None if meta is None else _number(meta.ge),
        maximum=None if meta is None else _number(meta.le),
        choices=get_args(bare) if get_origin(bare) is Literal else (),
        secret=bool(extra.get("secret")),
        environment_only=bool(extra.get("environment_only")),
    )
    value = convert_value(draft, raw_default, "settings.toml")
    return SettingSpec(**{name: getattr(draft, name) for name in draft.__slots__} | {"default": value})


def _unwrapped(hint: Any) -> tuple[Any, msgspec.Meta | None]:
    if not hasattr(hint, "__metadata__"):
        return hint, None
    return hint.__origin__, hint.__metadata__[0]


def _number(value: object) -> float | None:
    return value if isinstance(value, int | float) else None


def _kind(name: str, bare: Any) -> Kind:
    if get_origin(bare) is Literal:
        return "choice"
    if bare is int:
        return "size" if name.endswith("_bytes") or "_bytes_" in name else "count"
    if bare is float:
        return "duration" if name.endswith("_s") else "number"
    kinds: dict[Any, Kind] = {bool: "flag", str: "text"}
    return kinds.get(bare, "list")


def convert_value(spec: SettingSpec, raw: object, source: str) -> object:
    """The typed value of a setting, from TOML's types or from text.

    ``source`` (file and line, variable or flag) is named in the error. Raises InvalidSetting.
    """
    try:
        value = _converted(spec, raw)
    except (ValueError, TypeError, SkepError):
        value = None
    if value is None or not _in_bounds(spec, value):
        shown = "(hidden)" if spec.secret else repr(raw)
        raise InvalidSetting(
            f"{source}: {spec.key} cannot be {shown}: it takes {spec.takes()}", setting=spec.key, source=source
        )
    return value


def _converted(spec: SettingSpec, raw: object) -> object:
    """The value in its type; None or an exception when it is none."""
    match spec.kind:
        case "flag":
            return _flag(raw)
        case "count":
            return None if isinstance(raw, bool | float) else int(str(raw))
        case "number":
            return None if isinstance(raw, bool) else float(str(raw))
        case "size":
            return None if isinstance(raw, bool | float) else parse_size(str(raw))
        case "duration":
            return None if isinstance(raw, bool) else parse_duration(str(raw))
        case "choice":
            return raw if raw in spec.choices else None
        case "list":
            return _texts(raw)
        case "text":
            return raw if isinstance(raw, str) else None


def _flag(raw: object) -> bool | None:
    if isinstance(raw, bool):
        return raw
    word = raw.strip().lower() if isinstance(raw, str) else ""
    if word in _TRUE:
        return True
    return False if word in _FALSE else None


def _texts(raw: object) -> tuple[str, ...] | None:
    if isinstance(raw, str):
        return tuple(item.strip() for item in raw.split(",") if item.strip())
    if isinstance(raw, list | tuple) and all(isinstance(item, str) for item in raw):
        return tuple(raw)
    return None


def _in_bounds(spec: SettingSpec, value: object) -> bool:
    if spec.minimum is None or spec.maximum is None or not isinstance(value, int | float):
        return True
    return spec.minimum <= value <= spec.maximum
