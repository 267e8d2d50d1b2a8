"""The Driver protocol: where machines come from. The docstrings are the contract.

A driver knows one fleet: it tells and touches only machines that it made for this fleet, whatever else its provider
has. Machines are named by us; a name is one machine.

Idempotent: every call may be made again after it failed, was cancelled, its answer was lost, or HQ was killed at any
line. In particular ``create`` never makes a second machine for a name, also where the provider made the first one and
its answer was lost, or two programs ask at once: what is double is given back before it returns.

Who retries: the driver, where its provider asks for patience (too many requests) or does not answer, a few times and
within the call's limit of time. After that it raises MachinesUnavailable, and nothing is known of what was done.
"""

from __future__ import annotations

from typing import Protocol

from skep.deploy.machines.records import Machine, MachineType, Traits


class Driver(Protocol):
    """Where machines come from. Safe for concurrent calls from one event loop."""

    @property
    def traits(self) -> Traits:
        """What it is and can do."""
        ...

    async def types(self) -> tuple[MachineType, ...]:
        """What can be had here, cheapest first. Raises MachinesUnavailable, MachineRefused."""
        ...

    async def list(self) -> tuple[Machine, ...]:
        """All machines of the fleet, in the order of their names; those that are being made, too."""
        ...

    async def create(self, name: str, type: str) -> Machine:
        """See to it that the machine ``name`` is there and runs; returns when it has an address.

        There already: that one, whatever its type. SSH need not answer yet.

        Raises BadInput (no such type, no such name), MachineRefused (the token, a limit of the account, no room there),
        MachinesUnavailable, TimedOut when it is not there in time; calling again goes on waiting for the same one.
        """
        ...

    async def destroy(self, name: str) -> None:
        """Give the machine back, with all that is on it. Not there: fine."""
        ...

    async def resize(self, name: str, type: str) -> Machine:
        """Make it another type; it may restart meanwhile, and has that type when this returns.

        That type already: fine. Raises MachineNotFound, BadInput (no such type, or ``traits.resizes`` is false),
        MachineRefused (too small for its disk), MachinesUnavailable, TimedOut.
        """
        ...

    async def close(self) -> None:
        """Let go of connections; machines stay."""
        ...
