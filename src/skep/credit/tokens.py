"""Anonymous tokens: accounts without a person. A token is there as soon as it is thought of, and has nothing.

What a token is made of: 12 random bytes as a number, in base 62, the least digit first, cut to 16 digits: some 95 bits
that cannot be guessed. Only the hash of one that was given something is kept.
"""

from __future__ import annotations

from typing import Final

from skep.base.chance import random_bytes

DIGITS: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
LENGTH: Final = 16


def new_token() -> str:
    """A token that nobody else has."""
    return token_of(random_bytes(12))


def token_of(raw: bytes) -> str:
    """The token of 12 bytes."""
    number, digits = int.from_bytes(raw, "big"), []
    for _ in range(LENGTH):
        number, digit = divmod(number, len(DIGITS))
        digits.append(DIGITS[digit])
    return "".join(digits)
