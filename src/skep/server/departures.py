"""The worker that deletes accounts whose time has come: first their files, then the account."""

from __future__ import annotations

from skep.auth import Auth, Principal, internal_principal
from skep.base.errors import NodeNotFound, SkepError
from skep.base.logs import get_logger
from skep.base.workers import Outcome, Progress
from skep.filesystem import Filesystem

log = get_logger("skep.departures")
PERIOD_S = 600.0
PAGE = 100


class Departures:
    """Safe to kill at any point: the next run goes on with what is left."""

    name = "departures"
    description = "Deletes accounts whose time of grace is over, with their files."

    def __init__(self, auth: Auth, filesystem: Filesystem) -> None:
        self._auth = auth
        self._filesystem = filesystem

    async def run_once(self, progress: Progress) -> Outcome:
        """Delete up to ten accounts; one that cannot go (the last administrator) stays and is tried again later."""
        due, done = await self._auth.due_users(), 0
        for principal in due:
            try:
                await self._clear(principal)
                await self._auth.delete_user(internal_principal(), principal.user_id)
                done += 1
            except SkepError as error:
                log.warning("account not deleted", user=principal.user_id.hex(), code=error.code, reason=error.message)
        return Outcome(more_work=done == len(due) and bool(due), done_units=done)

    async def _clear(self, principal: Principal) -> None:
        """Delete for good all that is in the user's own space."""
        files = self._filesystem
        root = await files.by_path(principal, None, "/")
        while nodes := await files.listing(principal, root.id, limit=PAGE, digests=False):
            for node in nodes:
                try:
                    await files.delete(principal, node.id, permanently=True)
                except NodeNotFound:
                    continue
        await files.empty_trash(principal)
