"""The first administrator's password, kept beside the master key until somebody has seen it.

What always holds: it is in the file, durably, before the account is made; whoever shows it to a
person forgets it afterwards. A set-up that is cut short in between locks nobody out.
"""

from __future__ import annotations

import os
from pathlib import Path

FILE_NAME = "first-password"


def keep_first_password(data_dir: Path, password: str) -> None:
    """Write it to a file of mode 0600; one left by a run that made no account is replaced."""
    path = data_dir / FILE_NAME
    path.unlink(missing_ok=True)
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(file, password.encode() + b"\n")
        os.fsync(file)
    finally:
        os.close(file)


def first_password(data_dir: Path) -> str | None:
    """The password, if nobody has seen it yet."""
    try:
        return (data_dir / FILE_NAME).read_text().strip() or None
    except OSError:
        return None


def forget_first_password(data_dir: Path) -> None:
    """To be called when it was shown: it is kept nowhere from now on."""
    (data_dir / FILE_NAME).unlink(missing_ok=True)
