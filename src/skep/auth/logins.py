"""Proving who one is: passwords, access tokens, refresh tokens, sessions."""

from __future__ import annotations

import asyncio
import unicodedata
from collections.abc import Callable, Collection

from skep.auth.app_passwords import AppPasswordRow, find_app_password, touch_app_password
from skep.auth.buckets import address_key
from skep.auth.core import AuthCore, principal_of
from skep.auth.factors import factors_of, spend_code
from skep.auth.names import login_key
from skep.auth.opaque_tokens import is_refresh_token
from skep.auth.password_rules import MAX_BYTES, check_password, normalised
from skep.auth.questions import Question
from skep.auth.records import Principal, SessionInfo, TokenPair, UserInfo
from skep.auth.scopes import ACCOUNT, ALL_SCOPES, checked_scopes
from skep.auth.sessions import (
    Refreshed,
    SessionRow,
    end_session,
    end_sessions_of,
    find_session,
    insert_session,
    list_session_rows,
    rotate_session,
)
from skep.auth.tokens import TOKEN_LENGTH_MAX, Claims, token_key_id, verify_token
from skep.auth.users import UserRow, find_login, find_user, raise_epoch, replace_hash, set_password_hash, the_user
from skep.base.errors import (
    BadCredentials,
    Forbidden,
    InvalidToken,
    NotFound,
    RateLimited,
    SecondFactorNeeded,
    Unavailable,
)
from skep.base.ids import Id
from skep.crypto.hashing import digest, keyed_digest
from skep.db import Transaction

_WRONG = "the name or the password is wrong"
_REVOKED = "the token has been revoked: log in again"
_WRONG_CODE = "the code is wrong, or was used before: wait for the next one, or use a recovery code"


