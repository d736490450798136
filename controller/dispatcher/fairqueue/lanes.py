"""Turns among networks of which some may go to one server only.

Once it is found that such a network cannot be served now, it is parked: it goes to a lane that is named after the
server and closed until the server can take something. While a lane is closed its virtual time stands still. So nobody
in it holds back the others, and when it opens, everybody in it is as far above V, and as far from each other, as
before: turns that could not be given are no credit (or else the networks of a slow server would have all turns of the
next one that they are sent to), and none is lost.

Opening and closing a lane costs the same however many wait in it.
"""

from collections.abc import Iterator
from itertools import count
from typing import Generic, TypeVar

from msgspec import Struct

from controller.dispatcher.fairqueue.turns import Flow, Turns

F = TypeVar("F", bound=Flow)


class Lane(Struct, Generic[F], eq=False):
    """Turns in a virtual time of their own, which runs while the lane is open."""

    turns: Turns[F]
    #: What V is ahead of it, while it is open.
    behind: float = 0.0
    closed: bool = False


class Lanes(Generic[F]):
    """The turns of all networks.

    Costs: those of `Turns`, and O(open lanes) for telling whose turn it is.
    """

    __slots__ = ("_arrivals", "_lanes", "_main", "_open", "flows")

    def __init__(self, flows: dict[str, F]) -> None:
        """Make turns for flows of which none has come yet.

        Args:
            flows: where the owner keeps the flows; those to be forgotten are deleted there.
        """
        self.flows = flows
        self._arrivals: Iterator[int] = count(1)
        #: Its virtual time is V.
        self._main: Turns[F] = Turns(flows, self._arrivals)
        self._lanes: dict[str, Lane[F]] = {}
        self._open: dict[str, Lane[F]] = {}

    def join(self, flow: F) -> None:
        """See `Turns.join`."""
        self._of(flow).join(flow)

    def leave(self, flow: F) -> None:
        """See `Turns.leave`."""
        self._of(flow).leave(flow)

    def settle(self, flow: F, epoch: int, difference: float) -> None:
        """See `Turns.settle`."""
        self._of(flow).settle(flow, epoch, difference)

    def restore(self, flow: F, epoch: int, charge: float) -> None:
        """See `Turns.restore`."""
        self._of(flow).restore(flow, epoch, charge)

    def peek(self) -> F | None:
        """The flow whose turn it is, of those that are not parked."""
        best = self._main.peek()
        if not self._open:
            return best
        rank = None if best is None else (best.tag, best.order)
        for key, lane in tuple(self._open.items()):
            first = self._now(lane).peek()
            if first is not None:
                other = (first.tag + lane.behind, first.order)
                if rank is None or other < rank:
                    best, rank = first, other
            elif not lane.turns.members:
                del self._open[key], self._lanes[key]
        return best

    def served(self, flow: F, charge: float, turn: float) -> None:
        """See `Turns.served`."""
        if flow.lane is None:
            self._main.served(flow, charge, turn)
            return
        lane = self._lanes[flow.lane]
        lane.turns.served(flow, charge, turn)
        self._main.advance(lane.turns.v + lane.behind)

    def park(self, flow: F, key: str) -> None:
        """The flow, and all that stand in this lane, cannot be served until `unpark`."""
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = self._open[key] = Lane(Turns(self.flows, self._arrivals, key), self._main.v)
        if flow.lane != key:
            self._move(flow, key)
        if not lane.closed:
            self._now(lane)
            lane.closed = True
            del self._open[key]

    def unpark(self, key: str) -> None:
        """Open this lane; does nothing where there is none."""
        lane = self._lanes.get(key)
        if lane is None or not lane.closed:
            return
        lane.closed = False
        lane.behind = self._main.v - lane.turns.v
        self._open[key] = lane

    def unpin(self) -> None:
        """Give up all lanes: their networks go back to the main one, as far above V as they were. Costs O(flows)."""
        for flow in tuple(self.flows.values()):
            if flow.lane is not None:
                self._move(flow, None)
        self._lanes.clear()
        self._open.clear()

    def restart(self) -> None:
        """Everybody starts anew, in the lane that it is in; see `Turns.restart`."""
        members: dict[str | None, list[F]] = {None: []}
        for flow in self.flows.values():
            members.setdefault(flow.lane, []).append(flow)
        for key, flows in members.items():
            (self._main if key is None else self._now(self._lanes[key])).restart(flows)

    def is_parked(self, flow: F) -> bool:
        """Whether it cannot be served now."""
        return flow.lane is not None and self._lanes[flow.lane].closed

    def offsets(self, own: str | None = None) -> dict[str | None, float]:
        """What is to be added to the tags of each lane to compare them, by the name of the lane.

        Args:
            own: a lane that is taken for open. Others that are closed are left out.
        """
        ahead: dict[str | None, float] = {key: lane.behind for key, lane in self._open.items()}
        ahead[None] = 0.0
        if own not in ahead and own is not None:
            ahead[own] = self._main.v - self._lanes[own].turns.v
        return ahead

    def _of(self, flow: F) -> Turns[F]:
        return self._main if flow.lane is None else self._now(self._lanes[flow.lane])

    def _now(self, lane: Lane[F]) -> Turns[F]:
        """The turns of a lane, with the time that it is there."""
        if not lane.closed:
            lane.turns.advance(self._main.v - lane.behind)
        return lane.turns

    def _move(self, flow: F, key: str | None) -> None:
        """Put a flow into another lane, as far above its V as it was above that of its old one."""
        old = self._of(flow)
        ahead = flow.tag - old.v
        old.let_go(flow)
        flow.lane = key
        self._of(flow).take_in(flow, ahead)
