"""What an agent's user decided. Later ones win: defaults, ``agent.toml``, ``SKEP_AGENT_*`` variables, the command line.

hive = "https://my.hive"        # ~/.config/skep/agent.toml
path = "$HOME/skep-space"
share = "200GB"
up = "1MB"                      # a second
schedule = "22:00-06:00"
"""

from __future__ import annotations

import os
import re
import socket
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from skep.agent.schedule import Schedule, parse_schedule
from skep.base.errors import InvalidSetting, InvalidSize
from skep.base.sizes import parse_size

NAMES = ("hive", "path", "share", "up", "down", "schedule", "name", "invite")
PREFIX = "SKEP_AGENT_"
DEFAULTS: Mapping[str, str] = {"path": "$HOME/skep-space", "share": "10GB"}
RATE_MIN_BYTES = 4 << 10
SHARE_MIN_BYTES = 64 << 20
FILE_SIZE_MAX_BYTES = 64 << 10


@dataclass(frozen=True, slots=True)
class AgentConfig:
    """The decisions, read. Sizes in bytes, rates in bytes a second."""

    space: Path
    hive: str = ""
    share_bytes: int | None = None
    """None: all that the disk has."""
    share_given: bool = False
    """Whether somebody chose the share, rather than the default."""
    up: int | None = None
    down: int | None = None
    schedule: Schedule = field(default_factory=Schedule)
    name: str = ""
    invite: str = field(default="", repr=False)


def config_path(environ: Mapping[str, str]) -> Path:
    """Where the configuration file is: SKEP_AGENT_CONFIG, else beside the other files of ``skep``."""
    named = environ.get(f"{PREFIX}CONFIG")
    if named:
        return Path(named)
    home = environ.get("XDG_CONFIG_HOME") or f"{environ.get('HOME', '~')}/.config"
    return Path(home).expanduser() / "skep" / "agent.toml"


def load_config(given: Mapping[str, str | None], environ: Mapping[str, str] | None = None) -> AgentConfig:
    """The configuration in force; ``given`` is the command line's. Raises InvalidSetting."""
    variables = os.environ if environ is None else environ
    merged = dict(DEFAULTS)
    merged.update(_file(config_path(variables), required=f"{PREFIX}CONFIG" in variables))
    merged.update({name: text for name in NAMES if (text := variables.get(PREFIX + name.upper()))})
    chosen = {name: text for name, text in given.items() if text is not None}
    share_given = "share" in chosen or merged["share"] != DEFAULTS["share"]
    merged.update(chosen)
    return AgentConfig(
        space=Path(os.path.abspath(_expanded(merged["path"], variables))),
        hive=checked_hive_url(merged["hive"]) if merged.get("hive") else "",
        share_bytes=_share(merged["share"]),
        share_given=share_given,
        up=_rate("up", merged.get("up", "")),
        down=_rate("down", merged.get("down", "")),
        schedule=parse_schedule(merged.get("schedule", "")),
        name=merged.get("name", ""),
        invite=merged.get("invite", ""),
    )


def _file(path: Path, *, required: bool) -> dict[str, str]:
    try:
        with path.open("rb") as file:
            raw = file.read(FILE_SIZE_MAX_BYTES)
    except FileNotFoundError:
        if required:
            raise InvalidSetting(f"there is no file {path}, which {PREFIX}CONFIG names") from None
        return {}
    except OSError as error:
        raise InvalidSetting(f"{path} cannot be read: {error.strerror}") from None
    try:
        found = tomllib.loads(raw.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidSetting(f"{path} is not TOML: {error}") from None
    for name, value in found.items():
        if name not in NAMES or not isinstance(value, str | int):
            raise InvalidSetting(f"{path}: {name!r} is no setting of an agent: known are {', '.join(NAMES)}")
    return {name: str(value) for name, value in found.items()}


def _expanded(text: str, variables: Mapping[str, str]) -> str:
    """``$NAME``, ``${NAME}`` and a leading ``~`` replaced."""
    home = variables.get("HOME", os.path.expanduser("~"))
    text = re.sub(r"^~(?=/|$)", lambda _: home, text)

    def value(found: re.Match[str]) -> str:
        name = found[1] or found[2]
        known = variables.get(name, home if name == "HOME" else None)
        if known is None:
            raise InvalidSetting(f"the path {text!r} names the variable {name}, which is not set")
        return known

    return re.sub(r"\$(?:(\w+)|\{(\w+)\})", value, text)


def checked_hive_url(url: str) -> str:
    """A hive's address without a trailing slash. Raises InvalidSetting."""
    found = re.fullmatch(r"(https?)://([^/?#@\s]+)(/[^?#\s]*)?", url.strip())
    if found is None:
        raise InvalidSetting(f"{url[:200]!r} is no address of a hive: write https://my.hive")
    return url.strip().rstrip("/")


def _share(text: str) -> int | None:
    if text.strip().lower() == "all":
        return None
    try:
        size_bytes = parse_size(text)
    except InvalidSize as error:
        raise InvalidSetting(f"share: {error.message}; or `all`") from None
    if size_bytes < SHARE_MIN_BYTES:
        raise InvalidSetting(f"a share of {text} is too small to be of use: lend at least 64MB")
    return size_bytes


def _rate(name: str, text: str) -> int | None:
    if text.strip().lower() in ("", "0", "off", "none"):
        return None
    try:
        rate = parse_size(text.strip().removesuffix("/s"))
    except InvalidSize as error:
        raise InvalidSetting(f"{name}: {error.message} (bytes a second)") from None
    if rate < RATE_MIN_BYTES:
        raise InvalidSetting(f"{name} = {text} is too slow to be of use: allow at least 4KB a second")
    return rate


def default_name() -> str:
    """This computer's name, as far as it can name an agent."""
    plain = re.sub(r"[^\w.-]", "-", socket.gethostname().partition(".")[0], flags=re.ASCII).strip("-.")
    return plain[:64] or "agent"
