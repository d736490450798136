"""The waiting tasks by id and by user: who waits, and who waits longest. Turns are no matter of it."""

from collections import OrderedDict
from collections.abc import Iterator
from heapq import merge

from controller.dispatcher.fairqueue.network import Ticket


class Waiting:
    """Waiting tasks. Costs O(1) each, unless a method says otherwise."""

    __slots__ = ("_back", "_new", "users")

    def __init__(self) -> None:
        #: Tasks that wait for their first turn, oldest first.
        self._new: OrderedDict[str, Ticket] = OrderedDict()
        #: Tasks that were put back: few, and not in order.
        self._back: dict[str, Ticket] = {}
        #: Waiting tasks by user, in the order of their coming.
        self.users: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._new) + len(self._back)

    def __iter__(self) -> Iterator[Ticket]:
        """Yield the tasks in the order of their submission. Costs O(b log b) first for b tasks that were put back."""
        if not self._back:
            return iter(self._new.values())
        return merge(sorted(self._back.values(), key=_submitted), self._new.values(), key=_submitted)

    def __contains__(self, task_id: object) -> bool:
        return task_id in self._new or task_id in self._back

    def get(self, task_id: str) -> Ticket | None:
        """The task of this id."""
        return self._new.get(task_id) or self._back.get(task_id)

    def oldest(self) -> Ticket | None:
        """The task that waits longest. Costs O(tasks that were put back)."""
        first = next(iter(self._new.values()), None)
        if not self._back:
            return first
        back = min(self._back.values(), key=_submitted)
        return back if first is None or back.submitted <= first.submitted else first

    def add(self, ticket: Ticket) -> None:
        """A task waits that was submitted after all others.

        Raises:
            ValueError: one of that id waits already.
        """
        if ticket.task_id in self._new or ticket.task_id in self._back:
            raise ValueError(f"task {ticket.task_id} is queued already")
        self._new[ticket.task_id] = ticket
        self.users[ticket.user] = self.users.get(ticket.user, 0) + 1

    def put_back(self, ticket: Ticket) -> None:
        """A task waits again."""
        self._back[ticket.task_id] = ticket
        self.users[ticket.user] = self.users.get(ticket.user, 0) + 1

    def strike(self, ticket: Ticket) -> None:
        """A task waits no more."""
        if self._new.pop(ticket.task_id, None) is None:
            del self._back[ticket.task_id]
        user = ticket.user
        left = self.users[user] - 1
        if left:
            self.users[user] = left
        else:
            del self.users[user]


def _submitted(ticket: Ticket) -> float:
    return ticket.submitted
