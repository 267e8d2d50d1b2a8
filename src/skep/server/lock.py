"""One hive process on one data directory: an advisory lock that the system drops with the process."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType

from skep.base.errors import DataDirectoryInUse, Misconfigured

LOCK_NAME = "skep.lock"


class DataDirectoryLock:
    """Holds a data directory from ``__enter__`` to ``__exit__``.

    Raises DataDirectoryInUse, naming the process, while another one holds it; Misconfigured when the
    directory is not there or takes no file.
    """

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / LOCK_NAME
        self._file: int | None = None

    def __enter__(self) -> DataDirectoryLock:
        try:
            file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise Misconfigured(
                f"The data directory {self._path.parent} cannot be used: {error.strerror}. `skep up` makes one."
            ) from None
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(file, 32, 0).decode("ascii", "replace").strip()
            os.close(file)
            raise DataDirectoryInUse(
                f"Another hive process{f' (pid {holder})' if holder else ''} uses {self._path.parent}: stop it first.",
                pid=holder,
            ) from None
        os.ftruncate(file, 0)
        os.pwrite(file, f"{os.getpid()}\n".encode(), 0)
        self._file = file
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None
