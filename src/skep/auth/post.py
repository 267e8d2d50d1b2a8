"""Sending letters: over SMTP (RFC 5321) with TLS, or into a directory of the hive while one develops.

``smtp://user@host:587`` upgrades to TLS before anything secret is said (STARTTLS, needed unless the host is this
machine); ``smtps://user@host:465`` begins with it; ``catch-all`` sends nothing and keeps each letter as a file.
"""

from __future__ import annotations

import contextlib
import os
import smtplib
import ssl
from collections.abc import Callable
from email.message import EmailMessage
from email.policy import SMTPUTF8
from email.utils import format_datetime
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import unquote, urlsplit

from skep.auth.outbox import Letter
from skep.base.errors import InvalidSetting

TIMEOUT_S: Final = 20.0
KEPT_MAX: Final = 200
CATCH_ALL: Final = "catch-all"
_HERE: Final = ("localhost", "127.0.0.1", "::1")


class NeverTaken(Exception):
    """The server says that it will never take this letter."""


class Postman(Protocol):
    """Carries one letter, in a thread. Raises NeverTaken, or OSError and smtplib.SMTPException to try again."""

    def __call__(self, letter: Letter, message_id: str) -> None: ...


def postman_of(url: str, sender: str, password: str, kept: Path, now: Callable[[], float]) -> Postman | None:
    """Who carries letters as the settings say; None: nobody. ``now``: seconds since 1970. Raises InvalidSetting."""
    if not url:
        return None
    if url == CATCH_ALL:
        return CatchAll(kept, sender or "hive@localhost", now)
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise InvalidSetting("mail.url has no port that is a number") from None
    if parts.scheme not in ("smtp", "smtps") or not parts.hostname:
        raise InvalidSetting('mail.url is smtp://[user@]host[:port], smtps://…, "catch-all" or empty')
    if not sender:
        raise InvalidSetting("mail.sender is needed beside mail.url: the address that letters come from")
    return Smtp(parts.hostname, port, unquote(parts.username or ""), password, sender, now, parts.scheme == "smtps")


def message_of(letter: Letter, sender: str, message_id: str, now_s: float) -> EmailMessage:
    """The letter as RFC 5322 wants it. Raises NeverTaken for an address that is none."""
    from datetime import UTC, datetime

    message = EmailMessage(policy=SMTPUTF8)
    try:
        message["From"], message["To"], message["Subject"] = sender, letter.to, letter.subject
    except (ValueError, IndexError):  # a line break, or what the library cannot parse
        raise NeverTaken("the address is none that a letter can have") from None
    message["Date"] = format_datetime(datetime.fromtimestamp(now_s, UTC))
    message["Message-ID"] = f"<{message_id}@{sender.rpartition('@')[2].rstrip('>') or 'hive'}>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(letter.text)
    return message


class Smtp:
    """A mail server."""

    def __init__(
        self, host: str, port: int | None, user: str, password: str, sender: str, now: Callable[[], float], tls: bool
    ) -> None:
        self._host, self._port = host, port or (465 if tls else 587)
        self._user, self._password, self._sender = user, password, sender
        self._now, self._tls = now, tls

    def __call__(self, letter: Letter, message_id: str) -> None:
        message = message_of(letter, self._sender, message_id, self._now())
        trust = ssl.create_default_context()
        opened = (
            smtplib.SMTP_SSL(self._host, self._port, timeout=TIMEOUT_S, context=trust)
            if self._tls
            else smtplib.SMTP(self._host, self._port, timeout=TIMEOUT_S)
        )
        with opened as server:
            if not self._tls and (self._host not in _HERE or server.has_extn("starttls")):
                server.starttls(context=trust)
            if self._user:
                server.login(self._user, self._password)
            try:
                server.send_message(message)
            except smtplib.SMTPRecipientsRefused as refused:
                if all(500 <= code < 600 for code, _ in refused.recipients.values()):
                    raise NeverTaken("the server does not know the address") from None
                raise
            except smtplib.SMTPNotSupportedError:
                raise NeverTaken("the server takes no such address") from None


class CatchAll:
    """Sends nothing: the newest letters are files that only the hive's user reads."""

    def __init__(self, kept: Path, sender: str, now: Callable[[], float]) -> None:
        self._kept, self._sender, self._now = kept, sender, now

    def __call__(self, letter: Letter, message_id: str) -> None:
        message = message_of(letter, self._sender, message_id, self._now())
        self._kept.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(self._kept / f"{message_id}.eml", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(bytes(message))
        for old in sorted(self._kept.glob("*.eml"))[:-KEPT_MAX]:
            with contextlib.suppress(FileNotFoundError):
                old.unlink()
