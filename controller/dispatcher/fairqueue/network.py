"""What waits of one network: its users in turn, and of each of them its tasks, first in, first out."""

from bisect import insort
from collections.abc import Iterator
from typing import Final

from msgspec import Struct, field

from controller.dispatcher.fairqueue.turns import Flow, Turns

#: A list of tasks is cut off once more than this, and more than half of it, has been taken.
CONSUMED: Final = 16


class Ticket(Struct, frozen=True, gc=False):
    """A task's place in the queue."""

    task_id: str
    #: What shares are counted by first.
    network: str
    #: The user's name, window included: what limits are counted by.
    user: str
    #: Seconds of the caller's clock.
    submitted: float
    #: Turns the task counts for.
    cost: float = 1.0
    #: Share of its network; 1 is everyone's.
    network_weight: float = 1.0
    #: Share of its user among those of its network.
    user_weight: float = 1.0
    #: What turns inside the network are given to, where that is not the user's name: the user of any window.
    flow: str = ""

    @property
    def line(self) -> str:
        """What turns inside the network are given to."""
        return self.flow or self.user


def weights(ticket: Ticket) -> tuple[float, float]:
    """The weights of its network and of its user. Where every user is a network, both weigh on the only level."""
    if ticket.network == ticket.user:
        return ticket.network_weight * ticket.user_weight, 1.0
    return ticket.network_weight, ticket.user_weight


class Line(Flow, gc=False, eq=False):
    """The waiting tasks of one user. Those that were put back after their turn stand ahead of all others.

    Costs: O(1), also for a task that is cancelled in the middle.
    """

    #: From `head` on; what stands before has been taken.
    tickets: list[Ticket] = field(default_factory=list)
    head: int = 0
    #: Ids of tasks that were cancelled and still stand in `tickets`; None: none.
    struck: set[str] | None = None
    #: (number of its first start, task), in this order; None: none.
    back: list[tuple[int, Ticket]] | None = None

    def __iter__(self) -> Iterator[Ticket]:
        """Yield the tasks, next one first."""
        for _, ticket in self.back or ():
            yield ticket
        for ticket in self.tickets[self.head :]:
            if self.struck is None or ticket.task_id not in self.struck:
                yield ticket

    def first(self) -> Ticket:
        """The next task; there is one."""
        if self.back:
            return self.back[0][1]
        if self.struck:
            self._skip_struck(self.struck)
        return self.tickets[self.head]

    def append(self, ticket: Ticket) -> None:
        """Add a task behind all others."""
        if self.struck and ticket.task_id in self.struck:
            self._compact()
        self.tickets.append(ticket)
        self.waiting += 1

    def put_back(self, ticket: Ticket, start: int) -> None:
        """Add a task ahead of all but those that were put back and had started before it."""
        if self.back is None:
            self.back = []
        insort(self.back, (start, ticket))
        self.waiting += 1

    def take(self) -> tuple[int, Ticket]:
        """Take the next task out; there is one.

        Returns:
            The number of its first start, 0 if it never started, and the task.
        """
        self.waiting -= 1
        if self.back:
            entry = self.back.pop(0)
        else:
            if self.struck:
                self._skip_struck(self.struck)
            entry = 0, self.tickets[self.head]
            self.head += 1
        if not self.waiting:
            self._clear()
        elif self.head > CONSUMED and 2 * self.head > len(self.tickets):
            self._compact()
        return entry

    def remove(self, ticket: Ticket) -> None:
        """Take out a task that waits here."""
        self.waiting -= 1
        back = [entry for entry in self.back or () if entry[1] is not ticket]
        if self.back and len(back) < len(self.back):
            self.back = back
        else:
            if self.struck is None:
                self.struck = set()
            self.struck.add(ticket.task_id)
        if not self.waiting:
            self._clear()
        elif self.struck and 2 * len(self.struck) > len(self.tickets) - self.head:
            self._compact()

    def _skip_struck(self, struck: set[str]) -> None:
        while (task_id := self.tickets[self.head].task_id) in struck:
            struck.remove(task_id)
            self.head += 1
        if self.head > CONSUMED and 2 * self.head > len(self.tickets):
            self._compact()

    def _compact(self) -> None:
        struck = self.struck or ()
        self.tickets = [t for t in self.tickets[self.head :] if t.task_id not in struck]
        self.head, self.struck = 0, None

    def _clear(self) -> None:
        self.tickets.clear()
        self.head, self.struck = 0, None


class Network(Flow, gc=False, eq=False):
    """The users of one network.

    Almost all have but one, and there may be very many of them: turns among users are kept from the second one on.
    """

    #: Its only user until there was a second one.
    only: Line | None = None
    #: Virtual time among users while there is only one.
    v: float = 0.0
    turns: Turns[Line] | None = None

    def line(self, key: str) -> Line:
        """The user of this key, new or old."""
        if self.turns is None:
            if self.only is None:
                self.only = Line(key)
            if self.only.key == key:
                return self.only
            self._second_user()
        assert self.turns is not None  # noqa: S101 - a second user has come
        line = self.turns.flows.get(key)
        if line is None:
            line = self.turns.flows[key] = Line(key)
        return line

    def lines(self) -> Iterator[Line]:
        """The users, those included of whom only the tag is known."""
        if self.turns is not None:
            yield from self.turns.flows.values()
        elif self.only is not None:
            yield self.only

    def next_line(self) -> Line:
        """The user whose turn it is; there is one."""
        line = self.only if self.turns is None else self.turns.peek()
        assert line is not None  # noqa: S101 - `waiting` says that there is one
        return line

    def joined(self, line: Line) -> None:
        """The user has tasks now, and had none before."""
        if self.turns is not None:
            self.turns.join(line)

    def left(self, line: Line) -> None:
        """The user has no tasks any more, without having been served."""
        if self.turns is not None:
            self.turns.leave(line)

    def served(self, line: Line, charge: float, turn: float) -> None:
        """The user had its turn; see `Turns.served`."""
        if self.turns is not None:
            self.turns.served(line, charge, turn)
            return
        self.v = line.tag
        line.tag += charge
        line.running += 1

    def settle(self, line: Line, epoch: int, difference: float) -> None:
        """See `Turns.settle`."""
        if self.turns is not None:
            self.turns.settle(line, epoch, difference)
            return
        line.running -= 1
        line.tag += difference

    def restore(self, line: Line, epoch: int, charge: float) -> None:
        """See `Turns.restore`."""
        if self.turns is not None:
            self.turns.restore(line, epoch, charge)
            return
        line.running -= 1
        line.tag -= charge

    def restart(self) -> None:
        """Every user starts anew; see `Turns.restart`."""
        if self.turns is not None:
            self.turns.restart(self.turns.flows.values())
        elif self.only is not None:
            self.only.tag = self.v

    def _second_user(self) -> None:
        first = self.only
        assert first is not None  # noqa: S101 - the only caller has just looked
        self.turns, self.only = Turns({first.key: first}), None
        self.turns.begin_with(first, self.v)
