"""Store URLs: ``scheme:rest?option=value``. They are stored and shown, so a secret never stands in one."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote, urlsplit

from skep.base.errors import InvalidSize, InvalidStoreUrl
from skep.base.sizes import parse_size

URL_MAX_CHARACTERS = 2_000
_USERINFO = re.compile(r"://[^/?#]*@")
_SECRET_WORDS = (
    "secret",
    "password",
    "passwd",
    "token",
    "credential",
    "apikey",
    "api_key",
    "access_key",
    "private_key",
)


@dataclass(frozen=True, slots=True)
class StoreUrl:
    """A store URL in its parts, percent-decoded, known to hold no secret."""

    text: str
    scheme: str
    host: str
    path: str
    options: Mapping[str, str]
    user: str = ""
    """Who logs in, where a scheme has that: ``webdav+https://user@host``. Never with a password."""

    def refuse_unknown_options(self, known: Collection[str]) -> None:
        """Raises InvalidStoreUrl, naming the nearest known option."""
        for name in self.options:
            if name not in known:
                raise InvalidStoreUrl(f"{self.scheme} stores have no option {name!r}{nearest(name, known)}")

    def size_option(self, name: str) -> int | None:
        """A byte count such as ``capacity=10GB``, or None when it is not given. Raises InvalidStoreUrl."""
        text = self.options.get(name)
        if text is None:
            return None
        try:
            size_bytes = parse_size(text)
        except InvalidSize as error:
            raise InvalidStoreUrl(f"option {name} of {self.text}: {error.message}") from None
        if size_bytes == 0:
            raise InvalidStoreUrl(f"option {name} of {self.text} is zero: leave it out for no limit")
        return size_bytes


def nearest(name: str, known: Collection[str]) -> str:
    """The end of an error message: the nearest known name, or all of them."""
    close = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.5)
    if close:
        return f": did you mean {close[0]!r}?"
    return f": known are {', '.join(sorted(known))}" if known else ": it takes none"


def parse_store_url(text: str) -> StoreUrl:
    """Take a URL apart. Raises InvalidStoreUrl when it is no URL, names an option twice, or holds a secret."""
    if len(text) > URL_MAX_CHARACTERS or not text.isprintable() or text != text.strip() or ":" not in text:
        raise InvalidStoreUrl("this is not a store URL: write fs:///absolute/path or memory:")
    try:
        split = urlsplit(text)
        pairs = parse_qsl(split.query, keep_blank_values=True, strict_parsing=bool(split.query), max_num_fields=50)
    except ValueError:
        raise InvalidStoreUrl("this store URL does not parse: options are written ?name=value&name=value") from None
    _refuse_secrets(split.netloc, pairs)
    user, _, host = split.netloc.rpartition("@")
    if split.fragment:
        raise InvalidStoreUrl(f"{text!r} has a #fragment: write %23 for a # in a path")
    options = dict(pairs)
    if len(options) != len(pairs):
        raise InvalidStoreUrl(f"{text!r} names an option twice: keep one")
    return StoreUrl(text, split.scheme, unquote(host), unquote(split.path), options, unquote(user))


def _refuse_secrets(netloc: str, pairs: Collection[tuple[str, str]]) -> None:
    """The message never repeats the URL: it holds the secret."""
    if ":" in netloc.rpartition("@")[0]:
        raise InvalidStoreUrl("this store URL has a password before the @: leave it out and give it as the secret")
    for name, value in pairs:
        if _USERINFO.search(value):
            raise InvalidStoreUrl(
                f"this store URL has credentials before the @ of option {name!r}: give them as the secret"
            )
        if any(word in name.lower().replace("-", "_") for word in _SECRET_WORDS):
            raise InvalidStoreUrl(
                f"this store URL has a secret in option {name!r}: leave it out, give it as the secret"
            )
