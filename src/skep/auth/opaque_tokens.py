"""The random secrets that auth gives out, and the hashes that it keeps of them.

All have at least 120 random bits, so a plain fast hash (BLAKE3) is enough to keep them.
"""

from __future__ import annotations

import base64
import re
from typing import Final

from skep.base.chance import random_bytes
from skep.crypto.hashing import digest, keyed_digest

_REFRESH_PREFIX: Final = "skr_"
_REFRESH_SHAPE = re.compile(r"skr_[A-Za-z0-9_-]{43}")
_INVITE_PREFIX: Final = "ski_"
LINK_PREFIX: Final = "skn_"
_LINK_SHAPE = re.compile(r"skn_[A-Za-z0-9_-]{27}")
_APP_PREFIX: Final = "skep"
_APP_ALPHABET: Final = "23456789abcdefghjkmnpqrstuvwxyz"  # 31 signs, none looks like another
_APP_GROUPS: Final = 5
_APP_GROUP_LENGTH: Final = 5
_SECRET_LENGTH_MAX: Final = 128
_SEPARATORS = re.compile(r"[\s-]+")


def new_refresh_token() -> str:
    """A refresh token: 32 random bytes."""
    return _text(_REFRESH_PREFIX, random_bytes(32))


def next_refresh_token(key: bytes, token: str) -> str:
    """The successor of a refresh token: 32 bytes of a keyed hash that only this hive can compute.

    The same token always has the same successor, so two requests with one token, and a client
    that asks again because its answer got lost, get the same answer, also after a restart.
    """
    return _text(_REFRESH_PREFIX, keyed_digest(key, token.encode()))


def is_refresh_token(text: str) -> bool:
    """Whether a text has the shape of a refresh token."""
    return _REFRESH_SHAPE.fullmatch(text) is not None


def new_invite_token() -> str:
    """An invite's token: 20 random bytes."""
    return _text(_INVITE_PREFIX, random_bytes(20))


def new_mail_token() -> str:
    """What a letter brings: 20 random bytes."""
    return _text("skm_", random_bytes(20))


def new_link_token() -> str:
    """The last part of a link's address: 20 random bytes."""
    return _text(LINK_PREFIX, random_bytes(20))


def is_link_token(text: str) -> bool:
    """Whether a text has the shape of a link's token."""
    return _LINK_SHAPE.fullmatch(text) is not None


def secret_hash(token: str) -> bytes:
    """What is stored for a refresh, invite or link token. Overlong text has a hash that matches nothing."""
    return digest(token[: _SECRET_LENGTH_MAX + 1].encode("utf-8", "surrogatepass"))


def new_app_password() -> str:
    """An app password that can be read out and typed: ``skep-xxxxx-xxxxx-xxxxx-xxxxx-xxxxx``, 123 bits."""
    return f"{_APP_PREFIX}-{readable_secret(_APP_GROUPS * _APP_GROUP_LENGTH)}"


def readable_secret(signs: int) -> str:
    """Random signs of which none looks like another, in groups of five: just under 5 bits each."""
    text = "".join(_APP_ALPHABET[value] for value in _uniform(len(_APP_ALPHABET), signs))
    return "-".join(text[start : start + _APP_GROUP_LENGTH] for start in range(0, signs, _APP_GROUP_LENGTH))


def app_password_hash(typed: str) -> bytes:
    """What is stored for an app password, however it is typed: case, spaces and dashes do not matter."""
    plain = _SEPARATORS.sub("", typed[: _SECRET_LENGTH_MAX + 1]).lower()
    return digest(plain.encode("utf-8", "surrogatepass"))


def _text(prefix: str, raw: bytes) -> str:
    return prefix + base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _uniform(bound: int, count: int) -> list[int]:
    """Random numbers below a bound of at most 256, each as likely as the others (by rejection)."""
    ceiling = 256 - 256 % bound
    found: list[int] = []
    while len(found) < count:
        found += [value % bound for value in random_bytes(count) if value < ceiling]
    return found[:count]
