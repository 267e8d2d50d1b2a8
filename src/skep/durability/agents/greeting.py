"""The hive's half of the handshake: who is at the other end of a new link, and does it have the key that it enrolled.

    HELLO  ->  CHALLENGE (the hive proves itself)  ->  PROOF (the agent does)  ->  WELCOME  ->  READY

What always holds: a nonce is used once; nothing is said about an agent before its proof is checked, so that a stranger
cannot find out which ids exist.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Callable
from dataclasses import dataclass

from skep.base.errors import AgentNotFound, InvalidId, MalformedRequest
from skep.base.ids import Id, id_text, parse_id
from skep.crypto.hashing import derive_key
from skep.crypto.keys import HiveKeys
from skep.crypto.signatures import SigningKey, VerifyKey
from skep.durability.agents.book import AgentBook
from skep.durability.agents.records import AgentInfo
from skep.stores.link.frames import VERSION
from skep.stores.link.handshake import NONCE_BYTES, agent_text, hive_text
from skep.stores.link.messages import Challenge, Hello, Proof

_CONTEXT = "skep 2026 agent link hive key v1"


def hive_signing_key(keys: HiveKeys) -> SigningKey:
    """The key by which agents know this hive: derived, so that a recovered hive has it again."""
    return SigningKey(derive_key(_CONTEXT, keys.token_key))


@dataclass(frozen=True, slots=True)
class Greeting:
    """A handshake that has begun."""

    hello: Hello
    nonce: bytes
    challenge: Challenge


class Greeter:
    """Makes challenges and checks proofs."""

    def __init__(self, hive_id: Id, keys: HiveKeys, book: AgentBook, certificate: Callable[[], str | None]) -> None:
        """``certificate``: SHA-256 in hex of the TLS certificate that the hive itself shows now, if it does."""
        self.hive_id = hive_id
        self._key = hive_signing_key(keys)
        self._book = book
        self._certificate = certificate

    @property
    def public_key(self) -> bytes:
        """What agents remember of the hive."""
        return self._key.verify_key.raw

    def greet(self, hello: Hello) -> Greeting:
        """Answer a HELLO. Raises MalformedRequest when no version is spoken by both."""
        if VERSION not in hello.versions:
            raise MalformedRequest(f"this hive speaks version {VERSION} of the agent link: use an agent of its release")
        nonce = os.urandom(NONCE_BYTES)
        signature = self._key.sign(hive_text(self.hive_id, nonce, hello, VERSION))
        challenge = Challenge(
            version=VERSION, hive_id=id_text(self.hive_id), nonce=nonce.hex(), signature=signature.hex()
        )
        return Greeting(hello, nonce, challenge)

    async def check(self, greeting: Greeting, proof: Proof) -> AgentInfo:
        """The agent that this is. Raises AgentNotFound, whatever is wrong."""
        hello = greeting.hello
        try:
            info = await self._book.agent(parse_id(hello.agent_id))
        except (AgentNotFound, InvalidId):
            raise _unknown() from None
        text = agent_text(self.hive_id, greeting.nonce, hello, VERSION, proof.certificate, proof.generation)
        if not VerifyKey(info.public_key).verify(text, bytes.fromhex(proof.signature)):
            raise _unknown()
        shown = self._certificate()
        if shown is not None and not hmac.compare_digest(proof.certificate, shown):
            raise AgentNotFound("the agent was shown another TLS certificate than this hive's: somebody is between")
        return info


def _unknown() -> AgentNotFound:
    return AgentNotFound("this hive has no such agent, or its key is another: it was revoked, or has to enrol again")
