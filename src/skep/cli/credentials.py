"""Who this user is at which hive: ``~/.config/skep/credentials.json``, readable by its owner alone.

    {"version": 1, "default": "http://127.0.0.1:8080",
     "hives": {"http://127.0.0.1:8080": {"user": "ann", "access_token": "…", "access_expires_s": 1.8e9,
                                         "refresh_token": "…", "refresh_expires_s": 1.8e9}}}

Always true: the file is replaced as a whole, under a lock that every program takes, with mode 0600
from the moment it exists.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from skep.base.errors import BadInput, Misconfigured, Unauthenticated
from skep.client.sessions import Tokens

VERSION = 1


@dataclass(frozen=True, slots=True)
class Login:
    """One hive that the user is logged in to."""

    url: str
    user: str
    tokens: Tokens
    sha256: str | None = None
    """The fingerprint of the certificate that the user trusted for this hive."""


@dataclass(frozen=True, slots=True)
class Logins:
    """All hives that the user is logged in to, and the one that commands mean."""

    default: str | None
    hives: Mapping[str, Login]


def credentials_path(environ: Mapping[str, str] | None = None) -> Path:
    """Where the logins are kept: under XDG_CONFIG_HOME, else ~/.config."""
    variables = os.environ if environ is None else environ
    home = variables.get("XDG_CONFIG_HOME") or str(Path(variables.get("HOME") or "~").expanduser() / ".config")
    return Path(home) / "skep" / "credentials.json"


class CredentialFile:
    """The file of logins."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> Logins:
        """What is saved; nothing when there is no file. Raises Misconfigured when it is not ours."""
        try:
            text = self.path.read_text("utf-8")
        except FileNotFoundError:
            return Logins(None, {})
        except OSError as error:
            raise Misconfigured(f"{self.path} cannot be read: {error.strerror}") from None
        try:
            document = json.loads(text)
            if document["version"] != VERSION:
                raise Misconfigured(f"{self.path} was written by a newer skep: update this one")
            hives = {url: _login(url, entry) for url, entry in document["hives"].items()}
            return Logins(document.get("default"), hives)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise Misconfigured(f"{self.path} is damaged: remove it and log in again") from None

    def chosen(self, hive: str | None = None) -> Login:
        """The login that a command means: of that hive, else of the default one.

        ``hive`` is a URL, or enough of one to tell it from the others. Raises Unauthenticated, BadInput.
        """
        logins = self.read()
        if not logins.hives:
            raise Unauthenticated("not logged in: run `skep login URL` first")
        if hive is None:
            if logins.default is not None and logins.default in logins.hives:
                return logins.hives[logins.default]
            return next(iter(logins.hives.values()))
        wanted = hive.rstrip("/")
        found = [login for url, login in logins.hives.items() if url == wanted]
        found = found or [login for url, login in logins.hives.items() if wanted in url]
        if len(found) == 1:
            return found[0]
        known = ", ".join(sorted(logins.hives))
        if found:
            raise BadInput(f"{hive!r} fits several hives: {known}")
        raise Unauthenticated(f"not logged in to {hive}: run `skep login {hive}`; known are {known}")

    def put(self, login: Login, *, default: bool = True) -> None:
        """Save a login, and make it the one that commands mean."""
        with self.locked():
            logins = self.read()
            hives = {**logins.hives, login.url: login}
            self._write(Logins(login.url if default or not logins.default else logins.default, hives))

    def remove(self, url: str) -> None:
        """Forget a login; the next one in order becomes the default."""
        with self.locked():
            logins = self.read()
            hives = {known: login for known, login in logins.hives.items() if known != url}
            default = logins.default if logins.default in hives else next(iter(hives), None)
            self._write(Logins(default, hives))

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other programs from changing the file meanwhile. Not reentrant."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(self.path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def replace_tokens(self, url: str, tokens: Tokens) -> None:
        """Keep new tokens of a login; to be called while ``locked``."""
        logins = self.read()
        if url in logins.hives:
            hives = {**logins.hives, url: dataclasses.replace(logins.hives[url], tokens=tokens)}
            self._write(Logins(logins.default, hives))

    def _write(self, logins: Logins) -> None:
        document = {
            "version": VERSION,
            "default": logins.default,
            "hives": {url: _entry(login) for url, login in logins.hives.items()},
        }
        handle, name = tempfile.mkstemp(prefix=".credentials.", dir=self.path.parent)  # mode 0600
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(document, file, indent=1)
                file.flush()
                os.fsync(file.fileno())
            os.replace(name, self.path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)
            raise


class FileKeeper:
    """The tokens of one login, shared by all programs of the user."""

    def __init__(self, file: CredentialFile, url: str) -> None:
        self._file = file
        self._url = url

    def exclusive(self) -> contextlib.AbstractContextManager[None]:
        return self._file.locked()

    def load(self) -> Tokens | None:
        login = self._file.read().hives.get(self._url)
        return login.tokens if login else None

    def save(self, tokens: Tokens) -> None:
        self._file.replace_tokens(self._url, tokens)


def _entry(login: Login) -> dict[str, object]:
    pin = {} if login.sha256 is None else {"sha256": login.sha256}
    return {"user": login.user, **dataclasses.asdict(login.tokens), **pin}


def _login(url: str, entry: Mapping[str, object]) -> Login:
    tokens = Tokens(
        access_token=str(entry["access_token"]),
        access_expires_s=float(str(entry["access_expires_s"])),
        refresh_token=str(entry["refresh_token"]),
        refresh_expires_s=float(str(entry["refresh_expires_s"])),
    )
    pin = entry.get("sha256")
    return Login(url, str(entry["user"]), tokens, None if pin is None else str(pin))
