"""How often a receiver may be called: a sliding minute, and a least gap, shared by all who use the same URL."""

import asyncio
import hashlib
from collections import deque
from dataclasses import dataclass, field
from typing import Final

from controller.api.notifications import NotificationType

#: Messages in a minute. Robots of WeCom and DingTalk take 20, of Feishu 100 and 5 a second; a few are left to others
#: who use the same robot, and to clocks that differ.
PER_MINUTE: Final[dict[NotificationType, int]] = {"Webhook": 60, "WeCom": 18, "DingTalk": 18, "Feishu": 90}
GAP_SECONDS: Final = 0.25
MINUTE_SECONDS: Final = 60.0


@dataclass(slots=True)
class Pace:
    """The calls of the last minute to one URL."""

    limit: int
    minute: float = MINUTE_SECONDS
    gap: float = GAP_SECONDS
    #: Loop times at which calls may have been made.
    calls: deque[float] = field(default_factory=deque)

    def left(self, now: float) -> int:
        """Calls that may still be made within this minute."""
        while self.calls and now - self.calls[0] >= self.minute:
            self.calls.popleft()
        return max(0, self.limit - len(self.calls))

    async def slot(self) -> int:
        """Wait until a call may be made, and count it; returns how many more may follow at once."""
        loop = asyncio.get_running_loop()
        while (wait := self._wait(loop.time())) > 0:  # noqa: ASYNC110 - it waits for time to pass, nobody tells it
            await asyncio.sleep(wait)
        self.calls.append(loop.time())
        return self.left(loop.time())

    def _wait(self, now: float) -> float:
        if self.left(now) == 0:
            return self.calls[0] + self.minute - now
        return self.calls[-1] + self.gap - now if self.calls else 0.0


class Paces:
    """One for each URL, so that two pools that name the same robot share what it takes."""

    def __init__(self, *, minute: float = MINUTE_SECONDS, gap: float = GAP_SECONDS) -> None:
        self._minute = minute
        self._gap = gap
        self._paces: dict[str, Pace] = {}

    def of(self, kind: NotificationType, url: str) -> Pace:
        """The pace of a URL. The URL is a secret, so only its hash is kept."""
        key = hashlib.sha256(url.encode()).hexdigest()
        if key not in self._paces:
            self._paces[key] = Pace(PER_MINUTE[kind], self._minute, self._gap)
        return self._paces[key]
