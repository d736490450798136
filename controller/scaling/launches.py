"""How purchases have gone lately: the breaker of launches that fail, and how many a minute has had.

Only what failed counts: sold out is an answer about stock, throttled and unclear are none yet. What failed in a row
sets the pause before the next try (`grow.next_try`), and one server that becomes Ready ends it. The condition looks at
the last four, as Karpenter does: half of them failed is a case for a person, one is not.
"""

from dataclasses import dataclass
from typing import Final

#: Outcomes that the condition looks at.
RING: Final = 4
#: So many of them failed: someone should look.
UNHEALTHY: Final = 2
#: Failures in a row that are told apart: the pause has long reached its maximum by then.
FAILURES_KEPT: Final = 20
#: The sliding minute of `maxLaunchesPerMinute`, seconds.
MINUTE: Final = 60.0


@dataclass(frozen=True, slots=True)
class Launches:
    """The last launches of a pool."""

    #: Failures since the last launch that became Ready, newest last: (Unix seconds, what happened).
    failures: tuple[tuple[float, str], ...] = ()
    #: The last outcomes, oldest first: whether it became Ready.
    outcomes: tuple[bool, ...] = ()

    def failed(self, at: float, what: str) -> "Launches":
        """After one more failure."""
        return Launches((*self.failures, (at, what))[-FAILURES_KEPT:], (*self.outcomes, False)[-RING:])

    def succeeded(self) -> "Launches":
        """After a launch that became Ready."""
        return Launches((), (*self.outcomes, True)[-RING:])
