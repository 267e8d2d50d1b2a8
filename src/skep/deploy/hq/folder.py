"""HQ's folder: what ``skep hq init`` makes and ``skep hq serve`` stands on. Readable by its owner only.

hq.toml          settings
keys/seal        what seals secrets (32 bytes as text)
keys/host        the SSH host key of the git port
keys/identity    the key that HQ logs in to servers with; identity.pub goes there
state.db         what it remembers, unless that is in etcd
grid.json        the grid's state;   journal.db   the launches'
repositories/    what was pushed;    images/      what was built
hq.sock          where `skep` on this machine and the hooks of git speak to it
stacks/, servers/, grid/     the readable export
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import socket
import tempfile
from pathlib import Path

from skep.base.errors import AlreadyExists, CorruptRecord, DataDirectoryInUse, KeyMissing, LocalFailure, Misconfigured
from skep.deploy.hq.settings import FILE_NAME, annotated

SOCKET_NAME = "hq.sock"


def default_folder() -> Path:
    """``SKEP_HQ_DIR``, or ``skep/hq`` in the user's folder for such things."""
    given = os.environ.get("SKEP_HQ_DIR")
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share") / "skep" / "hq"


class HqFolder:
    """The paths below one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.settings = root / FILE_NAME
        self.keys = root / "keys"
        self.state = root / "state.db"
        self.journal = root / "journal.db"
        self.grid = root / "grid.json"
        self.repositories = root / "repositories"
        self.images = root / "images"
        self.stacks = root / "stacks"
        self.servers = root / "servers"
        self.lock = root / "lock"
        self.socket = root / SOCKET_NAME

    @property
    def is_made(self) -> bool:
        """Whether ``init`` was there."""
        return (self.keys / "identity.pub").exists()

    def make(self) -> None:
        """Make the folder with its keys, all or nothing. Raises AlreadyExists, LocalFailure."""
        if self.is_made:
            raise AlreadyExists(f"{self.root} is an HQ already: `skep hq serve` starts it")
        try:
            self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.root.chmod(0o700)
            _make_keys(self.keys)
            if not self.settings.exists():
                self.settings.write_text(_commented(annotated()))
                self.settings.chmod(0o600)
        except OSError as error:
            raise LocalFailure(f"{self.root} cannot be made an HQ: {error.strerror}") from None

    def check(self) -> None:
        """Raises Misconfigured when this is no HQ, or when others may read it."""
        if not self.is_made:
            raise Misconfigured(f"{self.root} is no HQ: make one with `skep hq init`")
        for path in (self.root, self.keys):
            mode = path.stat().st_mode & 0o777
            if mode & 0o077:
                raise Misconfigured(f"{path} is open to others (mode {mode:04o}): run chmod 700 {path}")

    def seal_key(self) -> bytes:
        """The key under which secrets are sealed. Raises KeyMissing, CorruptRecord."""
        path = self.keys / "seal"
        try:
            text = path.read_text().strip()
        except OSError as error:
            raise KeyMissing(f"HQ's key {path} cannot be read ({error.strerror}): restore it from its backup") from None
        try:
            key = bytes.fromhex(text)
        except ValueError:
            key = b""
        if len(key) != 32:
            raise CorruptRecord(f"HQ's key {path} is damaged: restore it from its backup")
        return key

    @property
    def identity(self) -> Path:
        """The private key for servers."""
        return self.keys / "identity"

    def public_key(self) -> str:
        """What goes into a server's authorized_keys."""
        return (self.keys / "identity.pub").read_text().strip()

    def held(self) -> int:
        """Lock the folder for this process; the descriptor, to be kept open. Raises DataDirectoryInUse."""
        descriptor = os.open(self.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            raise DataDirectoryInUse(f"another `skep hq serve` holds {self.root}: end it first") from None
        return descriptor


def _make_keys(folder: Path) -> None:
    import asyncssh

    beside = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".keys-"))
    try:
        _write(beside / "seal", secrets.token_hex(32).encode() + b"\n")
        for name in ("host", "identity"):
            key = asyncssh.generate_private_key("ssh-ed25519", comment=f"skep hq {name}")
            _write(beside / name, key.export_private_key())
            _write(beside / f"{name}.pub", key.export_public_key())
        beside.rename(folder)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise


def _write(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(descriptor)


def _commented(text: str) -> str:
    """The annotated file with every setting as a comment: what a folder begins with."""
    return "".join(f"# {line}" if _is_setting(line) else line for line in text.splitlines(keepends=True))


def _is_setting(line: str) -> bool:
    return bool(line.strip()) and not line.startswith(("#", "["))


def unix_address(path: Path) -> tuple[str, int]:
    """A short name for a socket however long its path is (Linux takes 108 bytes), and a descriptor to close after use.

    Raises LocalFailure when its folder is not there.
    """
    try:
        descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise LocalFailure(f"{path.parent} cannot be opened: {error.strerror}") from None
    return f"/proc/self/fd/{descriptor}/{path.name}", descriptor


def unix_listener(path: Path) -> socket.socket:
    """A listening socket at a path, which nobody else may open; what a dead process left there goes."""
    path.unlink(missing_ok=True)
    name, descriptor = unix_address(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        old = os.umask(0o177)
        try:
            listener.bind(name)
        finally:
            os.umask(old)
        listener.listen(128)
    except BaseException:
        listener.close()
        raise
    finally:
        os.close(descriptor)
    return listener
