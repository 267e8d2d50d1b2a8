"""The helper that stays: HQ keeps one open on each host and gives it orders over its standard input.

    {"id": 7, "words": ["inspect"], "size": 14}\n  and 14 bytes, which the verb reads as its standard input
    {"cancel": 7}\n                                end that verb, as if its own process was killed

It answers ``{"id": 7, "code": 0, "size": 230}\n`` and 230 bytes: what the verb wrote, and its exit code. Its first
line is ``{"ready": true}``. A look that waits for nobody is answered at once; any other verb runs in a process of its
own, forked from this one, which has read all modules already: it can wait, be killed, and start supervisors, without
anybody else waiting. When HQ goes away the verbs that run come to their end, and this ends at once; after a long
silence too, because a cut line may look like one.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import select
import signal
import sys
import time
import traceback
from typing import Any, Callable, Optional

LINE_MAX_BYTES = 64 << 10
BODY_MAX_BYTES = 4 << 20
ANSWER_MAX_BYTES = 16 << 20
VERBS_MAX = 128
SILENCE_MAX_S = 600.0
"""Over this without an order and with no verb running it ends. HQ gives a session up well before."""

Run = Callable[[list[str]], int]
Quick = Callable[[list[str], bytes], Optional[bytes]]
"""What a verb says that needs no waiting; None: it needs a process of its own."""


class Verb:
    """A verb that runs: its process, and what it has said so far."""

    def __init__(self, pid: int, pipe: int) -> None:
        self.pid = pid
        self.pipe = pipe
        self.said = bytearray()


class Server:
    """Orders in, answers out, until the input ends."""

    def __init__(self, run: Run, quick: Quick) -> None:
        self.run = run
        self.quick = quick
        self.rest = b""
        self.verbs: dict[int, Verb] = {}

    def serve(self) -> int:
        """Until the end; the exit code."""
        try:
            self.write(json.dumps({"ready": True}).encode() + b"\n")
            heard_s = time.monotonic()
            while True:
                by_pipe = {verb.pipe: number for number, verb in self.verbs.items()}
                ready, _, _ = select.select([0, *by_pipe], [], [], SILENCE_MAX_S / 10)
                if 0 in ready:
                    piece = os.read(0, 1 << 20)
                    if not piece:
                        return 0
                    heard_s = time.monotonic()
                    self.rest += piece
                    self.take_orders()
                elif not self.verbs and time.monotonic() - heard_s > SILENCE_MAX_S:
                    return 0
                for pipe in ready:
                    if pipe in by_pipe and by_pipe[pipe] in self.verbs:
                        self.hear(by_pipe[pipe])
        except (BrokenPipeError, ValueError, KeyError, TypeError):
            return 1  # HQ is gone, or what comes is no order

    def take_orders(self) -> None:
        """Begin what has arrived whole. Raises ValueError, KeyError, TypeError for what is no order."""
        while True:
            line, end, rest = self.rest.partition(b"\n")
            if len(line) > LINE_MAX_BYTES:
                raise ValueError("a line that is too long")
            if not end:
                return
            order = json.loads(line)
            if "cancel" in order:
                self.rest = rest
                self.cancel(order["cancel"])
                continue
            size = order["size"]
            if not 0 <= size <= BODY_MAX_BYTES:
                raise ValueError("an order that is too large")
            if len(rest) < size:
                return
            self.rest = rest[size:]
            self.begin(order["id"], order["words"], rest[:size])

    def begin(self, id: int, words: list[str], body: bytes) -> None:
        """Start a verb, or do it here if it is a look that waits for nobody."""
        said_at_once = self.quick(words, body)
        if said_at_once is not None:
            self.answer(id, 0, said_at_once)
            return
        if len(self.verbs) >= VERBS_MAX:
            self.answer(id, 1, b"this host does too much at once")
            return
        said, say = os.pipe2(os.O_CLOEXEC)
        pid = os.fork()
        if pid == 0:
            self.become(words, body, say)
        os.close(say)
        self.verbs[id] = Verb(pid, said)

    def become(self, words: list[str], body: bytes, say: int) -> None:
        """In the new process: be the verb."""
        code = 1
        try:
            for other in self.verbs.values():
                os.close(other.pipe)
            null = os.open("/dev/null", os.O_RDWR)
            for target, descriptor in enumerate((null, say, null)):
                os.dup2(descriptor, target)
            sys.stdin = io.TextIOWrapper(io.BytesIO(body), encoding="utf-8")
            code = self.run(words)
            sys.stdout.flush()
        except BaseException:
            with contextlib.suppress(OSError):
                os.write(1, traceback.format_exc()[-4000:].encode())
        finally:
            os._exit(code)

    def hear(self, id: int) -> None:
        """Take what a verb says; answer when it has ended."""
        verb = self.verbs[id]
        piece = os.read(verb.pipe, 1 << 16)
        verb.said += piece
        if len(verb.said) > ANSWER_MAX_BYTES:
            self.end(id, kill=True)
            self.answer(id, 1, b"the answer is too long")
        elif not piece:
            code = self.end(id)
            self.answer(id, code, bytes(verb.said))

    def cancel(self, id: int) -> None:
        """End a verb, if it has not ended."""
        if id in self.verbs:
            self.end(id, kill=True)

    def end(self, id: int, *, kill: bool = False) -> int:
        """Forget a verb that has ended or is killed; its exit code as a shell tells it."""
        verb = self.verbs.pop(id)
        if kill:
            os.kill(verb.pid, signal.SIGKILL)
        os.close(verb.pipe)
        code = os.waitstatus_to_exitcode(os.waitpid(verb.pid, 0)[1])
        return 128 - code if code < 0 else code

    def answer(self, id: int, code: int, said: bytes) -> None:
        """Tell HQ how a verb ended."""
        self.write(json.dumps({"id": id, "code": code, "size": len(said)}).encode() + b"\n" + said)

    @staticmethod
    def write(content: bytes) -> None:
        """All of it."""
        view: Any = memoryview(content)
        while view:
            view = view[os.write(1, view) :]
