"""What is measured of tasks: what scaling reads, how fair it was, and what the scheduler itself costs."""

from collections import deque
from collections.abc import Callable, Iterable
from time import perf_counter
from typing import Final, NamedTuple

from controller.dispatcher.fairness import FairnessMeter
from controller.dispatcher.servers import Server
from controller.dispatcher.signals import Signals
from controller.dispatcher.task import Task
from controller.dispatcher.window import ResponseWindow
from controller.scaling.readings import longest_wait, mean_response

#: Starts kept for inspection.
RECENT_STARTS: Final = 1000


class Start(NamedTuple):
    """A start, as it is kept for inspection."""

    start: int
    task: str
    user: str
    number: int
    server: str
    #: Seconds.
    wait: float


class Figures:
    """Booked by the scheduler, read by metrics and inspection. Times are seconds of the scheduler's clock."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.responses = ResponseWindow(60.0)
        #: Whether a response ends with the whole answer (`scaling.responseTime: Total`), or with the start.
        self.total_response = False
        self.signals = Signals(10)
        self.fairness = FairnessMeter(clock())
        self.recent: deque[Start] = deque(maxlen=RECENT_STARTS)
        #: Tasks that a server started on so far.
        self.started = 0
        #: How often slots were given out, and the seconds that took.
        self.rounds = 0
        self.round_seconds = 0.0
        self._clock = clock

    # --- what happens to tasks -----------------------------------------------------------------------------------

    def waits(self, task: Task) -> None:
        """The task is queued."""
        identity = task.identity
        self.signals.join(task.task_id, identity.quota, task.submitted)
        self.fairness.waits(identity.network, identity.network_weight)

    def waits_no_more(self, task: Task, now: float) -> None:
        """The task has left the queue, whatever for."""
        since = self.signals.leave(task.task_id, task.identity.quota, now)
        task.counted = now if since is None else since
        self.fairness.leaves(task.identity.network)

    def starts(self, task: Task, server: Server, now: float) -> None:
        """A server starts on the task, which has left the queue."""
        task.started = now
        self.started += 1
        task.start_number = self.started
        if not self.total_response:
            self.responses.add(now, now - task.counted_since)
        wait, user = now - task.submitted, task.identity.user
        self.recent.append(Start(task.start_number, task.task_id, user, task.number, server.spec.name, wait))

    def answered(self, task: Task) -> None:
        """A server's whole answer went out."""
        if self.total_response:
            now = self._clock()
            self.responses.add(now, now - task.counted_since)

    def round(self, began: float) -> None:
        """Slots were given out, since this reading of `time.perf_counter`."""
        self.rounds += 1
        self.round_seconds += perf_counter() - began

    # --- what scaling reads --------------------------------------------------------------------------------------
    # Of each user only the first tasks count, and their waits since they came among them. A task whose server died
    # counts in any case (`ahead`): there are no more of them than slots.

    def queue_length(self, ahead: int) -> int:
        """Tasks that wait."""
        return self.signals.length + ahead

    def mean_response(self) -> float:
        """The mean response, seconds."""
        now = self._clock()
        measured = self.responses.values(now)
        return mean_response(measured, (self.signals.mean_age(now),)) if measured or self.signals.length else 0.0

    def oldest_age(self, ahead: Iterable[Task]) -> float:
        """The longest wait, seconds."""
        oldest = self.signals.oldest()
        since = [task.counted_since for task in ahead] + ([] if oldest is None else [oldest])
        return longest_wait(since, self._clock())
