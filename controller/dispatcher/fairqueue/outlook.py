"""What will be served when, if nothing else comes: from the queue's own order, without changing it."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from heapq import heapify, heappop, heapreplace, nsmallest
from itertools import islice
from math import floor

from controller.dispatcher.fairqueue.network import Network, Ticket, weights

#: What a task will be charged with, before weights.
Charge = Callable[[Ticket], float]


def upcoming(
    networks: Iterable[Network], offsets: Mapping[str | None, float], charge: Charge, limit: int | None
) -> list[Ticket]:
    """The next tasks in the order in which they will be served.

    Costs O(networks log limit), and O(log limit) per task.

    Args:
        networks: the networks.
        offsets: see `Lanes.offsets`; networks of other lanes are left out.
        charge: what tasks will be charged with.
        limit: how many at most; all if None.
    """
    ready = [
        (network.tag + offsets[network.lane], network.order, network)
        for network in networks
        if network.waiting and network.lane in offsets
    ]
    if limit is not None:
        # Every network has a task, so whoever comes after this many networks is not among this many tasks.
        ready = nsmallest(limit, ready)
    return list(islice(_by_network(ready, charge), limit))


def _by_network(ready: list[tuple[float, int, Network]], charge: Charge) -> Iterator[Ticket]:
    heap = [(tag, order, _by_line(network, charge)) for tag, order, network in ready]
    heapify(heap)
    while heap:
        tag, order, tasks = heap[0]
        ticket = next(tasks, None)
        if ticket is None:
            heappop(heap)
            continue
        heapreplace(heap, (tag + charge(ticket) / weights(ticket)[0], order, tasks))
        yield ticket


def _by_line(network: Network, charge: Charge) -> Iterator[Ticket]:
    heap = [(line.tag, line.order, iter(line)) for line in network.lines() if line.waiting]
    heapify(heap)
    while heap:
        tag, order, tasks = heap[0]
        ticket = next(tasks, None)
        if ticket is None:
            heappop(heap)
            continue
        heapreplace(heap, (tag + charge(ticket) / weights(ticket)[1], order, tasks))
        yield ticket


def position(
    ticket: Ticket, networks: Mapping[str, Network], offsets: Mapping[str | None, float], charge: Charge
) -> int:
    """How many tasks will be served before this one.

    The tasks before it of its own user are looked at one by one; all tasks of another user, or network, are taken to be
    charged like its next one. So it is exact where every task of a user, and of a network, is charged the same.

    Costs O(networks + users of its network + tasks before it of its user).

    Args:
        ticket: a waiting task.
        networks: the networks by key.
        offsets: see `Lanes.offsets`; networks of other lanes are left out.
        charge: what tasks will be charged with.
    """
    network = networks[ticket.network]
    before, charged = _in_network(ticket, network, charge)
    start = network.tag + offsets[network.lane] + charged
    for other in networks.values():
        if other is network or not other.waiting:
            continue
        offset = offsets.get(other.lane)
        if offset is None or other.tag + offset > start:
            continue
        gap, earlier = start - other.tag - offset, other.order < network.order
        if other.waiting == 1:
            before += gap > 0 or earlier
            continue
        first = other.next_line().first()
        before += _turns(gap, charge(first) / weights(first)[0], other.waiting, earlier=earlier)
    return before


def _in_network(ticket: Ticket, network: Network, charge: Charge) -> tuple[int, float]:
    """Tasks of its own network that will be served before it, and what the network will be charged for them."""
    own = network.line(ticket.line)
    before, charged, start = 0, 0.0, own.tag
    for earlier in own:
        if earlier is ticket:
            break
        network_weight, line_weight = weights(earlier)
        before += 1
        charged += charge(earlier) / network_weight
        start += charge(earlier) / line_weight
    for line in network.lines():
        if line is own or not line.waiting or line.tag > start:
            continue
        first = line.first()
        network_weight, line_weight = weights(first)
        turns = _turns(start - line.tag, charge(first) / line_weight, line.waiting, earlier=line.order < own.order)
        before += turns
        charged += turns * charge(first) / network_weight
    return before, charged


def _turns(gap: float, step: float, most: int, *, earlier: bool) -> int:
    """Turns of another flow before ours.

    Args:
        gap: what its tag is below the one of our turn; 0 or more.
        step: what its tag grows by with each turn.
        most: turns it can have.
        earlier: whether it goes first where tags are equal.
    """
    whole = gap / step
    if whole >= most:
        return most
    turns = floor(whole)
    return turns + 1 if earlier or turns < whole else turns
