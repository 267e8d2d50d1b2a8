"""POST policies: what a form may upload, signed by whoever gave the form out.

https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-HTTPPOSTConstructPolicy.html. What always holds: every field of
the form is named by a condition of the policy and fulfils it, but for the signature, the policy and the file.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from skep.frontends.s3.dates import parse_iso_date
from skep.frontends.s3.errors import Refusal

_FREE = frozenset({"policy", "x-amz-signature", "file"})
CONDITIONS_MAX = 200


@dataclass(frozen=True, slots=True)
class Policy:
    """What a policy demands."""

    expires_us: int
    equal: Mapping[str, str]
    starts: Mapping[str, Sequence[str]]
    length: tuple[int, int] | None = None
    """The fewest and most bytes of the file."""
    named: frozenset[str] = field(default=frozenset())

    def check(self, fields: Mapping[str, str], bucket: str, now_us: int) -> None:
        """Raise Refusal unless a form's fields (names in lower case) fulfil the policy."""
        if now_us > self.expires_us:
            raise denied("Policy expired.")
        values = {**fields, "bucket": bucket}
        for name in values:
            if name not in self.named and name not in _FREE and not name.startswith("x-ignore-") and name != "bucket":
                raise denied(f"Extra input fields: {name[:64]}")
        for name, wanted in self.equal.items():
            if values.get(name, "") != wanted:
                raise denied(f'Policy Condition failed: ["eq", "${name[:64]}"]')
        for name, prefixes in self.starts.items():
            if not all(values.get(name, "").startswith(prefix) for prefix in prefixes):
                raise denied(f'Policy Condition failed: ["starts-with", "${name[:64]}"]')

    def check_length(self, size_bytes: int) -> None:
        """Raise Refusal for a file that is too long or too short."""
        if self.length is None:
            return
        if size_bytes > self.length[1]:
            raise Refusal("EntityTooLarge", "Your proposed upload exceeds the maximum allowed size")
        if size_bytes < self.length[0]:
            raise Refusal("EntityTooSmall", "Your proposed upload is smaller than the minimum allowed size")


def denied(why: str) -> Refusal:
    """The refusal of a form that its policy does not allow."""
    return Refusal("AccessDenied", f"Invalid according to Policy: {why}")


def parse_policy(text: str) -> Policy:
    """The policy in a form's field. Raises Refusal."""
    try:
        loaded = msgspec.json.decode(base64.b64decode(text, validate=True))
        expires_us = parse_iso_date(loaded["expiration"])
        conditions = loaded["conditions"]
        if expires_us is None or not isinstance(conditions, list) or len(conditions) > CONDITIONS_MAX:
            raise ValueError
        return _gathered(expires_us, conditions)
    except (binascii.Error, ValueError, KeyError, TypeError, AttributeError, msgspec.DecodeError):
        raise Refusal("InvalidPolicyDocument", "Invalid Policy: it does not parse.") from None


def _gathered(expires_us: int, conditions: Sequence[Any]) -> Policy:
    equal: dict[str, str] = {}
    starts: dict[str, list[str]] = {}
    length: tuple[int, int] | None = None
    for one in conditions:
        if isinstance(one, dict):
            for name, value in one.items():
                _demand(equal, name.lower(), _text(value))
            continue
        kind, first, second = one
        if kind == "content-length-range":
            least, most = length or (int(first), int(second))
            length = (max(least, int(first)), min(most, int(second)))
            continue
        if not first.startswith("$"):
            raise ValueError
        name = first[1:].lower()
        if kind == "eq":
            _demand(equal, name, _text(second))
        elif kind == "starts-with":
            starts.setdefault(name, []).append(_text(second))
        else:
            raise ValueError
    return Policy(expires_us, equal, starts, length, frozenset((*equal, *starts)))


def _demand(equal: dict[str, str], name: str, value: str) -> None:
    """All conditions hold together: two values for one field can never be met, so such a policy is none."""
    if equal.setdefault(name, value) != value:
        raise ValueError(name)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value
