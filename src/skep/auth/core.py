"""What all parts of ``Auth`` stand on: the database, the keys, the caches and who is asking.

What always holds:
- whatever makes a credential worthless (logout, suspension, a new password, another role) voids
  the cached verdicts of that user once its transaction is durable and before its caller goes on;
- a verdict is believed for at most ``verdict_cache_s``, which is how long another process on the
  same database may go on believing what this one has voided.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from skep.auth.access_keys import AccessGrant
from skep.auth.audit import NOBODY, Party, append, ensure_ends
from skep.auth.buckets import Buckets, Familiar
from skep.auth.demands import demanded
from skep.auth.factors import FactorKeys
from skep.auth.groups import groups_of
from skep.auth.hasher import Hasher
from skep.auth.hooks import DeletionHooks, RoomHooks, UserHooks
from skep.auth.keyring import RELOAD_S, RELOAD_UNKNOWN_S, Keyring, SigningKey, ensure_key, load_keyring
from skep.auth.provider_calls import ProviderCalls
from skep.auth.questions import AnyPasskey, Departure, PageSession, PasskeyTicket, Question
from skep.auth.records import GroupInfo, Principal, PrincipalKind, TokenPair, UserInfo
from skep.auth.rules import AuthRules
from skep.auth.scopes import ALL_SCOPES, effective_scopes
from skep.auth.sessions import SessionRow
from skep.auth.short_lived import ShortLived
from skep.auth.tokens import Claims, sign_token
from skep.auth.users import UserRow, find_user
from skep.auth.verdicts import Verdicts
from skep.base.chance import random_bytes
from skep.base.clock import Clock
from skep.base.errors import InvalidToken, Unavailable
from skep.base.ids import Id
from skep.crypto.hashing import derive_key
from skep.crypto.keys import HiveKeys
from skep.db import Database, Transaction
from skep.events import Tell, tell_nobody
from skep.events.records import AuditNoted

CODE_ATTEMPTS = 10
CODE_WINDOW_S = 900.0
"""So many wrong codes one user may send in this time, after a right password."""
QUESTION_S = 300.0
FAILURES_NOTED_MAX = 60
"""Wrong passwords that the audit log takes at once, and one more each second: it must not be a way to fill the disk."""

INTERNAL_ID: Id = bytes(16)


def internal_principal() -> Principal:
    """The hive itself, for workers, start-up and commands on the hive's own machine."""
    return Principal(INTERNAL_ID, "hive", True, frozenset(), ALL_SCOPES, "internal")


def principal_of(
    tx: Transaction, user: UserRow, scopes: frozenset[str], kind: PrincipalKind, session_id: Id | None = None
) -> Principal:
    """The principal that a proven credential makes of its user."""
    info = user.info
    effective = effective_scopes(scopes, is_admin=info.is_admin)
    return Principal(info.id, info.name, info.is_admin, groups_of(tx, info.id), effective, kind, session_id)


