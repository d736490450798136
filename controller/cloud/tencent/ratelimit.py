"""The client's own rate limit: 20 calls per second for each action in each region, waited for, never failed."""

import asyncio
from collections import defaultdict, deque
from typing import Final

from controller.cloud.errors import ThrottledError

#: Tencent's documented limit for every HAI action and for Cloud Monitor, per (action, region, sub-account).
CALLS: Final = 20
#: Seconds that hold at most `CALLS` calls. A tenth more than the cloud's second, since the network may bunch up what
#: left evenly.
PERIOD_S: Final = 1.1
#: Longest wait for a turn. Beyond it the caller gets `ThrottledError` (nothing was sent) rather than an unbounded wait.
MAX_WAIT_S: Final = 60.0


class RateLimiter:
    """A sliding window per key: no span of `period_s` ever holds more than `calls` calls.

    A token bucket would let through a full bucket and a second's refill at once, twice the limit of a cloud that
    counts by fixed seconds. Turns are given in the order of asking. Uses the event loop's clock only.
    """

    def __init__(self, *, calls: int = CALLS, period_s: float = PERIOD_S, max_wait_s: float = MAX_WAIT_S) -> None:
        self._period_s = period_s
        self._max_wait_s = max_wait_s
        #: The latest `calls` turns of each key, in loop time; the future ones are reserved.
        self._turns: defaultdict[tuple[str, str], deque[float]] = defaultdict(lambda: deque(maxlen=calls))

    async def wait(self, action: str, region: str) -> None:
        """Return when the call may be sent.

        Raises:
            ThrottledError: the wait would be longer than `max_wait_s`; nothing is reserved.
        """
        now = asyncio.get_running_loop().time()
        turns = self._turns[action, region]
        full = len(turns) == turns.maxlen
        turn = max(now, turns[0] + self._period_s) if full else now
        if turn - now > self._max_wait_s:
            raise ThrottledError(
                f"{action} in {region}: {turn - now:.0f} s of calls are already waiting for their turn",
                code="ClientRateLimit",
            )
        turns.append(turn)
        if turn > now:
            await asyncio.sleep(turn - now)
