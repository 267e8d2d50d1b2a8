"""HQ's settings: ``hq.toml`` beside this module says what each means and its default; these classes give the types."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import Meta

from skep.base.durations import parse_duration
from skep.base.errors import InvalidSetting, LocalFailure, SkepError
from skep.base.sizes import parse_size
from skep.deploy.stack.located import nearest

FILE_NAME = "hq.toml"
_FILE_MAX_BYTES = 1 << 20
Port: TypeAlias = Annotated[int, Meta(ge=0, le=65_535)]
Count: TypeAlias = Annotated[int, Meta(ge=1, le=10_000_000)]
_SIZES = {"pack_max", "tree_max", "body_max"}
_TIMES = {"login_timeout", "push_timeout", "age_max", "tick", "lost_after", "etcd_lease"}
_TIMES |= {"linger", "cooldown", "gap", "billing"}


class SshSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The SSH port."""

    listen: str
    port: Port
    connections_max: Count
    connections_each_max: Count
    login_timeout_s: float


class GitSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What pushes may be."""

    branches: Annotated[tuple[str, ...], Meta(min_length=1)]
    pack_max_bytes: int
    tree_max_bytes: int
    tree_entries_max: Count
    push_timeout_s: float


class WebhookSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The HTTP port."""

    listen: str
    port: Port
    body_max_bytes: int
    age_max_s: float


class DeploySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How jobs run."""

    engine: Literal["process", "docker"]
    env_folder: str
    host_folder: str


class RouterSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How domains are served."""

    http_port: Port
    https_port: Port
    user: str
    acme_directory: str
    acme_contact: str
    acme_ca_file: str


class GridSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the grid may do on its own."""

    autosize: bool
    min: Annotated[int, Meta(ge=0)]
    max: Count
    linger_s: float
    cooldown_s: float
    gap_s: float


class MachinesSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where servers are rented."""

    driver: Literal["", "digitalocean", "local"]
    types: tuple[str, ...]
    region: str
    image: str
    token_file: str
    api: str
    user: str
    ssh_port: Annotated[int, Meta(ge=1, le=65_535)]
    fence: bool
    tags: tuple[str, ...]
    price_hourly_max: Annotated[float, Meta(ge=0)]
    billing_s: float


class CareSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The background round."""

    tick_s: float
    lost_after_s: float


class StateSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the state is."""

    etcd: tuple[str, ...]
    etcd_prefix: str
    etcd_lease_s: float


class HqSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All of them."""

    ssh: SshSettings
    git: GitSettings
    webhook: WebhookSettings
    deploy: DeploySettings
    router: RouterSettings
    grid: GridSettings
    machines: MachinesSettings
    care: CareSettings
    state: StateSettings


def annotated() -> str:
    """The file with all defaults and what they mean."""
    return (files("skep.deploy.hq") / FILE_NAME).read_text(encoding="utf-8")


def read_settings(path: Path | None = None, **over: Mapping[str, Any]) -> HqSettings:
    """The settings of a file over the defaults; ``over`` comes last: ``ssh={"port": 0}``.

    A file that is not there says nothing. Raises InvalidSetting that names the key, LocalFailure.
    """
    defaults = tomllib.loads(annotated())
    said = [] if path is None else [(str(path), _table(path))]
    for where, table in [*said, ("what was given", over)]:
        for section, keys in table.items():
            if section not in defaults or not isinstance(keys, Mapping):
                raise InvalidSetting(f"{where}: there is no [{section}]{nearest(section, defaults)}")
            for key, value in keys.items():
                if key not in defaults[section]:
                    raise InvalidSetting(f"{where}: [{section}] has no {key}{nearest(key, defaults[section])}")
                defaults[section][key] = value
    try:
        plain = {section: _measured(section, keys) for section, keys in defaults.items()}
        return msgspec.convert(plain, HqSettings)
    except msgspec.ValidationError as error:
        raise InvalidSetting(f"{path or 'settings'}: {error}") from None


def _table(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            return tomllib.loads(file.read(_FILE_MAX_BYTES).decode())
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise LocalFailure(f"{path} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidSetting(f"{path} is no TOML: {error}") from None


def _measured(section: str, keys: Mapping[str, Any]) -> dict[str, Any]:
    """Sizes and times as numbers, under names that end in their unit."""
    plain: dict[str, Any] = {}
    for key, value in keys.items():
        try:
            if key in _SIZES:
                plain[f"{key}_bytes"] = parse_size(str(value))
            elif key in _TIMES:
                plain[f"{key}_s"] = parse_duration(str(value))
            else:
                plain[key] = value
        except SkepError as error:
            raise InvalidSetting(f"[{section}] {key}: {error.message}") from None
    return plain
