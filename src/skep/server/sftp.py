"""The SFTP door of a hive: its host key, and listening."""

from __future__ import annotations

from typing import TYPE_CHECKING

from skep.base.errors import Misconfigured
from skep.base.logs import get_logger
from skep.crypto.hashing import derive_key

if TYPE_CHECKING:
    from skep.frontends.sftp.server import SftpDoor
    from skep.server.compose import Hive

log = get_logger("skep.server")
_HOST_KEY = "skep 2026 sftp host key v1"


async def open_sftp(hive: Hive) -> SftpDoor | None:
    """Listen on ``server.sftp_port``; None where it is 0. Raises Misconfigured when the port is taken.

    The host key comes from the hive's master key, so that clients recognise the hive after a recovery too.
    """
    settings = hive.settings.server
    if not settings.sftp_port:
        return None
    import asyncssh  # 0.9 s: only for hives that want it
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    from skep.frontends.sftp.records import SftpGround
    from skep.frontends.sftp.server import SftpDoor

    seed = derive_key(_HOST_KEY, hive.identity.master.hive_keys().token_key)
    private = Ed25519PrivateKey.from_private_bytes(seed)
    key = asyncssh.import_private_key(private.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    ground = SftpGround(auth=hive.auth, filesystem=hive.filesystem, uploads=hive.services.uploads)
    door = SftpDoor(ground, hive.clock)
    try:
        await door.listen(settings.host, settings.sftp_port, key)
    except OSError as error:
        raise Misconfigured(
            f"SFTP cannot listen on {settings.host}:{settings.sftp_port} ({error.strerror}): set server.sftp_port"
        ) from error
    log.info("SFTP ready", host=settings.host, port=settings.sftp_port, fingerprint=key.get_fingerprint())
    return door
