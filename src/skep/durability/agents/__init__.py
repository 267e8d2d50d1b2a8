"""Agents: computers that lend disk to this hive, from the invitation to their leaving.

``rows``: their tables. ``book``: who is invited, enrolled, renamed, revoked. ``greeting``: who is at the other end of a
new link. ``service``: what a link that stands does to the stores of the hive.
"""

from __future__ import annotations

from skep.durability.agents.book import AgentBook
from skep.durability.agents.records import AgentInfo, AgentInvite, MadeInvite, NewAgent
from skep.durability.agents.service import Agents

__all__ = ["AgentBook", "AgentInfo", "AgentInvite", "Agents", "MadeInvite", "NewAgent"]
