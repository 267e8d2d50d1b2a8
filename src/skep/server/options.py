"""The settings of a hive in the words of each component."""

from __future__ import annotations

from skep.auth.post import Postman, postman_of
from skep.base.clock import Clock
from skep.base.settings import Settings
from skep.chunks.scheme import Scheme
from skep.durability.options import Options
from skep.durability.owning import OwnRules
from skep.filesystem import Limits
from skep.frontends.api.services import RequestLimits
from skep.stores.oauth import AppKeys
from skep.stores.wrappers.retry import Pace

HEAD_LIMIT_BYTES = 64 * 1024
CACHE_DIRECTORY = "cache"
"""The read cache, in the data directory: it may be removed at any time."""
MAIL_DIRECTORY = "mail"
"""Letters that the catch-all keeps, in the data directory."""
PATIENCE = 2
"""A call to a store, tries and waits included, may take this many times as long as one try."""


def postman(settings: Settings, clock: Clock) -> Postman | None:
    """Who carries letters to people. Raises InvalidSetting."""
    mail = settings.mail
    kept = settings.data_path() / MAIL_DIRECTORY
    return postman_of(mail.url, mail.sender, mail.password, kept, lambda: clock.now_us() / 1e6)


def chunk_options(settings: Settings) -> Options:
    """How content is packed and written."""
    storage = settings.storage
    default = Options()
    return Options(
        pack_bytes=storage.pack_bytes,
        packs_max=max(2, storage.upload_memory_bytes // (2 * storage.pack_bytes)),
        compression_level=storage.compression_level,
        threads=settings.server.threads or default.threads,
        sharing=storage.dedup,
        put_timeout_s=PATIENCE * storage.store_timeout_s,
        read_timeout_s=PATIENCE * storage.store_timeout_s,
        hedge=storage.hedge,
        read_ahead_bytes=storage.download_memory_bytes,
        cache_directory=settings.data_path() / CACHE_DIRECTORY,
        cache_bytes=storage.cache_bytes,
        cache_reserve_bytes=storage.reserve_bytes,
        recent_bytes=storage.recent_bytes,
    )


def cloud_apps(settings: Settings) -> dict[str, AppKeys]:
    """The app keys at each cloud provider; without a client id there is none."""
    cloud = settings.cloud
    found = {
        "dropbox": (cloud.dropbox_client_id, cloud.dropbox_client_secret),
        "gdrive": (cloud.gdrive_client_id, cloud.gdrive_client_secret),
        "onedrive": (cloud.onedrive_client_id, cloud.onedrive_client_secret),
        "box": (cloud.box_client_id, cloud.box_client_secret),
    }
    return {name: AppKeys(client_id, secret or None) for name, (client_id, secret) in found.items()}


def own_rules(settings: Settings) -> OwnRules:
    """What users may have as stores of their own."""
    own = settings.ownership
    return OwnRules(
        drivers=own.drivers,
        directories=own.directories,
        private_networks=own.private_networks,
        stores_max=own.stores_max,
        own_is_free=own.own_is_free,
    )


def file_limits(settings: Settings) -> Limits:
    """What a space may hold and how long it remembers."""
    files, limits = settings.filesystem, settings.limits
    return Limits(
        quota_bytes=files.quota_bytes or None,
        file_bytes_max=settings.server.body_limit_bytes,
        batch_items_max=limits.batch_items,
        batch_bytes_max=limits.batch_bytes,
        page_max=limits.listing_items,
        attributes_bytes_max=files.attributes_bytes_max,
        lock_max_s=files.lock_max_s,
        properties_max=files.properties_max,
        properties_bytes_max=files.properties_bytes_max,
        versions_max=files.versions_max,
        versions_days=files.versions_days,
        trash_days=files.trash_days,
        journal_days=files.journal_days,
        path_bytes_max=files.path_bytes_max,
        depth_max=files.depth_max,
        uploads_max=files.uploads_max,
        upload_kept_us=round(files.upload_kept_s * 1e6),
        step_bytes=2 * settings.storage.pack_bytes,
        wait_s_max=limits.poll_s,
        links=settings.links.allowed,
        links_of_one_max=settings.links.of_one_max,
        links_metered=settings.links.metered,
        schemes=tuple(Scheme.parse(text).name for text in settings.storage.user_schemes),
    )


def request_limits(settings: Settings) -> RequestLimits:
    """The most that one request may take."""
    server, limits = settings.server, settings.limits
    return RequestLimits(
        head_bytes=HEAD_LIMIT_BYTES,
        body_bytes=server.body_limit_bytes,
        json_body_bytes=limits.json_body_bytes,
        idle_timeout_s=server.idle_timeout_s,
        request_timeout_s=max(server.request_timeout_s, limits.poll_s + 10),
        poll_s=limits.poll_s,
        listing_items=limits.listing_items,
        changes_items=limits.changes_items,
        batch_items=limits.batch_items,
        batch_item_bytes=limits.batch_item_bytes,
        batch_bytes=limits.batch_bytes,
        chunks_over=settings.ownership.chunks_over,
    )


def store_pace(settings: Settings) -> Pace:
    """How often and how long a call to a store is tried."""
    storage = settings.storage
    return Pace(tries=1 + storage.store_retries, try_timeout_s=storage.store_timeout_s)
