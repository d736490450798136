"""What the queue says to scaling: each user's line counts only so far, or one flood would buy servers for itself. Pure.

Of each user's waiting tasks the first `queue.maxSignalTasksPerUser` count. A task's counted wait begins when it comes
among them: what it waited before that, it waited for its own user's tasks. A flood of 400 tasks then weighs like 10,
and ten users with one task each weigh like ten.

Every operation is O(1), except a change of the limit.
"""

from collections import OrderedDict, deque
from typing import Final

#: Marks of tasks that left a line in its middle are swept when they are more than half of it, and more than this.
SLACK: Final = 64


class _Line:
    """The waiting tasks of one user."""

    __slots__ = ("behind", "counted", "left")

    def __init__(self) -> None:
        #: Tasks that count.
        self.counted = 0
        #: Tasks that do not count yet, first come first; those in `left` are gone. Very many may wait: 8 bytes each.
        self.behind: deque[str] = deque()
        self.left: set[str] = set()

    def depart(self, task: str) -> None:
        """A task behind goes away."""
        self.left.add(task)
        if len(self.left) * 2 > len(self.behind) + SLACK or len(self.left) == len(self.behind):
            self.behind = deque(each for each in self.behind if each not in self.left)
            self.left.clear()

    def next(self) -> str | None:
        """The first task behind, which is not behind any more; None if there is none."""
        while self.behind:
            task = self.behind.popleft()
            if task not in self.left:
                return task
            self.left.remove(task)
        return None


class Signals:
    """Tasks that wait, as scaling sees them. Times are seconds of the caller's clock and never go back."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        #: Task -> when its counted wait began. The oldest comes first, since time does not go back.
        self._counted: OrderedDict[str, float] = OrderedDict()
        #: When the newest of these waits began.
        self._newest = 0.0
        self._sum = 0.0
        self._lines: dict[str, _Line] = {}
        #: Tasks that ever came to count: what is demanded, as far as one user may raise it. Of a flood, each task that
        #: starts lets another one in, so it can demand no more than what it gets.
        self.came = 0

    @property
    def length(self) -> int:
        """Tasks that count."""
        return len(self._counted)

    def set_limit(self, limit: int, now: float) -> None:
        """Change how many tasks of a user count. With a lower limit, those that count already go on counting."""
        if limit > self._limit:
            self._limit = limit
            for line in self._lines.values():
                self._fill(line, now)
        self._limit = limit

    def join(self, task: str, user: str, since: float) -> None:
        """A task waits, behind its user's others.

        Args:
            task: the task.
            user: whose it is.
            since: since when it has been waiting; before now for one that a store has kept.
        """
        line = self._lines.get(user)
        if line is None:
            line = self._lines[user] = _Line()
        if line.counted < self._limit:
            self._count(task, line, since)
        else:
            line.behind.append(task)

    def leave(self, task: str, user: str, now: float) -> float | None:
        """A task waits no longer, for whatever reason.

        Returns:
            When its counted wait began; None if it did not count.
        """
        line = self._lines[user]
        since = self._counted.pop(task, None)
        if since is None:
            line.depart(task)
            return None
        self._sum = self._sum - since if self._counted else 0.0
        line.counted -= 1
        self._fill(line, now)
        if not line.counted:
            del self._lines[user]
        return since

    def oldest(self) -> float | None:
        """When the longest counted wait began; None when nothing waits."""
        return next(iter(self._counted.values()), None)

    def mean_age(self, now: float) -> float:
        """Mean counted wait so far, seconds; 0 when nothing waits."""
        return now - self._sum / len(self._counted) if self._counted else 0.0

    def _count(self, task: str, line: _Line, since: float) -> None:
        self.came += 1
        # A store hands its tasks in oldest first, before others come; what does not fit into that order is moved.
        self._newest = since = max(since, self._newest) if self._counted else since
        self._counted[task] = since
        self._sum += since
        line.counted += 1

    def _fill(self, line: _Line, now: float) -> None:
        """Let the next tasks of a line count, as far as the limit goes."""
        while line.counted < self._limit and (task := line.next()) is not None:
            self._count(task, line, now)