class Logins(AuthCore):
    """The part of ``Auth`` that checks credentials and gives out tokens."""

    async def login(
        self,
        name: str,
        password: str,
        agent: str = "",
        address: str = "",
        *,
        scopes: Collection[str] | None = None,
        code: str | None = None,
    ) -> TokenPair:
        """Begin a session. ``name`` may be the e-mail address; ``agent`` is shown in the sessions list.

        ``address`` is the client's, for the rate limit; ``scopes`` default to all that the user may have; ``code`` is
        of an authenticator app, or a recovery code.
        Raises BadCredentials (for a wrong name and a wrong password alike), Forbidden for a suspended
        user whose password was right, RateLimited, BadInput; SecondFactorNeeded, whose ``question`` goes to ``answer``.
        """
        wanted = ALL_SCOPES if scopes is None else checked_scopes(scopes)
        proven = await self._prove(name, password, address)
        question = Question(proven, wanted, agent, address, await self._stronger_hash(proven, password))
        factors = await self._db.read(lambda tx: factors_of(tx, proven.info.id, confirmed=True))
        kinds = {row.info.kind for row in factors}
        if not kinds:
            return await self._begin(question)
        if code is None:
            raise SecondFactorNeeded(
                "the password is right; a second factor is needed besides: send a code of your authenticator app",
                question=self._questions.put(question),
                methods=[*sorted(kinds, reverse=True), "recovery"],
            )
        return await self._begin_with_code(question, code)

    async def answer(self, question: str, code: str, address: str = "") -> TokenPair:
        """Begin the session that ``login`` asked a second factor for.

        Raises BadCredentials for a wrong code, InvalidToken when the question is unknown, answered or too old (log in
        anew; five wrong codes end it), RateLimited.
        """
        asked = self._question(question)
        self._addresses.take(address_key(address))
        try:
            pair = await self._begin_with_code(asked, code)
        except BadCredentials:
            asked.tries_left -= 1
            if asked.tries_left <= 0:
                self._questions.take(question)
            raise
        self._addresses.give_back(address_key(address))
        self._questions.take(question)
        return pair

    def _question(self, name: str) -> Question:
        asked = self._questions.get(name)
        if asked is None:
            raise InvalidToken("this question of a login is unknown, answered or too old: log in again")
        return asked

    async def _begin_with_code(self, asked: Question, code: str) -> TokenPair:
        user_key = asked.proven.info.id.hex()
        self._codes.take(user_key)

        def prove(tx: Transaction) -> str:
            user_id = asked.proven.info.id
            rows = factors_of(tx, user_id, confirmed=True)
            kind = spend_code(tx, self._factor_keys, user_id, code, rows)
            if rows and kind is None:
                raise BadCredentials(_WRONG_CODE)
            return kind or "password"  # the factors were taken away meanwhile

        try:
            pair = await self._begin(asked, prove)
        except BadCredentials:
            await self._note_failure("second-factor-failed", asked.proven.info, asked.address)
            raise
        except (RateLimited, Unavailable):
            self._codes.give_back(user_key)  # nothing was learnt
            raise
        self._codes.give_back(user_key)
        return pair

    async def _begin(self, asked: Question, prove: Callable[[Transaction], str] = lambda tx: "password") -> TokenPair:
        """Begin a session, in one transaction with what proves that it may begin."""
        signer = await self._signer()

        def begin(tx: Transaction) -> tuple[UserRow, SessionRow, str]:
            user = _still(tx, asked.proven)
            by = prove(tx)
            if asked.stronger_hash and user.password_hash:
                replace_hash(tx, user.info.id, user.password_hash, asked.stronger_hash)
            session, token = self._insert_session(tx, user.info.id, asked.scopes, asked.agent)
            self._note(tx, "login", user.info, address=asked.address, proof=by, agent=session.agent)
            return user, session, token

        return self._pair(signer, *await self._db.write(begin))

    async def refresh(self, refresh_token: str) -> TokenPair:
        """Exchange a refresh token for a new pair; the old one is used up.

        Shown again within ``refresh_grace_s`` it gives the same successor; later the session ends.
        Raises InvalidToken.
        """
        if not is_refresh_token(refresh_token):
            raise InvalidToken("that is not a refresh token: log in again")
        signer = await self._signer()

        def rotate(tx: Transaction) -> tuple[Refreshed, UserRow | None]:
            keep_us, grace_us = int(self._rules.refresh_token_s * 1e6), int(self._rules.refresh_grace_s * 1e6)
            outcome = rotate_session(tx, self._refresh_key, refresh_token, keep_us=keep_us, grace_us=grace_us)
            if outcome.ended:
                self._void_after(tx, outcome.ended)
            return outcome, find_user(tx, outcome.session.user_id) if outcome.session else None

        outcome, user = await self._db.write(rotate)
        if outcome.session is None or user is None or not user.is_active:
            raise InvalidToken("the refresh token is unknown, used or expired: log in again")
        return self._pair(signer, user, outcome.session, outcome.token)

    async def logout(self, principal: Principal) -> None:
        """End the session that the principal came with; without one there is nothing to end."""
        session_id = principal.session_id
        if session_id is None:
            return

        def end(tx: Transaction) -> None:
            end_session(tx, session_id)
            self._note(tx, "logout", principal)
            self._void_after(tx, principal.user_id)

        await self._db.write(end)

    async def authenticate_token(self, bearer: str) -> Principal:
        """The principal of an access token; microseconds and no database when it was seen before.

        Raises InvalidToken, TokenExpired.
        """
        if len(bearer) > TOKEN_LENGTH_MAX or not bearer.isascii():
            raise InvalidToken("the token is not one of this hive: log in again")
        key = digest(bearer.encode())
        return self._verdicts.get(key) or await self._check_token(key, bearer)

    async def authenticate_password(self, name: str, password: str, address: str = "") -> Principal:
        """The principal of a name and an app password or login password, as HTTP Basic sends them.

        App passwords are looked up by hash first; a good verdict is remembered for
        ``verdict_cache_s``, and equal requests at the same time share one check.
        Raises BadCredentials, Forbidden (suspended, with the right password), RateLimited.
        """
        key = keyed_digest(self._verdict_key, login_key(name).encode(), b"\0", _secret_bytes(password))
        known = self._verdicts.get(key)
        if known is not None:
            return known
        flight = self._flights.get(key)
        if flight is None:
            flight = asyncio.create_task(self._check_basic(key, name, password, address))
            self._flights[key] = flight
            flight.add_done_callback(lambda done: self._landed(key, done))
        return await asyncio.shield(flight)

    async def change_password(
        self, principal: Principal, current_password: str, new_password: str, agent: str = ""
    ) -> TokenPair:
        """Set a new password, end every session, void every access token, and begin a new session.

        App passwords stay. Raises BadCredentials, BadInput for a password that the rules refuse, Forbidden.
        """
        principal.require(ACCOUNT)
        proven = await self._prove(principal.name, current_password, "")
        if proven.info.id != principal.user_id:
            raise BadCredentials(_WRONG)
        new_hash = await self._new_hash(proven, new_password)
        signer = await self._signer()

        def change(tx: Transaction) -> tuple[UserRow, SessionRow, str]:
            user_id = _still(tx, proven).info.id
            self._replace_password(tx, user_id, new_hash)
            self._note(tx, "password-changed", principal)
            return (the_user(tx, user_id), *self._insert_session(tx, user_id, principal.scopes, agent))

        return self._pair(signer, *await self._db.write(change))

    async def list_sessions(self, principal: Principal, user_id: Id | None = None) -> list[SessionInfo]:
        """The user's sessions, newest first; an administrator may ask for another's."""
        owner = self._own(principal, user_id)
        rows = await self._db.read(lambda tx: list_session_rows(tx, owner))
        return [row.info(principal.session_id) for row in rows]

    async def revoke_session(self, principal: Principal, session_id: Id) -> None:
        """End a session of one's own, or as an administrator anybody's. Raises NotFound."""
        principal.require(ACCOUNT)

        def end(tx: Transaction) -> None:
            session = find_session(tx, session_id)
            if session is None or (session.user_id != principal.user_id and not principal.acts_as_admin):
                raise NotFound("no such session: it may have ended")
            end_session(tx, session_id)
            self._note(tx, "session-ended", principal, the_user(tx, session.user_id).info, agent=session.agent)
            self._void_after(tx, session.user_id)

        await self._db.write(end)

    async def revoke_other_sessions(self, principal: Principal, user_id: Id | None = None) -> int:
        """End all of one's own sessions but the one that asks, or as an administrator all of another's; how many."""
        owner = self._own(principal, user_id)

        def end(tx: Transaction) -> int:
            user = the_user(tx, owner).info
            ended = [row for row in list_session_rows(tx, owner) if row.id != principal.session_id]
            for row in ended:
                end_session(tx, row.id)
            self._note(tx, "sessions-ended", principal, user, sessions=len(ended))
            self._void_after(tx, owner)
            return len(ended)

        return await self._db.write(end)

    # --- checks -----------------------------------------------------------------------------

    async def _check_token(self, key: bytes, bearer: str) -> Principal:
        voids = self._verdicts.voids
        key_id = token_key_id(bearer)
        signing_key = (await self._keys(key_id)).verifier(key_id)
        now_s, leeway_s = self._clock.now_us() / 1e6, self._rules.clock_leeway_s
        issuer, audience = self._rules.issuer, self._rules.audience
        claims = verify_token(bearer, signing_key, issuer=issuer, audience=audience, now_s=now_s, leeway_s=leeway_s)
        principal = await self._db.read(lambda tx: self._demanded(tx, _token_principal(tx, claims)))
        believed_s = min(self._rules.verdict_cache_s, claims.expires_s + leeway_s - now_s)
        self._verdicts.put(key, principal, for_s=believed_s, voids=voids)
        return principal

    async def _check_basic(self, key: bytes, name: str, password: str, address: str) -> Principal:
        voids = self._verdicts.voids
        believed_s = self._rules.verdict_cache_s

        def look(tx: Transaction) -> tuple[AppPasswordRow | None, Principal | None]:
            app, principal = _app_principal(tx, name, password)
            return app, None if principal is None else self._demanded(tx, principal)

        app, principal = await self._db.read(look)
        if app is not None and principal is not None:
            await self._touch(app)
            if app.info.expires_us is not None:
                believed_s = min(believed_s, (app.info.expires_us - self._clock.now_us()) / 1e6)
        else:
            proven = await self._prove(name, password, address)
            principal = await self._db.read(lambda tx: self._demanded(tx, _password_principal(tx, proven)))
        self._verdicts.put(key, principal, for_s=believed_s, voids=voids)
        return principal

    async def _prove(self, name: str, password: str, address: str) -> UserRow:
        """The active user whose login password this is. The same steps are taken whether the user is there or not."""
        login, client = login_key(name), address_key(address)
        bucket = self._familiar.bucket(login, client)
        self._addresses.take(client)
        self._names.take(bucket)
        try:
            user = await self._db.read(lambda tx: find_login(tx, login))
            is_right = await self._hasher.verify(user.password_hash if user else None, _secret_text(password))
        except (RateLimited, Unavailable):
            self._forgive(bucket, client)  # nothing was learnt
            raise
        if user is None or not is_right:
            await self._note_failure("login-failed", user.info if user else None, address)
            raise BadCredentials(_WRONG)
        self._forgive(bucket, client)
        self._familiar.remember(login, client)
        if not user.is_active:
            raise _suspended()
        return user

    def _forgive(self, bucket: str, client: str) -> None:
        self._addresses.give_back(client)
        self._names.give_back(bucket)

    async def _note_failure(self, action: str, user: UserInfo | None, address: str) -> None:
        """Write down a wrong password or code, whether there is such a user or not: the work must be the same.

        A name that nobody has is not kept: people type passwords there. A busy database changes no answer.
        """
        try:
            self._noted.take("failures")
            await self._db.write(lambda tx: self._note(tx, action, None, user, address=address))
        except (RateLimited, Unavailable):
            return

    def _landed(self, key: bytes, flight: asyncio.Task[Principal]) -> None:
        self._flights.pop(key, None)
        if not flight.cancelled():
            flight.exception()  # seen: those who waited for it may be gone

    async def _touch(self, app: AppPasswordRow) -> None:
        """Note the use of an app password, at most once an hour; a busy database is no reason to refuse."""
        if not app.wants_touch(self._clock.now_us()):
            return
        try:
            await self._db.write(lambda tx: touch_app_password(tx, app.info.id))
        except Unavailable:
            return

    # --- shared with the other parts ----------------------------------------------------------

    async def _new_hash(self, user: UserRow, password: str) -> str:
        info = user.info
        minimum = self._rules.password_length_min
        plain = check_password(password, min_length=minimum, name=info.name, email=info.email, full_name=info.full_name)
        return await self._hasher.hash(plain)

    async def _stronger_hash(self, user: UserRow, password: str) -> str | None:
        """A hash with today's parameters, when the stored one has others."""
        if user.password_hash is None or not self._hasher.is_outdated(user.password_hash):
            return None
        return await self._hasher.hash(_secret_text(password))

    def _replace_password(self, tx: Transaction, user_id: Id, new_hash: str | None) -> None:
        set_password_hash(tx, user_id, new_hash)
        self._void_credentials(tx, user_id)

    def _void_credentials(self, tx: Transaction, user_id: Id) -> None:
        """End all sessions and void all access tokens of a user; app passwords are left."""
        raise_epoch(tx, user_id)
        end_sessions_of(tx, user_id)
        self._void_after(tx, user_id)

    def _insert_session(
        self, tx: Transaction, user_id: Id, scopes: frozenset[str], agent: str
    ) -> tuple[SessionRow, str]:
        keep_us = int(self._rules.refresh_token_s * 1e6)
        return insert_session(tx, user_id, scopes=scopes, agent=_shown_agent(agent), keep_us=keep_us)

    def _own(self, principal: Principal, user_id: Id | None) -> Id:
        """The user whose things are meant: one's own, or as an administrator another's."""
        principal.require(ACCOUNT)
        if user_id is None or user_id == principal.user_id:
            return principal.user_id
        principal.require_admin()
        return user_id


