"""How much a store can be relied on, from what audits have shown. Pure functions over frozen data.

The honesty of a store is a beta distribution with forgetting (Josang and Ismail 2002, as Storj uses it): each audit
that it passes counts for ``good``, each that it fails for ``bad``, and what is old counts less and less. Not answering
is no lie: how often a store answers is kept apart.
"""

from __future__ import annotations

import msgspec

FORGETTING = 0.98
"""What an outcome still counts for at the next audit: about the last 50 count."""
FIRST_GOOD = 10.0
"""A store that nobody has audited yet: taken as honest, but a few failures are enough to change that."""
FAILURE_WEIGHT = 4.0
"""A shard that is not there, or not what was written, says more than one that is."""
SUSPECT_BELOW = 0.8
"""A store whose honesty is less is used for new shards only where no other will do."""
_SUSPECT_WEIGHT = 0.001


class Reputation(msgspec.Struct, frozen=True):
    """What is known of one store."""

    good: float = FIRST_GOOD
    bad: float = 0.0
    answered: float = 1.0
    """How often it answers, smoothed: 0 to 1."""
    audits: int = 0
    failed: int = 0
    unanswered: int = 0
    last_audit_us: int | None = None
    last_failure_us: int | None = None

    @property
    def honesty(self) -> float:
        """The expected part of audits that it passes: 0 to 1."""
        return self.good / (self.good + self.bad)

    @property
    def suspect(self) -> bool:
        """Whether so many audits failed that it should get nothing new."""
        return self.honesty < SUSPECT_BELOW

    @property
    def factor(self) -> float:
        """What placement multiplies the store's weight with."""
        return _SUSPECT_WEIGHT if self.suspect else self.honesty * max(0.1, self.answered)


def after_audit(before: Reputation, outcome: str, now_us: int) -> Reputation:
    """The reputation after an audit that was ``passed``, ``failed`` or ``unanswered``."""
    answered = FORGETTING * before.answered + (1 - FORGETTING) * (outcome != "unanswered")
    passed, failed = outcome == "passed", outcome == "failed"
    good, bad = before.good, before.bad
    if passed or failed:
        good, bad = FORGETTING * good + passed, FORGETTING * bad + FAILURE_WEIGHT * failed
    return Reputation(
        good=good,
        bad=bad,
        answered=answered,
        audits=before.audits + 1,
        failed=before.failed + failed,
        unanswered=before.unanswered + (outcome == "unanswered"),
        last_audit_us=now_us,
        last_failure_us=now_us if failed else before.last_failure_us,
    )
