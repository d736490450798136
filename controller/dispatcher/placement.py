"""With affinity: which server a task may go to, and networks that stand aside while theirs is full."""

from controller.dispatcher.fairqueue import FairQueue
from controller.dispatcher.identity import Identity
from controller.dispatcher.servers import Server, Servers


class Placement:
    """Binds networks to their servers in the queue's order. A network whose server is full holds nobody else up."""

    def __init__(self, queue: FairQueue, servers: Servers) -> None:
        self._queue = queue
        self._servers = servers
        #: Servers under whose UID networks are parked.
        self._parked: dict[str, Server] = {}
        #: UIDs of all usable servers, when `refresh` last looked.
        self._usable: frozenset[str] = frozenset()

    @property
    def active(self) -> bool:
        """Whether networks may be parked."""
        return bool(self._usable)

    def refresh(self) -> None:
        """Let networks take their turns again whose server can take something, or has let them down."""
        usable = frozenset(s.spec.uid for s in self._servers if s.usable) if self._servers.affine else frozenset[str]()
        if not self._usable <= usable:
            # Some server was lost: its networks, parked or not, will find another one.
            self._forget()
        self._usable = usable
        for uid, server in tuple(self._parked.items()):
            if server.free > 0:
                self._queue.unpark(uid)
                del self._parked[uid]

    def at_home(self, network: str, home: str, now: float) -> Server | None:
        """The server for a network whose turn it is; None if that has no free slot: then the network stands aside.

        Args:
            network: as the queue knows it.
            home: what its server is chosen by, see `home_key`.
            now: the time.
        """
        server = self._servers.for_task(home, now)
        if server is None or server.free > 0:
            return server
        self._queue.park(network, server.spec.uid)
        self._parked[server.spec.uid] = server
        return None

    def again(self, home: str, exclude: set[str], now: float) -> Server | None:
        """The server for a task that some have failed: its network's if that may be, else the network moves with it.

        Args:
            home: what its server is chosen by.
            exclude: names of servers that must not get it.
            now: the time.
        """
        server = self._servers.for_task(home, now)
        if server is None or server.spec.name not in exclude:
            return server if server is not None and server.free > 0 else None
        other = self._servers.choose(exclude)
        if other is not None:
            self._servers.move_home(home, other, now)
            self._forget()
        return other

    def _forget(self) -> None:
        self._queue.unpin()
        self._parked.clear()


def home_key(identity: Identity) -> str:
    """What is kept together at one server: a network, or where every user has a share of its own, a user.

    Without the window: when the hour strikes, the work of a user stays where it is.
    """
    return identity.flow if identity.network == identity.user else identity.network
