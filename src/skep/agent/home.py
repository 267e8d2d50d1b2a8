"""An agent's directory: who it is at each hive, and the shards.

    ~/skep-space/
      skep-agent.json                 that this is an agent's directory
      lock                            held by the running agent
      control.sock                    by which `skep agent status` asks it
      hives/<hive id>/
        link.json                     the hive's address, id and key; our id and name; the share
        key                           our Ed25519 private key for this hive, mode 0600
        store/                        a directory store (docs/formats/fs-store.md)
          skep-generation.json        the number that the hive told us to write down last

Files are replaced as a whole and synced. A directory that holds other things is refused, so that nobody's files are
mixed with shards.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

import msgspec

from skep.base.errors import Conflict, CorruptRecord, DataDirectoryInUse, InvalidId, LocalFailure
from skep.base.ids import Id, id_text, parse_id
from skep.crypto.signatures import SigningKey

MARKER = "skep-agent.json"
_VERSION = 1
_FILE_MAX_BYTES = 64 << 10
R = TypeVar("R", bound=msgspec.Struct)


class _Marker(msgspec.Struct, frozen=True):
    format: str = "skep-agent"
    version: int = _VERSION


class _Generation(msgspec.Struct, frozen=True):
    generation: int
    format: str = "skep-generation"
    version: int = _VERSION


class HiveLink(msgspec.Struct, frozen=True, kw_only=True):
    """What the agent knows of one hive, and who it is there."""

    url: str
    hive_id: str
    hive_key: str
    """The hive's Ed25519 public key, base64url."""
    agent_id: str
    name: str
    share_bytes: int | None
    format: str = "skep-agent-link"
    version: int = _VERSION

    @property
    def hive(self) -> Id:
        """The hive's id."""
        return parse_id(self.hive_id)

    @property
    def agent(self) -> Id:
        """Our id there."""
        return parse_id(self.agent_id)

    @property
    def hive_key_raw(self) -> bytes:
        """The 32 bytes of the hive's key."""
        return base64.urlsafe_b64decode(self.hive_key + "=" * (-len(self.hive_key) % 4))


