"""The helper that stays open on a host, so that a verb costs a message and not the start of a Python.

What always holds: one session at a time takes new orders; an order is answered once, or its caller is told that
nobody knows whether it was carried out (the session ended) or that it took too long (then it is called off, and the
session takes no more orders: a host that froze may be behind it). Where no session can be opened, nothing was sent:
``run`` says so with None, the caller starts a helper for that one verb, and some seconds later a session is tried
again. The wire format is that of ``skephost.serving``.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

import msgspec

from skep.base.errors import HostUnavailable, SkepError, TimedOut
from skep.deploy.shell.protocol import ByteReader, ByteWriter, Runner
from skep.deploy.shell.records import Command, Result

BODY_MAX_BYTES = 1 << 20
"""What may come with an order; more goes the way of its own."""
ANSWER_MAX_BYTES = 16 << 20
LINE_MAX_BYTES = 64 << 10
AT_ONCE = 96
"""Orders under way in one session; further ones wait."""
OPEN_TIMEOUT_S = 20.0
UNUSED_MAX_S = 240.0
"""A session that was not used for so long is given up: the helper ends by itself after ten minutes of silence."""
AGAIN_S = 15.0
"""How long no session is tried after one could not be opened."""
_PIECE_BYTES = 1 << 16


class _Head(msgspec.Struct):
    """What comes before an answer."""

    id: int
    code: int
    size: int


class _Ready(msgspec.Struct):
    """The first line of a session."""

    ready: bool


class Broken(Exception):
    """A session ended, or says what it never should."""


class _Frames:
    """Lines and blocks of bytes out of a stream, each with a limit."""

    def __init__(self, reader: ByteReader) -> None:
        self._reader = reader
        self._rest = bytearray()

    async def line(self) -> bytes:
        """A line without its end. Raises Broken."""
        while (at := self._rest.find(b"\n")) < 0:
            if len(self._rest) > LINE_MAX_BYTES:
                raise Broken("it says a line without an end")
            await self._more()
        line = bytes(self._rest[:at])
        del self._rest[: at + 1]
        return line

    async def block(self, size: int) -> bytes:
        """So many bytes. Raises Broken."""
        while len(self._rest) < size:
            await self._more()
        block = bytes(self._rest[:size])
        del self._rest[:size]
        return block

    async def _more(self) -> None:
        piece = await self._reader.read(_PIECE_BYTES)
        if not piece:
            raise Broken("it ended")
        self._rest += piece


class _Session:
    """One helper that stays, from its first line to its end."""

    def __init__(self, runner: Runner, command: Command) -> None:
        self._runner, self._command = runner, command
        self._writer: ByteWriter | None = None
        self._answers: dict[int, asyncio.Future[Result]] = {}
        self._ids = 0
        self._places = asyncio.Semaphore(AT_ONCE)
        self._used_s = 0.0
        self.retired = False
        """Takes no more orders; it ends with the last of those that are under way."""
        loop = asyncio.get_running_loop()
        self.opened: asyncio.Future[None] = loop.create_future()
        self._task = asyncio.ensure_future(self._live())

    def is_fit(self) -> bool:
        """Whether it takes orders."""
        unused_s = asyncio.get_running_loop().time() - self._used_s
        return not self.retired and not self._task.done() and (bool(self._answers) or unused_s < UNUSED_MAX_S)

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self._task.done()

    async def call(self, words: Sequence[str], body: bytes, timeout_s: float) -> Result:
        """One order. Raises HostUnavailable when the session ended before the answer, TimedOut."""
        host = self._runner.host
        try:
            async with asyncio.timeout(timeout_s), self._places:
                return await self._asked(words, body)
        except TimeoutError:
            self.retire()
            raise TimedOut(f"the helper on {host} took longer than {timeout_s:g} s to {words[0]}") from None
        except (Broken, OSError) as error:
            self.retire()
            raise HostUnavailable(f"the helper on {host} ended, so it is not known what was done: {error}") from None

    async def _asked(self, words: Sequence[str], body: bytes) -> Result:
        if self._writer is None or self._task.done():
            raise Broken("it ended")
        self._ids += 1
        number = self._ids
        answer: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._answers[number] = answer
        self._used_s = asyncio.get_running_loop().time()
        try:
            head = msgspec.json.encode({"id": number, "words": words, "size": len(body)})
            self._writer.write(head + b"\n" + body)
            await self._writer.drain()
            return await answer
        except asyncio.CancelledError:
            with contextlib.suppress(OSError):
                self._writer.write(msgspec.json.encode({"cancel": number}) + b"\n")
            raise
        finally:
            self._answers.pop(number, None)
            if answer.done() and not answer.cancelled():
                answer.exception()
            if self.retired and not self._answers:
                self._task.cancel()

    async def _live(self) -> None:
        error: Exception = Broken("it was closed")
        try:
            async with self._runner.talk(self._command) as (reader, writer):
                frames = _Frames(reader)
                msgspec.json.decode(await frames.line(), type=_Ready)
                self._writer, self._used_s = writer, asyncio.get_running_loop().time()
                if not self.opened.done():
                    self.opened.set_result(None)
                while True:
                    head = msgspec.json.decode(await frames.line(), type=_Head)
                    if not 0 <= head.size <= ANSWER_MAX_BYTES:
                        raise Broken("it announces an answer without bounds")
                    said = await frames.block(head.size)
                    asked = self._answers.get(head.id)  # none: it was called off
                    if asked is not None and not asked.done():
                        asked.set_result(Result(exit_code=head.code, stdout=said))
        except msgspec.MsgspecError as wrong:
            error = Broken(f"it says what it never should: {wrong}")
        except Broken as why:
            error = why
        except (OSError, SkepError) as why:
            error = Broken(str(why))
        finally:
            self.retired = True
            for answer in self._answers.values():
                if not answer.done():
                    answer.set_exception(error)
            if not self.opened.done():
                self.opened.set_exception(error)
            if self.opened.done() and not self.opened.cancelled():
                self.opened.exception()

    def retire(self) -> None:
        """Take no more orders."""
        self.retired = True
        if not self._answers:
            self._task.cancel()

    async def close(self) -> None:
        """End it now; orders that are under way are told."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


