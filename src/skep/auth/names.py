"""Names of users and groups, e-mail addresses, full names: what is allowed and how it is compared.

A user's name and e-mail are both login names; a name never has an ``@``, so the two cannot meet.
What is compared (the key) is NFC of the case-folded NFC text; compatibility characters, which
look like others, are refused in names.
"""

from __future__ import annotations

import re
import unicodedata

from skep.base.errors import InvalidName

NAME_LENGTH = 64
EMAIL_LENGTH = 254
FULL_NAME_LENGTH = 200
LOGIN_LENGTH = EMAIL_LENGTH

_USER_NAME = re.compile(r"[^\W_](?:[\w.-]*\w)?")
_GROUP_NAME = re.compile(r"[^\W_](?:[\w.\- ]*\w)?")
_LOCAL_PART = re.compile(r"[^\s@\"(),:;<>\[\]\\]{1,64}")
_LABEL = re.compile(r"[^\W_](?:[\w-]{0,61}[^\W_])?")


def key_of(text: str) -> str:
    """What stands for a name or an e-mail address in comparisons."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())


def login_key(name: str) -> str:
    """What to look a login name up by; text that can be nobody's becomes the empty name, which nobody has."""
    return key_of(name) if len(name) <= LOGIN_LENGTH and name.isprintable() else ""


def user_name(text: str) -> str:
    """A user's name, normalised: 1-64 letters, digits, ``.``, ``_``, ``-``; begins and ends with a letter or digit.

    Raises InvalidName.
    """
    return _name(text, _USER_NAME, "user", "letters, digits, '.', '_' and '-'")


def group_name(text: str) -> str:
    """A group's name, normalised: like a user's, with inner spaces. Raises InvalidName."""
    return _name(text, _GROUP_NAME, "group", "letters, digits, spaces, '.', '_' and '-'")


def _name(text: str, shape: re.Pattern[str], kind: str, allowed: str) -> str:
    name = unicodedata.normalize("NFC", text)
    if unicodedata.normalize("NFKC", name) != name:
        raise InvalidName(f"{kind} name {name[:NAME_LENGTH]!r} has look-alike characters: use the plain ones")
    if len(name) > NAME_LENGTH or not shape.fullmatch(name) or len(key_of(name)) > 4 * NAME_LENGTH - 1:
        raise InvalidName(
            f"{name[:NAME_LENGTH]!r} is not a {kind} name: use 1 to {NAME_LENGTH} {allowed},"
            " with a letter or digit at both ends"
        )
    return name


def email_address(text: str) -> str:
    """An e-mail address, normalised; empty stays empty (no address). Raises InvalidName.

    Only the shape is checked (one ``@``, a dotted domain or a bare host), not that mail arrives.
    """
    address = unicodedata.normalize("NFC", text.strip())
    if not address:
        return ""
    local, at, domain = address.rpartition("@")
    labels = domain.split(".")
    good = at and _LOCAL_PART.fullmatch(local) and all(_LABEL.fullmatch(label) for label in labels)
    if len(address) > EMAIL_LENGTH or not good or not address.isprintable():
        raise InvalidName(f"{address[:EMAIL_LENGTH]!r} is not an e-mail address: give one like name@example.org")
    return address


def full_name(text: str) -> str:
    """A person's name: spaces folded, and capitalised where it was typed all in one case.

    ``ada lovelace`` and ``ADA LOVELACE`` become ``Ada Lovelace``; ``Ludwig van Beethoven`` and
    ``Mary McDonald`` were typed with care and stay. Raises InvalidName for control characters.
    """
    name = " ".join(unicodedata.normalize("NFC", text).split())
    if len(name) > FULL_NAME_LENGTH or not name.isprintable():
        raise InvalidName(f"a full name has at most {FULL_NAME_LENGTH} printable characters")
    if name in (name.lower(), name.upper()):
        return re.sub(r"[^\s-]+", lambda word: word[0].capitalize(), name)
    return name
