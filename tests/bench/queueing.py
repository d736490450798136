"""What a turn costs: microseconds to queue a task and to pick the next one, with few and with very many users.

Pure code and no I/O, so no reference is needed: the bar is a time. Each size is measured in a process of its own, which
is this module called as a program: `python -m tests.bench.queueing USERS OPERATIONS` prints microseconds.
"""

import json
import random
import subprocess
import sys
from collections.abc import Callable
from statistics import median
from time import thread_time
from typing import Any, Final

from controller.dispatcher.fairqueue import FairQueue, Ticket
from tests.bench.processes import ROOT, cores, pinned

SIZES: Final = (10, 100, 1_000, 10_000, 100_000)
#: The least of so many medians, each of so many samples: the least disturbed one, without trusting a lucky sample.
SERIES, SAMPLES = 5, 15
#: Tasks that wait for each user on average.
DEPTH: Final = 2


def measure(sizes: tuple[int, ...], operations: int, tell: Callable[[str], None]) -> tuple[dict[str, float], Any]:
    """Measure all sizes.

    Returns:
        the figures by name, and everything they were made of.
    """
    costs = {}
    for users in sizes:
        tell(f"{users} users")
        with pinned(cores()[0]):
            command = [sys.executable, "-m", "tests.bench.queueing", str(users), str(operations)]
            costs[users] = float(subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout)
    figures = {f"pick_us_at_{users}_users": cost for users, cost in costs.items()}
    figures["pick_growth"] = costs[max(costs)] / costs[min(costs)]
    return figures, {str(users): cost for users, cost in costs.items()}


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


def pick_us(users: int, operations: int) -> float:
    """Microseconds to queue one task and pick another, as the scheduler does it, while the queue stays as long as it is.

    CPU time, not time on the clock: nothing here waits, and other processes must not count.
    """
    queue, crowd = FairQueue(), Users(users)
    for task_id, network, user in crowd.tasks(users * DEPTH):
        queue.push(Ticket(task_id, network, user, 0.0))
    return min(median(_sample(queue, crowd, operations) for _ in range(SAMPLES)) for _ in range(SERIES))


def _sample(queue: FairQueue, crowd: Users, operations: int) -> float:
    tasks = crowd.tasks(operations)
    began = thread_time()
    for task_id, network, user in tasks:
        queue.push(Ticket(task_id, network, user, 0.0))
        queue.peek()
        queue.pop()
    return (thread_time() - began) / operations * 1e6


if __name__ == "__main__":
    print(json.dumps(pick_us(int(sys.argv[1]), int(sys.argv[2]))))
