"""Variables as folders: one file for each, its name the variable's and its content the value, as people edit them.

    env = EnvFolder(Path("/etc/quarry/env"), key, "global")
    env.set("API_KEY", "s3cret")        # sealed, when there is a key
    env.values()                        # {"API_KEY": "s3cret"}

A file that somebody wrote by hand is plain text, of which one line end at the end does not count; what ``set`` writes
is sealed under HQ's key and bound to the folder's scope and the variable's name, so that a sealed file that is moved to
another name does not open.
"""

from __future__ import annotations

import base64
import contextlib
import os
import re
import secrets
from collections.abc import Iterable
from pathlib import Path

from skep.base.errors import BadInput, CorruptRecord, KeyMissing, LocalFailure
from skep.crypto.hashing import derive_key
from skep.crypto.sealing import open_record, seal_record

VALUE_MAX_BYTES = 128 << 10
"""What Linux takes as one variable."""
VARIABLES_MAX = 2000
_SEALED = b"skep-sealed:1:"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,255}")
_CONTEXT = "skep deploy env 2026 sealed variables v1"


def checked_variable(name: str) -> str:
    """The name of a variable. Raises BadInput when a shell would not take it."""
    if not _NAME.fullmatch(name):
        raise BadInput(f"{name[:80]!r} is no name of a variable: letters, digits and underscores, no digit first")
    return name


class EnvFolder:
    """The variables of one scope: ``global``, or ``stack:NAME``. Calls touch the disk: use a thread."""

    def __init__(self, path: Path, key: bytes | None, scope: str) -> None:
        self._path = path
        self._key = None if key is None else derive_key(_CONTEXT, key)
        self._scope = scope

    def values(self) -> dict[str, str]:
        """All variables, by name. A folder that is not there has none.

        Raises CorruptRecord or KeyMissing when a sealed one does not open, BadInput when a value can be no variable,
        LocalFailure when a file cannot be read. Files whose names are no names of variables are passed over.
        """
        try:
            names = sorted(entry.name for entry in os.scandir(self._path) if entry.is_file())
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise LocalFailure(f"{self._path} cannot be read: {error.strerror}") from None
        found = {}
        for name in [name for name in names if _NAME.fullmatch(name)][:VARIABLES_MAX]:
            value = self.get(name)
            if value is not None:
                found[name] = value
        return found

    def get(self, name: str) -> str | None:
        """One variable; None when it is not there. Raises as ``values`` does."""
        path = self._path / checked_variable(name)
        try:
            with path.open("rb") as file:
                content = file.read(2 * VALUE_MAX_BYTES)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise LocalFailure(f"{path} cannot be read: {error.strerror}") from None
        plain = self._opened(name, content) if content.startswith(_SEALED) else content.removesuffix(b"\n")
        return _checked_value(name, plain)

    def _opened(self, name: str, content: bytes) -> bytes:
        if self._key is None:
            raise KeyMissing(f"the variable {name} ({self._scope}) is sealed, and HQ's key is not here")
        try:
            record = base64.b64decode(content.removeprefix(_SEALED).strip(), validate=True)
        except ValueError:
            raise CorruptRecord(f"the sealed variable {name} ({self._scope}) is damaged: set it again") from None
        return open_record(self._key, record, self._aad(name))

    def _aad(self, name: str) -> bytes:
        return f"{self._scope}\0{name}".encode()

    def set(self, name: str, value: str) -> None:
        """Set a variable, durably and atomically. Raises BadInput, LocalFailure."""
        path = self._path / checked_variable(name)
        plain = value.encode()
        _checked_value(name, plain)
        if self._key is not None:
            content = _SEALED + base64.b64encode(seal_record(self._key, plain, self._aad(name))) + b"\n"
        elif plain.startswith(_SEALED):
            raise BadInput(f"a value that begins with {_SEALED.decode()} can only be kept sealed: give HQ a key")
        else:
            content = plain + b"\n"
        self._write(path, content)

    def _write(self, path: Path, content: bytes) -> None:
        temporary = path.with_name(f".{secrets.token_hex(8)}")
        try:
            self._path.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(descriptor)
            temporary.replace(path)
            directory = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)
        except OSError as error:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise LocalFailure(f"{path} cannot be written: {error.strerror}") from None

    def unset(self, name: str) -> bool:
        """Forget a variable; whether it was there."""
        try:
            (self._path / checked_variable(name)).unlink()
        except FileNotFoundError:
            return False
        except OSError as error:
            raise LocalFailure(f"{self._path / name} cannot be removed: {error.strerror}") from None
        return True

    def inject(self, lines: Iterable[str], *, reset: bool = False) -> tuple[str, ...]:
        """Set what ``K=V`` lines say, which may hold further ``=``; with ``reset`` forget all others. The names set.

        Empty lines and those that begin with ``#`` are passed over. Raises BadInput before anything is set.
        """
        pairs: dict[str, str] = {}
        for line in lines:
            text = line.rstrip("\r\n")
            if not text.strip() or text.lstrip().startswith("#"):
                continue
            name, equals, value = text.partition("=")
            if not equals:
                raise BadInput(f"{text[:40]!r} is no NAME=VALUE")
            _checked_value(name, value.encode())
            pairs[checked_variable(name.strip())] = value
        for name, value in pairs.items():
            self.set(name, value)
        if reset:
            for name in self.values().keys() - pairs.keys():
                self.unset(name)
        return tuple(pairs)


def _checked_value(name: str, plain: bytes) -> str:
    if b"\0" in plain:
        raise BadInput(f"the value of {name} has a zero byte, which no variable can have")
    if len(plain) > VALUE_MAX_BYTES:
        raise BadInput(f"the value of {name} has {len(plain)} bytes; {VALUE_MAX_BYTES} is the most")
    try:
        return plain.decode()
    except UnicodeDecodeError:
        raise BadInput(f"the value of {name} is no UTF-8 text") from None