class AuthCore:
    """State shared by the parts of ``Auth``. Lives on one event loop."""

    def __init__(
        self,
        db: Database,
        keys: HiveKeys,
        clock: Clock,
        rules: AuthRules | None = None,
        *,
        hooks: UserHooks | None = None,
        deletion: DeletionHooks | None = None,
        rooms: RoomHooks | None = None,
    ) -> None:
        self._db = db
        self._clock = clock
        self._rules = rules = rules or AuthRules()
        self._hooks = hooks
        self._deletion = deletion
        self._rooms = rooms
        self._token_key = keys.token_key
        self._secrets_key = keys.secrets_key
        self._refresh_key = derive_key("skep auth refresh successor v1", keys.token_key)
        self._verdict_key = random_bytes(32)
        self._hasher = Hasher(
            threads=rules.argon2_at_once,
            queue=rules.argon2_queue_max,
            memory_bytes=rules.argon2_memory_bytes,
            passes=rules.argon2_passes,
        )
        self._verdicts: Verdicts[Principal] = Verdicts(clock)
        self._grants: Verdicts[AccessGrant] = Verdicts(clock)
        self.on_void: Callable[[Id], None] = lambda user_id: None
        """Told of each user whose credentials or rights became less, after the commit that did it."""
        self._keyring = Keyring()
        self._flights: dict[bytes, asyncio.Task[Principal]] = {}
        attempts = rules.login_attempts_max
        self._names = Buckets(clock, capacity=attempts, refill_s=rules.login_window_s / attempts)
        self._familiar = Familiar()
        self._resets = Buckets(clock, capacity=3, refill_s=600.0)
        self._errands: set[asyncio.Task[None]] = set()
        self._addresses = Buckets(clock, capacity=6 * attempts, refill_s=rules.login_window_s / (6 * attempts))
        self._codes = Buckets(clock, capacity=CODE_ATTEMPTS, refill_s=CODE_WINDOW_S / CODE_ATTEMPTS)
        self._noted = Buckets(clock, capacity=FAILURES_NOTED_MAX, refill_s=1.0)
        self._questions: ShortLived[Question] = ShortLived(clock, lasts_s=QUESTION_S, prefix="skq_")
        self._passkey_tickets: ShortLived[PasskeyTicket] = ShortLived(clock, lasts_s=QUESTION_S, prefix="skp_")
        self._passkey_logins: ShortLived[AnyPasskey] = ShortLived(clock, lasts_s=QUESTION_S, prefix="skl_")
        self._departures: ShortLived[Departure] = ShortLived(clock, lasts_s=600.0, prefix="sks_")
        self._departures_of = Buckets(clock, capacity=60, refill_s=5.0)
        self._tickets: ShortLived[Question] = ShortLived(clock, lasts_s=60.0, prefix="skt_")
        self._provider_calls = ProviderCalls(clock)
        self._pages: ShortLived[PageSession] = ShortLived(clock, lasts_s=900.0, prefix="skw_")
        self._codes_given: ShortLived[Any] = ShortLived(clock, lasts_s=60.0, prefix="skc_")
        self._codes_used: ShortLived[Id] = ShortLived(clock, lasts_s=600.0, prefix="")
        self._devices: ShortLived[Any] = ShortLived(clock, lasts_s=600.0, prefix="skd_")
        self._user_codes: ShortLived[str] = ShortLived(clock, lasts_s=600.0, prefix="")
        self._factor_keys = FactorKeys(keys.secrets_key, derive_key("skep auth recovery codes v1", keys.secrets_key))
        self._audit_key = derive_key("skep auth audit chain v1", keys.secrets_key)
        self.tell: Tell = tell_nobody
        """Told of each entry of the audit log, in the words of events."""

    async def start(self) -> None:
        """Make the first signing key if there is none, and read the keys. Raises CorruptRecord, KeyWrong."""

        def ensure(tx: Transaction) -> None:
            ensure_key(tx, self._token_key)
            ensure_ends(tx)

        await self._db.write(ensure)
        await self._reload_keys()

    async def close(self) -> None:
        """Check no more passwords; whoever waits for a check gets ShuttingDown."""
        self._hasher.close()
        await asyncio.gather(*self._flights.values(), *self._errands, return_exceptions=True)

    def _demanded(self, tx: Transaction, principal: Principal) -> Principal:
        """The principal without what the hive withholds from its user."""
        return demanded(tx, self._rules, principal)

    def void(self, user_id: Id) -> None:
        """Believe nothing any more that was found out about a user: another process changed it."""
        self._verdicts.void_user(user_id)
        self._grants.void_user(user_id)

    def _void_after(self, tx: Transaction, user_id: Id) -> None:
        def voided() -> None:
            self.void(user_id)
            self.on_void(user_id)

        tx.after_commit(voided)

    def _note(
        self,
        tx: Transaction,
        action: str,
        by: Principal | UserInfo | None,
        about: UserInfo | GroupInfo | Party | None = None,
        *,
        address: str = "",
        **facts: object,
    ) -> None:
        """Write in the audit log what this transaction does; listeners hear of it once it is durable.

        ``by``: who did it; None: nobody that is known. ``about``: whom it was done to, unless to oneself.
        """
        actor = party(by)
        self._note_facts(tx, action, actor, actor if about is None else party(about), address, facts)

    def _note_facts(
        self, tx: Transaction, action: str, actor: Party, subject: Party, address: str, facts: Mapping[str, object]
    ) -> None:
        entry = append(tx, self._audit_key, action, actor=actor, subject=subject, address=address, facts=facts)

        def told() -> None:
            self.tell(
                AuditNoted,
                number=entry.number,
                action=action,
                actor=actor.name,
                subject=subject.name,
                address=address,
                hash=entry.hash,
            )

        tx.after_commit(told)

    async def _keys(self, unknown: str | None = None) -> Keyring:
        """The keyring, read again when it is old, or when it lacks the key id that a token names."""
        age_s = self._clock.monotonic_s() - self._keyring.read_at_s
        lacks = unknown is not None and not self._keyring.knows(unknown)
        if age_s >= RELOAD_S or (lacks and age_s >= RELOAD_UNKNOWN_S):
            await self._reload_keys()
        return self._keyring

    async def _reload_keys(self) -> None:
        read_at_s = self._clock.monotonic_s()
        before_us = self._keys_expired_before_us()
        self._keyring = await self._db.read(
            lambda tx: load_keyring(tx, self._token_key, read_at_s=read_at_s, expired_before_us=before_us)
        )

    def _keys_expired_before_us(self) -> int:
        """When a key must have been retired for all of its tokens to be gone, in every process."""
        rules = self._rules
        return self._clock.now_us() - _us(rules.access_token_s + rules.clock_leeway_s + RELOAD_S)

    async def _signer(self) -> SigningKey:
        signer = (await self._keys()).signer
        if signer is None:
            raise Unavailable("the hive has no key to sign tokens with yet: try again")
        return signer

    def _pair(self, signer: SigningKey, user: UserRow, session: SessionRow, refresh_token: str) -> TokenPair:
        now_s = self._clock.now_us() // 1_000_000
        lasts_s = max(1, int(self._rules.access_token_s))
        scopes = effective_scopes(session.scopes, is_admin=user.info.is_admin)
        claims = Claims(user.info.id, session.id, scopes, user.token_epoch, now_s, now_s + lasts_s)
        token = sign_token(signer.key, claims, issuer=self._rules.issuer, audience=self._rules.audience)
        return TokenPair(token, lasts_s, refresh_token, int(self._rules.refresh_token_s))

    def _live_user(self, tx: Transaction, principal: Principal) -> UserRow:
        """The row of the user that a principal is; a user deleted meanwhile raises InvalidToken."""
        user = find_user(tx, principal.user_id)
        if user is None or not user.is_active:
            raise InvalidToken("the account is not there any more: log in with another")
        return user


def party(who: Principal | UserInfo | GroupInfo | Party | None) -> Party:
    """Whom the audit log names."""
    if who is None:
        return NOBODY
    if isinstance(who, Party):
        return who
    return Party(who.user_id if isinstance(who, Principal) else who.id, who.name)


def _us(seconds: float) -> int:
    return int(seconds * 1_000_000)