class LastingHelper:
    """Keeps one session open on the host of a runner."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._session: _Session | None = None
        self._leaving: set[_Session] = set()
        self._opening = asyncio.Lock()
        self._not_before_s = float("-inf")

    async def run(self, command: Command, words: Sequence[str], body: bytes, timeout_s: float) -> Result | None:
        """What a verb says, in a session that ``command`` opens; None when there is none: nothing was sent.

        Raises HostUnavailable when it is not known whether the verb ran, TimedOut.
        """
        session = await self._fit(command)
        return None if session is None else await session.call(words, body, timeout_s)

    async def _fit(self, command: Command) -> _Session | None:
        async with self._opening:
            if self._session is not None and self._session.is_fit():
                return self._session
            now_s = asyncio.get_running_loop().time()
            if self._session is not None:
                self._session.retire()
                self._leaving = {one for one in (*self._leaving, self._session) if not one.is_over}
                self._session = None
            if now_s < self._not_before_s:
                return None
            session = _Session(self._runner, command)
            try:
                async with asyncio.timeout(OPEN_TIMEOUT_S):
                    await asyncio.shield(session.opened)
            except (Broken, TimeoutError):
                await session.close()
                self._not_before_s = asyncio.get_running_loop().time() + AGAIN_S
                return None
            except BaseException:
                await session.close()
                raise
            self._session = session
            return session

    async def close(self) -> None:
        """End what is open."""
        sessions = [one for one in (*self._leaving, self._session) if one is not None]
        self._session, self._leaving = None, set()
        await asyncio.gather(*(one.close() for one in sessions))
