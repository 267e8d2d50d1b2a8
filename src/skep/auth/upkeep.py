"""The background worker of auth."""

from __future__ import annotations

from skep.auth.service import Auth
from skep.base.workers import Outcome, Progress

PERIOD_S = 3600.0


class AccountsWorker:
    """Runs ``Auth.maintain``; to be added to the WorkerSet with a period of ``PERIOD_S``."""

    name = "accounts"
    description = "Removes expired sessions, invites, app passwords, keys and audit entries; rotates the signing key."

    def __init__(self, auth: Auth) -> None:
        self._auth = auth

    async def run_once(self, progress: Progress) -> Outcome:
        """One round of upkeep; running it twice does nothing the second time."""
        done = await self._auth.maintain()
        removed = done.sessions + done.invites + done.app_passwords + done.access_keys + done.signing_keys
        removed += done.audit_entries
        return Outcome(more_work=False, done_units=removed + done.rotated)
