"""The worker that sends the letters of the outbox."""

from __future__ import annotations

import asyncio
import smtplib
from collections.abc import Callable
from functools import partial

from skep.auth.outbox import Waiting, due_letters, letter_failed, letter_sent
from skep.auth.post import NeverTaken, Postman
from skep.base.ids import id_text
from skep.base.logs import get_logger
from skep.base.workers import Outcome, Progress
from skep.db import Database, Transaction

log = get_logger("skep.mail")
PERIOD_S = 5.0
PAGE = 20


class Postroom:
    """Sends what waits, one letter after the other, each in a thread; what fails is tried again for about a day."""

    name = "mail"
    description = "Sends the letters that wait: password resets, proofs of e-mail addresses."

    def __init__(self, db: Database, secrets_key: bytes, postman: Postman | None) -> None:
        self._db = db
        self._key = secrets_key
        self._postman = postman

    async def run_once(self, progress: Progress) -> Outcome:
        """Send up to twenty letters that are due."""
        if self._postman is None:
            return Outcome(more_work=False, done_units=0)
        waiting = await self._db.read(lambda tx: due_letters(tx, self._key, PAGE))
        for one in waiting:
            await self._send(self._postman, one)
        return Outcome(more_work=len(waiting) == PAGE, done_units=len(waiting))

    async def _send(self, postman: Postman, waiting: Waiting) -> None:
        after: Callable[[Transaction], object] = partial(letter_sent, letter_id=waiting.id)
        try:
            await asyncio.to_thread(postman, waiting.letter, id_text(waiting.id))
        except NeverTaken as error:
            log.warning("letter not sent", letter=id_text(waiting.id), reason=str(error))
        except (OSError, smtplib.SMTPException) as error:
            log.warning(
                "letter waits", letter=id_text(waiting.id), tries=waiting.tries + 1, reason=type(error).__name__
            )
            after = partial(letter_failed, waiting=waiting)
        await self._db.write(after)
