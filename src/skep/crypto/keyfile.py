"""The master key as a file: one line of text, readable by its owner only."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from skep.base.errors import KeyMissing, Misconfigured

_OTHERS = 0o077
_SIZE_MAX_BYTES = 4096


def read_key_text(path: Path) -> str:
    """The text of a master key file.

    Raises KeyMissing when the file is not there or not readable, Misconfigured when others may
    read it.
    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read(_SIZE_MAX_BYTES)
    except OSError as error:
        raise KeyMissing(
            f"the master key file {path} cannot be read ({error.strerror}): restore it from its backup, "
            "or set keys.master_key_file"
        ) from None
    if os.name == "posix" and mode & _OTHERS:
        raise Misconfigured(
            f"the master key file {path} is open to others (mode {mode & 0o777:04o}): run chmod 600 {path}"
        )
    return content.decode("utf-8", "replace")


def write_key_text(path: Path, text: str) -> None:
    """Write the text of a master key to a new file of mode 0600, durably and all or nothing.

    Raises Misconfigured when a file is there already (a key is never overwritten) or the
    directory takes none.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        _write_new(temporary, text.encode() + b"\n")
        try:
            os.link(temporary, path)
        finally:
            temporary.unlink()
        _sync_directory(path.parent)
    except FileExistsError:
        raise Misconfigured(f"{path} is there already: a master key is never overwritten") from None
    except OSError as error:
        raise Misconfigured(f"the master key cannot be written to {path}: {error.strerror}") from None


def _write_new(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(descriptor)


def _sync_directory(path: Path) -> None:
    if os.name != "posix":
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
