"""What administrators do: agents, scheme, workers, and jobs (scrub, repair, gc, fsck)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias
from urllib.parse import quote, urlencode

from skep.base.errors import SkepError
from skep.client.calls import Caller

ADMIN = "/api/admin"
AGENTS = "/api/agents"
JOB_POLL_S = 0.25
Record: TypeAlias = dict[str, Any]
"""What the API tells of one thing."""


class Administration:
    """Calls of ``/api/admin``. Raises what the hive answers, as its SkepError class."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def status(self) -> Record:
        """How the hive is: stores, workers, counts."""
        return self._record("GET", f"{ADMIN}/status")

    def invite_agent(self, send: Mapping[str, object]) -> Record:
        """Make an invitation for a computer that lends disk; its ``token`` is told once."""
        return self._record("POST", f"{AGENTS}/invites", dict(send))

    def agent_invites(self) -> list[Record]:
        """Invitations for agents that can still be used."""
        return list(self._record("GET", f"{AGENTS}/invites")["invites"])

    def revoke_agent_invite(self, invite_id: str) -> None:
        """Make an invitation useless."""
        self._caller.json("DELETE", f"{AGENTS}/invites/{quote(invite_id, safe='')}")

    def agents(self) -> list[Record]:
        """Computers that lend disk: all to administrators, else one's own."""
        return list(self._record("GET", AGENTS)["agents"])

    def change_agent(self, name: str, send: Mapping[str, object]) -> Record:
        """Rename an agent (``name``) or forget its trouble (``settled``)."""
        return self._record("PATCH", f"{AGENTS}/{quote(name, safe='')}", dict(send))

    def revoke_agent(self, name: str) -> None:
        """Make an agent's key worthless and give up its store."""
        self._caller.json("DELETE", f"{AGENTS}/{quote(name, safe='')}")

    def audit(self, *, user: str, action: str, before: int | None, limit: int) -> Record:
        """Entries of the audit log, newest first: ``entries`` and the number to go on below (``next``)."""
        asked = {"user": user, "action": action, "before": before, "limit": limit}
        query = urlencode({name: value for name, value in asked.items() if value not in ("", None)})
        return self._record("GET", f"{ADMIN}/audit?{query}")

    def verify_audit(self, number: int | None, link: str | None) -> Record:
        """Whether the audit log's chain holds, and still has the entry that was noted."""
        return self._record("POST", f"{ADMIN}/audit/verify", {"number": number, "hash": link})

    def programs(self) -> list[Record]:
        """The programs for which the hive vouches."""
        return list(self._record("GET", f"{ADMIN}/programs")["programs"])

    def add_program(self, send: Mapping[str, object]) -> Record:
        """Register a program; its ``secret`` is told once."""
        return self._record("POST", f"{ADMIN}/programs", dict(send))

    def remove_program(self, client_id: str) -> None:
        """Forget a program; its sessions end."""
        self._caller.json("DELETE", f"{ADMIN}/programs/{quote(client_id, safe='')}")

    def identity_providers(self) -> list[Record]:
        """Who vouches for people, and by which rules."""
        return list(self._record("GET", f"{ADMIN}/identity-providers")["identity_providers"])

    def add_identity_provider(self, send: Mapping[str, object]) -> Record:
        """Let an identity provider vouch for people."""
        return self._record("POST", f"{ADMIN}/identity-providers", dict(send))

    def remove_identity_provider(self, name: str) -> None:
        """Believe it no more."""
        self._caller.json("DELETE", f"{ADMIN}/identity-providers/{quote(name, safe='')}")

    def scheme(self) -> Record:
        """How new packs are coded."""
        return self._record("GET", f"{ADMIN}/scheme")

    def set_scheme(self, scheme: str, **thresholds: int | bool | None) -> Record:
        """Code new packs so from now on. Raises InvalidScheme.

        ``repair_at``, ``wanted``: in shards, None for the usual; ``thresholds_only``: new packs keep their scheme.
        """
        return self._record("PUT", f"{ADMIN}/scheme", {"scheme": scheme, **thresholds})

    def rotate_signing_key(self) -> str:
        """Sign access tokens with a new key from now on; its id."""
        key_id: str = self._record("POST", f"{ADMIN}/signing-keys")["key_id"]
        return key_id

    def workers(self) -> list[Record]:
        """The background workers and how they are doing."""
        return list(self._record("GET", f"{ADMIN}/workers")["workers"])

    def steer_worker(self, name: str, verb: str) -> Record:
        """``trigger``, ``pause`` or ``resume`` a worker."""
        return self._record("POST", f"{ADMIN}/workers/{quote(name, safe='')}/{verb}")

    def rebalances(self) -> list[Record]:
        """The last plans that move shards between stores, the newest first."""
        return list(self._record("GET", f"{ADMIN}/rebalance")["plans"])

    def rebalance(self, version: int) -> Record:
        """A plan and how far it is. Raises NotFound."""
        return self._record("GET", f"{ADMIN}/rebalance/{version}")

    def propose_rebalance(self) -> Record:
        """Make a plan; nothing moves. Raises Conflict while one runs."""
        return self._record("POST", f"{ADMIN}/rebalance")

    def start_rebalance(self, version: int) -> Record:
        """Carry a plan out in the background. Raises Conflict when the stores have changed since."""
        return self._record("POST", f"{ADMIN}/rebalance/{version}/start")

    def cancel_rebalance(self, version: int) -> Record:
        """End a plan where it is."""
        return self._record("DELETE", f"{ADMIN}/rebalance/{version}")

    def jobs(self) -> Record:
        """The jobs that are remembered (``jobs``) and the kinds that can be started (``kinds``)."""
        return self._record("GET", f"{ADMIN}/jobs")

    def start_job(self, kind: str, options: Mapping[str, object]) -> Record:
        """Start long work. Raises InUse while one of the kind runs."""
        return self._record("POST", f"{ADMIN}/jobs", {"kind": kind, "options": dict(options)})

    def cancel_job(self, job_id: str) -> Record:
        """End a job before it is done."""
        return self._record("DELETE", f"{ADMIN}/jobs/{job_id}")

    def wait_for_job(self, job: Record, told: Callable[[Record], None]) -> Record:
        """Look at a job until it has ended; ``told`` gets each look. Raises SkepError when it failed."""
        while True:
            told(job)
            if job["state"] != "running":
                break
            self._caller.cancel.pause(JOB_POLL_S)
            job = self._record("GET", f"{ADMIN}/jobs/{job['id']}")
        if job["state"] != "done":
            raise SkepError(f"{job['kind']} {job['state']}: {job['message']}", job_id=job["id"])
        return job

    def _record(self, method: str, path: str, send: object = None) -> Record:
        found: Record = self._caller.json(method, path, send=send)
        return found