class AgentHome:
    """The directory and what is in it."""

    def __init__(self, space: Path) -> None:
        self.space = space

    @property
    def control_path(self) -> Path:
        """The control socket."""
        return self.space / "control.sock"

    def prepare(self) -> None:
        """Make an existing empty directory an agent's, or recognise one.

        Raises LocalFailure when there is no such directory, or it holds something else.
        """
        if not self.space.is_dir():
            raise LocalFailure(f"the directory {self.space} does not exist: make it, or mount its disk")
        try:
            if (self.space / MARKER).exists():
                _read(self.space / MARKER, _Marker)
            elif any(name != "lost+found" for name in os.listdir(self.space)):
                raise LocalFailure(f"{self.space} is not empty and not an agent's: give an empty directory")
            else:
                _write(self.space / MARKER, _Marker())
            (self.space / "hives").mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise LocalFailure(f"{self.space} cannot be used: {error.strerror}") from None

    def is_prepared(self) -> bool:
        """Whether this is an agent's directory."""
        return (self.space / MARKER).exists()

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the directory. Raises DataDirectoryInUse while another agent runs in it."""
        fd = os.open(self.space / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise DataDirectoryInUse(f"an agent runs in {self.space} already") from None
            yield
        finally:
            os.close(fd)

    def links(self) -> list[HiveLink]:
        """The hives that this agent is enrolled at. Raises CorruptRecord."""
        found = []
        for path in sorted((self.space / "hives").glob("*/link.json")):
            link = _read(path, HiveLink)
            if path.parent.name != link.hive_id:
                raise CorruptRecord(f"{path} is of another hive: it was moved there")
            found.append(link)
        return found

    def link_to(self, url: str) -> HiveLink | None:
        """The link to the hive at an address, if there is one."""
        return next((link for link in self.links() if link.url == url), None)

    def _place(self, hive_id: Id) -> Path:
        return self.space / "hives" / id_text(hive_id)

    def keep(self, link: HiveLink, key: SigningKey) -> None:
        """Remember a hive that took us in. Raises Conflict when this directory is enrolled there already."""
        place = self._place(link.hive)
        if (place / "link.json").exists():
            raise Conflict(f"{self.space} is enrolled at this hive already: `leave` it first, or use another directory")
        place.mkdir(mode=0o700, exist_ok=True)
        seed = base64.b64encode(key.seed()) + b"\n"
        _write_bytes(place / "key", seed, 0o600)
        _write(place / "link.json", link)
        with contextlib.suppress(FileNotFoundError):
            (self.space / "enrolling").unlink()

    def enrolling_key(self) -> SigningKey:
        """The key for the next enrolment, kept until it is known to be over: its answer may have been lost."""
        path = self.space / "enrolling"
        try:
            return SigningKey(base64.b64decode(path.read_bytes().strip(), validate=True))
        except (OSError, ValueError):
            key = SigningKey.generate()
            _write_bytes(path, base64.b64encode(key.seed()) + b"\n", 0o600)
            return key

    def change(self, link: HiveLink) -> None:
        """Replace what is known of a hive."""
        _write(self._place(link.hive) / "link.json", link)

    def key_of(self, link: HiveLink) -> SigningKey:
        """Our key at a hive. Raises CorruptRecord, LocalFailure."""
        path = self._place(link.hive) / "key"
        try:
            if path.stat().st_mode & 0o077:
                raise LocalFailure(f"{path} can be read by others: chmod 600 it, and think about who did")
            return SigningKey(base64.b64decode(path.read_bytes().strip(), validate=True))
        except OSError as error:
            raise LocalFailure(f"{path} cannot be read: {error.strerror}") from None
        except ValueError:
            raise CorruptRecord(f"{path} is damaged: enrol this computer anew") from None

    def store_url(self, link: HiveLink) -> str:
        """The URL of the directory store for a hive's shards."""
        place = quote(str(self._place(link.hive) / "store"))
        return f"fs://{place}" if link.share_bytes is None else f"fs://{place}?capacity={link.share_bytes}"

    def generation(self, link: HiveLink) -> int:
        """The number written down last; 0 when there is none. Raises CorruptRecord."""
        path = self._place(link.hive) / "store" / "skep-generation.json"
        return _read(path, _Generation).generation if path.exists() else 0

    def set_generation(self, link: HiveLink, generation: int) -> None:
        """Write a number down, durably."""
        place = self._place(link.hive) / "store"
        place.mkdir(mode=0o700, exist_ok=True)
        _write(place / "skep-generation.json", _Generation(generation))

    def forget(self, link: HiveLink) -> None:
        """Remove a hive that let us go, with its shards."""
        shutil.rmtree(self._place(link.hive), ignore_errors=True)


def _read(path: Path, kind: type[R]) -> R:
    """A JSON record of ours. Raises CorruptRecord, LocalFailure."""
    try:
        with path.open("rb") as file:
            record = msgspec.json.decode(file.read(_FILE_MAX_BYTES), type=kind)
    except OSError as error:
        raise LocalFailure(f"{path} cannot be read: {error.strerror}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, InvalidId):
        raise CorruptRecord(f"{path} is damaged: restore it, or enrol this computer anew") from None
    expected = {field.name: field.default for field in msgspec.structs.fields(kind)}
    if getattr(record, "format", None) != expected["format"]:
        raise CorruptRecord(f"{path} is not what its name says")
    if getattr(record, "version", 0) > _VERSION:
        raise CorruptRecord(f"{path} was written by a newer agent: install that one")
    return record


def _write(path: Path, record: msgspec.Struct) -> None:
    _write_bytes(path, msgspec.json.format(msgspec.json.encode(record)) + b"\n", 0o600)


def _write_bytes(path: Path, content: bytes, mode: int) -> None:
    """Replace a file as a whole, durably. Raises LocalFailure."""
    temporary = path.with_name(f".{path.name}.new")
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
        with os.fdopen(fd, "wb") as file:
            os.fchmod(fd, mode)
            file.write(content)
            file.flush()
            os.fsync(fd)
        os.replace(temporary, path)
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        raise LocalFailure(f"{path} cannot be written: {error.strerror}") from None
