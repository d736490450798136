"""Two levels of turns: networks take turns, and inside a network its users; inside a user, first in, first out.

With one user per network this is A1 B1 C1 A2 B2 C2 ..., and when B is empty A11 C11 A12 C12 ....
"""

from collections import OrderedDict
from collections.abc import Iterator

from msgspec import Struct

from controller.dispatcher.fairqueue.turns import Turns


class Ticket(Struct, frozen=True, gc=False):
    """A task's place in the queue."""

    task_id: str
    #: What shares are counted by.
    network: str
    user: str
    #: Seconds of the caller's clock.
    submitted: float


#: Tickets by task id, first come first; any of them can be taken out at once.
Line = OrderedDict[str, Ticket]


class _Network:
    """The users of one network that have tasks waiting."""

    __slots__ = ("turns", "users")

    def __init__(self) -> None:
        #: None until there was a second user: most networks have but one, and there may be very many.
        self.turns: Turns[str] | None = None
        self.users: dict[str, Line] = {}

    def join(self, user: str) -> Line:
        """A user has tasks now; returns where they go."""
        if self.users and self.turns is None:
            self.turns = Turns()
            for first in self.users:
                self.turns.join(first)
        if self.turns is not None:
            self.turns.join(user)
        line = self.users[user] = OrderedDict()
        return line

    def next_user(self) -> str:
        """The user whose turn it is; there is one."""
        user = next(iter(self.users)) if self.turns is None else self.turns.peek()
        assert user is not None  # noqa: S101 - a network is kept only while it has a user with a task
        return user

    def served(self, user: str, *, more: bool) -> None:
        """The user had its turn."""
        if self.turns is not None:
            self.turns.served(user, more=more)

    def leave(self, user: str) -> None:
        """The user has nothing waiting any more, without having been served."""
        if self.turns is not None:
            self.turns.leave(user)


class FairQueue:
    """The tasks that wait."""

    def __init__(self) -> None:
        self._turns: Turns[str] = Turns()
        self._networks: dict[str, _Network] = {}
        #: All waiting tasks, oldest first.
        self._tickets: Line = OrderedDict()
        self._waiting: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._tickets)

    def __iter__(self) -> Iterator[Ticket]:
        return iter(self._tickets.values())

    def __contains__(self, task_id: object) -> bool:
        return task_id in self._tickets

    def waiting_of(self, user: str) -> int:
        """Tasks of this user that wait."""
        return self._waiting.get(user, 0)

    def users(self) -> dict[str, int]:
        """Waiting tasks of every user that has any, in the order of their first coming."""
        return dict(self._waiting)

    def oldest(self) -> Ticket | None:
        """The task that waits longest."""
        return next(iter(self._tickets.values()), None)

    def push(self, ticket: Ticket) -> None:
        """Queue a task behind its user's others.

        Raises:
            ValueError: a task of that id waits already.
        """
        if ticket.task_id in self._tickets:
            raise ValueError(f"task {ticket.task_id} is queued already")
        network = self._networks.get(ticket.network)
        if network is None:
            network = self._networks[ticket.network] = _Network()
            self._turns.join(ticket.network)
        line = network.users.get(ticket.user)
        if line is None:
            line = network.join(ticket.user)
        line[ticket.task_id] = self._tickets[ticket.task_id] = ticket
        self._waiting[ticket.user] = self._waiting.get(ticket.user, 0) + 1

    def peek(self) -> Ticket | None:
        """The task whose turn it is."""
        key = self._turns.peek()
        if key is None:
            return None
        network = self._networks[key]
        return next(iter(network.users[network.next_user()].values()))

    def pop(self) -> Ticket | None:
        """Take the task whose turn it is; its user's and its network's turn has passed."""
        key = self._turns.peek()
        if key is None:
            return None
        network = self._networks[key]
        user = network.next_user()
        line = network.users[user]
        ticket = line.popitem(last=False)[1]
        network.served(user, more=bool(line))
        self._forget(network, ticket, line)
        self._turns.served(key, more=bool(network.users))
        return ticket

    def remove(self, task_id: str) -> Ticket | None:
        """Take a task out of its place (cancelled, expired); None if it does not wait. Nobody's turn passes."""
        ticket = self._tickets.get(task_id)
        if ticket is None:
            return None
        network = self._networks[ticket.network]
        line = network.users[ticket.user]
        del line[task_id]
        if not line:
            network.leave(ticket.user)
        self._forget(network, ticket, line)
        if not network.users:
            self._turns.leave(ticket.network)
        return ticket

    def _forget(self, network: _Network, ticket: Ticket, line: Line) -> None:
        """Strike a ticket, which its user's line holds no more, off everything else.

        A network without tasks keeps no memory of its users' turns: it has but one turn itself.
        """
        del self._tickets[ticket.task_id]
        user = ticket.user
        if self._waiting[user] == 1:
            del self._waiting[user]
        else:
            self._waiting[user] -= 1
        if not line:
            del network.users[user]
            if not network.users:
                del self._networks[ticket.network]
