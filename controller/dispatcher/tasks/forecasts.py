"""Where a task stands in the queue, and when it will probably start.

That costs time in proportion to the networks that wait, and anybody may ask. So it is worked out for a tenth of the
time at most; who asks beyond that is told what was found last, or nothing.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Final, NamedTuple

from controller.dispatcher.fairqueue.forecast import starts_in
from controller.dispatcher.scheduler import Scheduler

#: Share of the time that may go into this.
SHARE: Final = 0.1
#: Time that may go into this at once, seconds, if none did for a while.
BURST: Final = 0.05
#: Forecasts that are remembered.
REMEMBERED: Final = 4096


class Forecast(NamedTuple):
    """What lies before a task that waits."""

    #: Tasks that will start before it, if nothing else comes.
    position: int
    #: Seconds until it starts; None while there is no server, or nothing is known of them.
    seconds: float | None


class Forecasts:
    """The forecasts of waiting tasks."""

    def __init__(self, scheduler: Scheduler, clock: Callable[[], float]) -> None:
        self._scheduler = scheduler
        self._clock = clock
        #: Time that may be used now, seconds, as of `_looked`.
        self._allowed = BURST
        self._looked = clock()
        self._last: OrderedDict[str, Forecast] = OrderedDict()

    def of(self, task_id: str) -> Forecast | None:
        """The forecast of a task; None if it does not wait, or if there is no time to find out."""
        if task_id not in self._scheduler.queue:
            self._last.pop(task_id, None)
            return None
        began = self._clock()
        self._allowed = min(BURST, self._allowed + SHARE * (began - self._looked))
        self._looked = began
        if self._allowed <= 0:
            return self._last.get(task_id)
        position = self._scheduler.queue.position(task_id)
        forecast = Forecast(position, self._starts_in(position))
        self._allowed -= self._clock() - began
        self._last[task_id] = forecast
        self._last.move_to_end(task_id)
        if len(self._last) > REMEMBERED:
            self._last.popitem(last=False)
        return forecast

    def _starts_in(self, position: int) -> float | None:
        scheduler = self._scheduler
        known = [(s.ewma, s.spec.slots) for s in scheduler.servers if s.usable and s.ewma > 0]
        slots = sum(count for _, count in known)
        if not slots:
            return None
        mean = sum(seconds * count for seconds, count in known) / slots
        remaining = [mean - elapsed for elapsed in scheduler.elapsed()]
        return starts_in(position, slots=scheduler.servers.slots, mean=mean, remaining=remaining)
