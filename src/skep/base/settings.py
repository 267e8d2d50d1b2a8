"""Settings: what an operator can decide, typed, with one annotated file as schema, manual and default.

``settings.toml`` beside this module says what each setting means and its default; the classes below
give types and bounds. Sources, later ones win: the defaults, ``/etc/skep/skep.toml``,
``~/.config/skep/skep.toml``, ``./skep.toml``, the file that ``SKEP_CONFIG`` names, ``SKEP_*``
variables, flags. An unknown key is an error that names the nearest known one.

    settings = load_settings({"server.port": 9000})
    settings.server.port, settings.database_url(), settings.storage.pack_bytes
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal, TypeAlias, cast

import msgspec
from msgspec import Meta

from skep.base.setting_sources import Found, gather
from skep.base.setting_values import SettingSpec, build_specs

Count: TypeAlias = Annotated[int, Meta(ge=1, le=1_000_000)]
CountOrNone: TypeAlias = Annotated[int, Meta(ge=0, le=1_000_000)]
Days: TypeAlias = Annotated[int, Meta(ge=0, le=36_500)]
Bytes: TypeAlias = Annotated[int, Meta(ge=0, le=2**62)]
Seconds: TypeAlias = Annotated[float, Meta(ge=0, le=10 * 365 * 86_400)]
Positive: TypeAlias = Annotated[float, Meta(ge=0.001, le=10 * 365 * 86_400)]
EnvironmentOnly: TypeAlias = Annotated[str, Meta(extra={"secret": True, "environment_only": True})]
WithPassword: TypeAlias = Annotated[str, Meta(extra={"secret": True})]


class ServerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How the hive answers HTTP."""

    host: str
    port: Annotated[int, Meta(ge=0, le=65_535)]
    s3_port: Annotated[int, Meta(ge=0, le=65_535)]
    metrics_port: Annotated[int, Meta(ge=0, le=65_535)]
    engine: Literal["granian", "uvicorn"]
    only: Literal["", "array", "cloud", "chunk"]
    sftp_port: Annotated[int, Meta(ge=0, le=65_535)]
    tls_certificate: str
    tls_key: str
    tls_names: tuple[str, ...]
    trusted_proxies: tuple[str, ...]
    request_timeout_s: Positive
    head_timeout_s: Positive
    idle_timeout_s: Positive
    body_limit_bytes: Annotated[int, Meta(ge=1, le=2**62)]
    stop_grace_s: Seconds
    threads: Annotated[int, Meta(ge=0, le=1024)]
    metrics_access: Literal["local", "admin", "everyone"]
    public_url: Annotated[str, Meta(pattern=r"^(https?://[A-Za-z0-9.:\[\]_-]+)?$")]


class DatabaseSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where the metadata is."""

    url: WithPassword
    pool_size: Annotated[int, Meta(ge=1, le=256)]
    busy_timeout_s: Positive
    group_commit_max: Annotated[int, Meta(ge=1, le=10_000)]
    queue_max: Count


class KeySettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where the master key comes from."""

    master_key_file: str
    master_key: EnvironmentOnly
    passphrase: EnvironmentOnly


class StorageSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How content is packed, coded, written and read."""

    scheme: str
    repair_at: Annotated[int, Meta(ge=0, le=32)]
    wanted: Annotated[int, Meta(ge=0, le=32)]
    user_schemes: tuple[str, ...]
    dedup: Literal["account", "hive"]
    first_store: str
    pack_bytes: Annotated[int, Meta(ge=5 * 2**20, le=64 * 2**20)]
    compression_level: Annotated[int, Meta(ge=0, le=19)]
    upload_memory_bytes: Annotated[int, Meta(ge=64 * 2**20, le=2**40)]
    download_memory_bytes: Annotated[int, Meta(ge=8 * 2**20, le=2**40)]
    cache_bytes: Annotated[int, Meta(ge=0, le=2**50)]
    recent_bytes: Annotated[int, Meta(ge=0, le=2**40)]
    hedge: bool
    store_timeout_s: Positive
    store_retries: Annotated[int, Meta(ge=0, le=20)]
    reserve_bytes: Annotated[int, Meta(ge=0, le=2**50)]
    layout_lint: Literal["warn", "refuse"]
    prefer_cheap: Annotated[float, Meta(ge=0, le=10)]
    lost_after_s: Seconds
    grace_s: Seconds


class CloudSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The hive's app keys at cloud providers."""

    dropbox_client_id: str
    dropbox_client_secret: EnvironmentOnly
    gdrive_client_id: str
    gdrive_client_secret: EnvironmentOnly
    onedrive_client_id: str
    onedrive_client_secret: EnvironmentOnly
    box_client_id: str
    box_client_secret: EnvironmentOnly


class AuthSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Who gets in, and for how long."""

    registration: Literal["open", "invite", "closed"]
    access_token_s: Annotated[float, Meta(ge=10, le=86_400)]
    refresh_token_s: Annotated[float, Meta(ge=60, le=10 * 365 * 86_400)]
    invite_s: Annotated[float, Meta(ge=60, le=365 * 86_400)]
    password_length_min: Annotated[int, Meta(ge=1, le=128)]
    argon2_memory_bytes: Annotated[int, Meta(ge=2**16, le=2**32)]
    argon2_passes: Annotated[int, Meta(ge=1, le=64)]
    argon2_at_once: Annotated[int, Meta(ge=1, le=256)]
    second_factor: Literal["optional", "administrators", "everyone"]
    verified_email_to_write: bool
    login_attempts_max: Count
    login_window_s: Positive
    verdict_cache_s: Annotated[float, Meta(ge=0, le=3600)]
    audit_days: Days
    deletion_grace_s: Annotated[float, Meta(ge=0, le=365 * 86_400)]


class MailSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Letters to people."""

    url: str
    sender: str
    password: EnvironmentOnly


class FilesystemSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What a space may hold and how long it remembers."""

    quota_bytes: Bytes
    trash_days: Days
    versions_max: Count
    versions_days: Days
    journal_days: Annotated[int, Meta(ge=1, le=36_500)]
    path_bytes_max: Annotated[int, Meta(ge=256, le=65_536)]
    depth_max: Annotated[int, Meta(ge=8, le=1024)]
    attributes_bytes_max: Annotated[int, Meta(ge=0, le=2**24)]
    uploads_max: Count
    upload_kept_s: Annotated[float, Meta(ge=60, le=365 * 86_400)]
    lock_max_s: Annotated[float, Meta(ge=10, le=30 * 86_400)]
    properties_max: Annotated[int, Meta(ge=1, le=100_000)]
    properties_bytes_max: Annotated[int, Meta(ge=1024, le=2**24)]


class LinkSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Links that work without an account."""

    allowed: bool
    metered: bool
    of_one_max: Count
    requests_per_second: Annotated[float, Meta(ge=0, le=1_000_000)]
    requests_burst: Count


class S3Settings(msgspec.Struct, frozen=True, kw_only=True):
    """How the hive answers S3 clients."""

    domain: str
    region: Annotated[str, Meta(pattern=r"\A[a-z0-9-]{1,64}\Z")]
    trash: bool


class LimitSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How much may go on at once."""

    requests_at_once: Count
    uploads_at_once: Count
    wait_s: Seconds
    requests_per_second: Annotated[float, Meta(ge=0, le=1_000_000)]
    requests_burst: Count
    json_body_bytes: Annotated[int, Meta(ge=1024, le=2**30)]
    batch_items: Count
    batch_item_bytes: Annotated[int, Meta(ge=1, le=2**30)]
    batch_bytes: Annotated[int, Meta(ge=1024, le=2**34)]
    listing_items: Count
    changes_items: Annotated[int, Meta(ge=1, le=100_000)]
    poll_s: Annotated[float, Meta(ge=0, le=3600)]
    subscriber_queue: Count
    streams_at_once: Count
    streams_of_one: Count


class EventSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How changes reach those who follow them."""

    fanout: Literal["none", "postgresql", "redis"]
    redis_url: WithPassword
    poll_s: Annotated[float, Meta(ge=0.1, le=3600)]
    keepalive_s: Annotated[float, Meta(ge=1, le=3600)]
    origins: tuple[str, ...]


class AgentSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Computers that lend disk."""

    users_invite: bool


class OwnershipSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Stores of users' own."""

    drivers: tuple[str, ...]
    directories: tuple[str, ...]
    private_networks: bool
    stores_max: CountOrNone
    placements: tuple[Literal["hive", "own-first", "mixed", "own"], ...]
    own_is_free: bool
    chunks_over: Literal["stores", "array", "cloud", "both"]


class BlocksSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How the hive answers programs of the block API."""

    max_body_bytes: Annotated[int, Meta(ge=1, le=2**62)]
    transfers: Count
    accounting_host: str
    apisecret: EnvironmentOnly
    dummy_auth: WithPassword


class CreditSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What people have to spend, and what it is spent on."""

    currency: Annotated[str, Meta(pattern=r"\A[A-Z]{3}\Z")]
    default_plan: str
    gifts: bool
    costs: Literal["none", "classic", "custom"]
    upload_percent: Annotated[int, Meta(ge=0, le=100_000)]
    download_percent: Annotated[int, Meta(ge=0, le=100_000)]
    meter: Literal["auto", "always"]
    payment_secret: EnvironmentOnly


class MetadiskSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The door of published content."""

    access: Literal["off", "accounts", "anyone"]
    storage_bytes: Bytes
    file_bytes: Annotated[int, Meta(ge=1, le=2**62)]
    incoming_bytes: Bytes
    outgoing_bytes: Bytes
    passphrase: Annotated[str, Meta(min_length=1, max_length=1000)]


class WorkerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What goes on in the background, and how gently."""

    scrub_period_s: Positive
    tranquility: Annotated[float, Meta(ge=0, le=1000)]
    repair_period_s: Positive
    gc_period_s: Positive
    repack_dead_ratio: Annotated[float, Meta(ge=0.05, le=0.95)]
    snapshot_period_s: Positive
    snapshots_max: Count
    retention_period_s: Positive
    digests_after_s: Annotated[float, Meta(ge=60, le=10 * 365 * 86_400)]
    health_period_s: Positive
    audit_period_s: Positive
    backoff_max_s: Positive


class LogSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What is logged, and how."""

    level: Literal["debug", "info", "warning", "error"]
    format: Literal["auto", "console", "json"]
    requests: Literal["all", "failed", "none"]


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """All settings of one hive."""

    data_dir: str
    server: ServerSettings
    database: DatabaseSettings
    keys: KeySettings
    storage: StorageSettings
    cloud: CloudSettings
    auth: AuthSettings
    mail: MailSettings
    filesystem: FilesystemSettings
    links: LinkSettings
    s3: S3Settings
    blocks: BlocksSettings
    limits: LimitSettings
    events: EventSettings
    agents: AgentSettings
    ownership: OwnershipSettings
    credit: CreditSettings
    metadisk: MetadiskSettings
    workers: WorkerSettings
    log: LogSettings

    def data_path(self) -> Path:
        """The data directory, absolute."""
        return Path(self.data_dir).expanduser().absolute()

    def database_url(self) -> str:
        """The URL of the database; without one in the settings, a SQLite file in the data directory."""
        return self.database.url or f"sqlite:///{self.data_path() / 'skep.db'}"

    def master_key_path(self) -> Path:
        """The file with the master key."""
        named = self.keys.master_key_file
        return Path(named).expanduser().absolute() if named else self.data_path() / "master.key"


class Explained(msgspec.Struct, frozen=True):
    """One setting as it is in force: its value as shown to people and where that came from."""

    key: str
    value: object
    source: str


def setting_specs() -> Mapping[str, SettingSpec]:
    """All settings by key (``server.port``), in the order of the annotated file."""
    return build_specs(Settings)


def load_settings(
    overrides: Mapping[str, object] | None = None,
    *,
    files: Sequence[Path] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Settings:
    """Read all sources and give the settings in force.

    ``overrides`` are flags by key (``server.port``; None values are flags not given); ``files`` and
    ``environ`` replace the standard files and the process's environment. Files that are not there
    are passed over, except the one that ``SKEP_CONFIG`` names.

    Raises InvalidSetting: unknown key, wrong type, out of range; with file and line or variable.
    """
    specs = setting_specs()
    found = gather(specs, overrides or {}, files=files, environ=environ)
    nested: dict[str, object] = {}
    for key, spec in specs.items():
        group = cast(dict[str, object], nested.setdefault(spec.section, {})) if spec.section else nested
        group[spec.name] = found[key].value
    return msgspec.convert(nested, Settings)


def explain(
    overrides: Mapping[str, object] | None = None,
    *,
    files: Sequence[Path] | None = None,
    environ: Mapping[str, str] | None = None,
) -> list[Explained]:
    """Each setting's value and source, secrets hidden. Takes and raises what ``load_settings`` does."""
    specs = setting_specs()
    found = gather(specs, overrides or {}, files=files, environ=environ)
    return [_explained(spec, found[key]) for key, spec in specs.items()]


def _explained(spec: SettingSpec, found: Found) -> Explained:
    shown = "(hidden)" if spec.secret and found.value else found.value
    return Explained(spec.key, shown, found.source)
