"""The error tree in SFTP's words. Version 3 has few of them; the message says the rest."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, TypeVar

from asyncssh import SFTPError, SFTPFailure, SFTPNoSuchFile, SFTPOpUnsupported, SFTPPermissionDenied

from skep.base.errors import Denied, NotFound, SkepError
from skep.base.logs import get_logger

log = get_logger("skep.sftp")

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")


def sftp_error(error: SkepError) -> SFTPError:
    """The answer to a failure."""
    match error:
        case NotFound():
            return SFTPNoSuchFile(error.message)
        case Denied():
            return SFTPPermissionDenied(error.message)
        case _:
            return SFTPFailure(error.message)


def answered(
    work: Callable[Concatenate[S, P], Coroutine[Any, Any, R]],
) -> Callable[Concatenate[S, P], Coroutine[Any, Any, R]]:
    """Every failure of an operation becomes an answer; a bug is logged and tells nothing."""

    @functools.wraps(work)
    async def outer(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return await work(self, *args, **kwargs)
        except SkepError as error:
            raise sftp_error(error) from None
        except SFTPError:
            raise
        except Exception:
            log.exception("bug", operation=work.__name__)
            raise SFTPFailure("the hive failed; its log has more") from None

    return outer


def unsupported(what: str) -> SFTPError:
    """The answer to what a hive has no notion of."""
    return SFTPOpUnsupported(f"a hive has no {what}")
