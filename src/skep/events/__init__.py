"""Typed events, the change journal of each space, and subscriptions.

log, journal = EventLog(hub), Journal(database, hub)
number = log.record(tx, space_id, kind="created", ...)      # inside a unit of work
changes = await journal.wait(space_id, after=number, limit=100, timeout_s=30)
"""

from __future__ import annotations

from skep.events.cursors import decode_cursor, encode_cursor
from skep.events.feeds import Batch, Feeds, Follower, Skip
from skep.events.hub import RESYNC, Hub, Listener, Mark, Subscription
from skep.events.journal import EventLog, Journal
from skep.events.records import CHANGE_KINDS, EVENT_TYPES, Change, Draft, Event
from skep.events.telling import Tell, Teller, tell_nobody

__all__ = [
    "CHANGE_KINDS",
    "EVENT_TYPES",
    "RESYNC",
    "Batch",
    "Change",
    "Draft",
    "Event",
    "EventLog",
    "Feeds",
    "Follower",
    "Hub",
    "Journal",
    "Listener",
    "Mark",
    "Skip",
    "Subscription",
    "Tell",
    "Teller",
    "decode_cursor",
    "encode_cursor",
    "tell_nobody",
]
