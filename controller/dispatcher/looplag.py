"""How late the event loop is: the first figure to look at when the dispatcher itself may be what is slow."""

import asyncio
from typing import Final

from controller.dispatcher.histogram import Histogram

#: Time between two looks.
LOOK_SECONDS: Final = 0.5


class LoopLag:
    """Measures by how much a timer comes too late, which is what every request waits that comes meanwhile."""

    def __init__(self, lag: Histogram) -> None:
        self._lag = lag

    async def run(self) -> None:
        """Measure for ever."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + LOOK_SECONDS
            await asyncio.sleep(LOOK_SECONDS)
            self._lag.observe(max(0.0, loop.time() - due))
