"""Logging in without typing a password here (RFC 8628): a code that its user allows in a browser, on any device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from skep.base.clock import Clock, SystemClock
from skep.base.errors import BadInput, Forbidden, SkepError, TimedOut, Unavailable
from skep.client.calls import Caller, read_json
from skep.client.sessions import Tokens

CLIENT = "skep-cli"
GRANT = "urn:ietf:params:oauth:grant-type:device_code"
INTERVAL_MAX_S = 60.0


@dataclass(frozen=True, slots=True)
class DeviceCode:
    """What to show: a code, and where to type it. ``link`` has the code in it already."""

    device_code: str
    user_code: str
    where: str
    link: str
    lasts_s: float
    interval_s: float


class DeviceLogin:
    """The two calls of it. Raises what the hive answers, as its SkepError class."""

    def __init__(self, caller: Caller, clock: Clock | None = None) -> None:
        self._caller = caller
        self._clock = clock or SystemClock()

    def begin(self) -> DeviceCode:
        """Ask for a code."""
        raw = self._form("/oauth/device_authorization", {"client_id": CLIENT})
        return DeviceCode(
            device_code=raw["device_code"],
            user_code=raw["user_code"],
            where=raw["verification_uri"],
            link=raw.get("verification_uri_complete", raw["verification_uri"]),
            lasts_s=float(raw["expires_in"]),
            interval_s=min(INTERVAL_MAX_S, float(raw.get("interval", 5))),
        )

    def wait(self, code: DeviceCode) -> Tokens:
        """Ask until it is allowed. Raises Forbidden (the user said no), TimedOut."""
        interval_s, until_s = code.interval_s, self._clock.monotonic_s() + code.lasts_s
        while self._clock.monotonic_s() < until_s:
            self._caller.cancel.pause(interval_s)
            try:
                return self._tokens(self._form("/oauth/token", self._asked(code)))
            except Unavailable:
                continue  # the hive may be restarting; then the code is not known any more
            except (BadInput, SkepError) as error:
                match error.details.get("error"):
                    case "authorization_pending":
                        continue
                    case "slow_down":
                        interval_s = min(INTERVAL_MAX_S, interval_s + 5)
                    case "access_denied":
                        raise Forbidden("the login was denied in the browser") from None
                    case "expired_token":
                        break
                    case _:
                        raise
        raise TimedOut("the code was not allowed in time: begin again")

    def _asked(self, code: DeviceCode) -> dict[str, str]:
        return {"grant_type": GRANT, "device_code": code.device_code, "client_id": CLIENT}

    def _form(self, path: str, fields: dict[str, str]) -> Any:
        headers = {"Accept": "application/json", "Content-Type": "application/x-www-form-urlencoded"}
        return read_json(self._caller.open("POST", path, headers=headers, body=urlencode(fields).encode()))

    def _tokens(self, raw: dict[str, Any]) -> Tokens:
        now_s = self._clock.now_us() / 1e6
        return Tokens(
            access_token=raw["access_token"],
            access_expires_s=now_s + float(raw["expires_in"]),
            refresh_token=raw["refresh_token"],
            refresh_expires_s=now_s + float(raw["refresh_expires_in"]),
        )
