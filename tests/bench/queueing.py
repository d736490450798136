"""What a turn costs: microseconds to queue a task and to pick the next one, with few and with very many users.

Pure code and no I/O, so no reference is needed: the bar is a time. Each size is measured in a process of its own, which
is this module called as a program: `python -m tests.bench.queueing USERS OPERATIONS FAIRNESS` prints a JSON object.
"""

import json
import random
import subprocess
import sys
from collections.abc import Callable, Sequence
from statistics import median
from time import thread_time
from typing import Any, Final, cast

from controller.dispatcher.fairqueue import Fairness, FairQueue, Ticket
from tests.bench.processes import ROOT, cores, pinned

SIZES: Final = (10, 100, 1_000, 10_000, 100_000)
#: The least of so many medians, each of so many samples: the least disturbed one, without trusting a lucky sample.
SERIES, SAMPLES = 5, 15
#: Tasks that wait for each user on average.
DEPTH: Final = 2
#: Tasks that run at a time: their slots.
SLOTS: Final = 50
#: Of their seconds, from one to a minute: users then do not come up in the order in which they went.
ESTIMATES: Final = tuple(60.0 ** (slot * 7 % SLOTS / SLOTS) for slot in range(SLOTS))


def measure(sizes: Sequence[int], operations: int, tell: Callable[[str], None]) -> tuple[dict[str, float], Any]:
    """Measure all sizes with turns counted in tasks, the default, and the largest with turns counted in seconds.

    Returns:
        the figures by name, and everything they were made of.
    """
    raw = {}
    for users, fairness in (*((size, "Tasks") for size in sizes), (max(sizes), "Seconds")):
        tell(f"{users} users, turns in {fairness.lower()}")
        with pinned(cores()[0]):
            command = [sys.executable, "-m", "tests.bench.queueing", str(users), str(operations), fairness]
            said = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout
        raw[f"{users} {fairness}"] = json.loads(said)
    picks = {size: float(raw[f"{size} Tasks"]["pick_us"]) for size in sizes}
    figures = {f"pick_us_at_{users}_users": cost for users, cost in picks.items()}
    figures["pick_growth"] = picks[max(sizes)] / picks[min(sizes)]
    figures[f"settle_us_at_{max(sizes)}_users"] = raw[f"{max(sizes)} Tasks"]["settle_us"]
    for what in ("pick", "settle"):
        figures[f"{what}_us_at_{max(sizes)}_users_in_seconds"] = raw[f"{max(sizes)} Seconds"][f"{what}_us"]
    return figures, raw


class Users:
    """Users, each with an address of its own, that send tasks in random order."""

    def __init__(self, count: int) -> None:
        self._random = random.Random(count)
        self._networks = [f"10.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}" for n in range(count)]
        self._names = [f"user_{network}_1" for network in self._networks]
        self._number = 0

    def tasks(self, count: int) -> list[tuple[str, str, str]]:
        """Ids, networks and names for so many tasks of random users."""
        chosen = self._random.choices(range(len(self._names)), k=count)
        self._number += count
        return [(f"{self._number - i:016x}", self._networks[n], self._names[n]) for i, n in enumerate(chosen)]


def costs(users: int, operations: int, fairness: Fairness) -> dict[str, float]:
    """Microseconds to queue one task and pick another, and to settle one, while the queue stays as long as it is.

    CPU time, not time on the clock: nothing here waits, and other processes must not count.
    """
    queue, crowd = FairQueue(fairness), Users(users)
    for task in crowd.tasks(users * DEPTH):
        queue.push(Ticket(*task, 0.0))
    series = [[_sample(queue, crowd, operations) for _ in range(SAMPLES)] for _ in range(SERIES)]
    pick, settle = (min(median(sample[n] for sample in samples) for samples in series) for n in (0, 1))
    return {"pick_us": pick, "settle_us": settle}


def _sample(queue: FairQueue, crowd: Users, operations: int) -> tuple[float, float]:
    """One sample: all slots are filled and emptied, over and over, as the scheduler does it."""
    pick = settle = 0.0
    rounds = max(1, operations // SLOTS)
    for _ in range(rounds):
        tasks = crowd.tasks(SLOTS)
        running = []
        began = thread_time()
        for (task_id, network, user), seconds in zip(tasks, ESTIMATES, strict=True):
            queue.push(Ticket(task_id, network, user, 0.0))
            queue.peek()
            running.append(queue.pop(seconds))
        picked = thread_time()
        for ticket in running:
            assert ticket is not None
            queue.settle(ticket.task_id, 3.0)
        settle += thread_time() - picked
        pick += picked - began
    return pick / (rounds * SLOTS) * 1e6, settle / (rounds * SLOTS) * 1e6


if __name__ == "__main__":
    print(json.dumps(costs(int(sys.argv[1]), int(sys.argv[2]), cast("Fairness", sys.argv[3]))))
