"""The rules that one hive's auth follows; most come from the ``[auth]`` section of the settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from skep.base.settings import AuthSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthRules:
    """Durations in seconds; each has a safe default."""

    registration: Literal["open", "closed", "invite"] = "closed"
    issuer: str = "skep"
    audience: str = "skep"
    access_token_s: float = 900
    refresh_token_s: float = 30 * 86_400
    refresh_grace_s: float = 30
    """How long a refresh token that was just used still answers, for those whose answer got lost."""
    clock_leeway_s: float = 30
    verdict_cache_s: float = 60
    """How long a checked credential is believed without asking the database again."""
    key_rotation_s: float = 90 * 86_400
    password_length_min: int = 10
    argon2_memory_bytes: int = 19 * 2**20
    argon2_passes: int = 2
    argon2_at_once: int = 2
    argon2_queue_max: int = 64
    """Password checks that may wait for a thread; the next one is told to come back later."""
    login_attempts_max: int = 10
    """Wrong passwords for one name in ``login_window_s``; one client address has six times as many."""
    login_window_s: float = 300
    invite_s: float = 7 * 86_400
    second_factor: Literal["optional", "administrators", "everyone"] = "optional"
    """Who can do no more than care for their account until they have a second factor."""
    verified_email_to_write: bool = False
    """Whether nobody writes before letters have reached them."""
    public_url: str = ""
    """Where the hive is reached: what passkeys are bound to, and where links lead that are sent out."""
    sends_mail: bool = False
    deletion_grace_s: float = 30 * 86_400
    """How long an account that somebody gives up can be brought back."""
    audit_s: float = 0
    """How long entries of the audit log are kept; 0: for ever."""

    @classmethod
    def from_settings(
        cls, settings: AuthSettings, *, issuer: str = "skep", public_url: str = "", sends_mail: bool = False
    ) -> AuthRules:
        """The rules that an operator's settings make; ``issuer`` names the hive in its tokens."""
        return cls(
            registration=settings.registration,
            issuer=issuer,
            audience=issuer,
            public_url=public_url.rstrip("/"),
            sends_mail=sends_mail,
            deletion_grace_s=settings.deletion_grace_s,
            second_factor=settings.second_factor,
            verified_email_to_write=settings.verified_email_to_write,
            access_token_s=settings.access_token_s,
            refresh_token_s=settings.refresh_token_s,
            verdict_cache_s=settings.verdict_cache_s,
            password_length_min=settings.password_length_min,
            argon2_memory_bytes=settings.argon2_memory_bytes,
            argon2_passes=settings.argon2_passes,
            argon2_at_once=settings.argon2_at_once,
            login_attempts_max=settings.login_attempts_max,
            login_window_s=settings.login_window_s,
            invite_s=settings.invite_s,
            audit_s=settings.audit_days * 86_400,
        )