def _token_principal(tx: Transaction, claims: Claims) -> Principal:
    user, session = find_user(tx, claims.user_id), find_session(tx, claims.session_id)
    if user is None or session is None or session.user_id != user.info.id:
        raise InvalidToken(_REVOKED)
    if not user.is_active or user.token_epoch != claims.epoch or session.expires_us <= tx.now_us:
        raise InvalidToken(_REVOKED)
    return principal_of(tx, user, claims.scopes, "token", session.id)


def _password_principal(tx: Transaction, proven: UserRow) -> Principal:
    """A login password by itself, as HTTP Basic sends it, is no proof where a second factor is asked for."""
    user = _still(tx, proven)
    if factors_of(tx, user.info.id, confirmed=True):
        raise SecondFactorNeeded(
            "this account has a second factor: a password alone is not enough; use an app password in this program"
        )
    return principal_of(tx, user, ALL_SCOPES, "password")


def _app_principal(tx: Transaction, name: str, password: str) -> tuple[AppPasswordRow | None, Principal | None]:
    user, app = find_login(tx, login_key(name)), find_app_password(tx, _secret_text(password))
    if user is None or app is None or app.user_id != user.info.id or not app.is_good(tx.now_us):
        return None, None
    if not user.is_active:
        raise _suspended()
    return app, principal_of(tx, user, app.info.scopes, "app")


def _still(tx: Transaction, proven: UserRow) -> UserRow:
    """The user as it is now, if nothing took away what was proven while the password was checked."""
    user = find_user(tx, proven.info.id)
    if user is None or user.password_hash != proven.password_hash or not user.is_active:
        raise BadCredentials(_WRONG)
    return user


def _suspended() -> Forbidden:
    return Forbidden("the account is suspended: ask an administrator", reason="suspended")


def _secret_text(password: str) -> str:
    """The password as it is checked; what is longer than any password may be is cut, and so matches none."""
    return normalised(password[: MAX_BYTES + 1])


def _secret_bytes(password: str) -> bytes:
    return _secret_text(password).encode("utf-8", "surrogatepass")


def _shown_agent(agent: str) -> str:
    return "".join(sign for sign in unicodedata.normalize("NFC", agent) if sign.isprintable())
