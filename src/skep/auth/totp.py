"""One-time codes by time (RFC 6238) over HMAC-SHA-1 (RFC 4226): what every authenticator app makes.

Pure. A code is good in its own step of 30 s and one before and after it, for clocks that differ; a
step that was used, and every earlier one, is good no more (RFC 6238 section 5.2).
"""

from __future__ import annotations

import base64
import hmac
from typing import Final
from urllib.parse import quote

STEP_S: Final = 30
DIGITS: Final = 6
SECRET_BYTES: Final = 20
_DRIFT_STEPS: Final = 1


def step_at(now_us: int) -> int:
    """The number of the time step at a time (microseconds since 1970)."""
    return now_us // (STEP_S * 1_000_000)


def code_of(secret: bytes, step: int) -> str:
    """The six digits of a step (RFC 4226 section 5.3)."""
    mac = hmac.digest(secret, step.to_bytes(8, "big"), "sha1")
    offset = mac[-1] & 15
    number = int.from_bytes(mac[offset : offset + 4], "big") & 0x7FFF_FFFF
    return f"{number % 10**DIGITS:0{DIGITS}d}"


def matching_step(secret: bytes, code: str, *, now_us: int, used_step: int) -> int | None:
    """The step that a code is of, if it is near now and after ``used_step``; None: the code is no good."""
    now = step_at(now_us)
    found = None
    for step in range(max(0, now - _DRIFT_STEPS), max(0, now + _DRIFT_STEPS + 1)):
        same = hmac.compare_digest(code_of(secret, step).encode(), code.encode("utf-8", "replace"))
        if same and step > used_step:
            found = step
    return found


def secret_text(secret: bytes) -> str:
    """The secret as people type it into an app: base32 without padding."""
    return base64.b32encode(secret).decode().rstrip("=")


def key_uri(secret: bytes, *, issuer: str, account: str) -> str:
    """The ``otpauth:`` URI that apps read from a QR code."""
    label = f"{quote(issuer, safe='')}:{quote(account, safe='')}"
    asked = f"secret={secret_text(secret)}&issuer={quote(issuer, safe='')}&algorithm=SHA1"
    return f"otpauth://totp/{label}?{asked}&digits={DIGITS}&period={STEP_S}"
