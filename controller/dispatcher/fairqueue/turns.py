"""Whose turn it is among flows: start-time fair queueing (Goyal, Vin, Cheng: SIGCOMM 1996).

Every flow has a tag, the virtual time at which its next turn starts. The flow with the least tag is served, and its tag
grows by what the turn is charged with: 1 for a task, or server-seconds, over its weight. V, the virtual time, is the
tag of the turn given last. Flows of equal tags are served in the order of their coming, so that charges of 1 give
A1 B1 C1 A2 to the letter.

* A newcomer starts at V, behind all that stand there, and so waits for at most one turn of each of them.
* An endless stream of newcomers, each under a name of its own, must not keep V where it is and those who have had their
  turn from the next one. So V takes in only so many newcomers per turn; whoever comes after them starts one turn later.
* Who leaves and comes back before V has passed its tag finds it as it was: leaving gains nothing, and loses nothing.
  After that it is a newcomer, with neither credit nor debt, and is forgotten as soon as nothing of its runs any more.
* What a turn cost is known at its end only. An estimate is charged at once, so that nobody takes all free slots in one
  instant; the rest is settled later, also with a flow that has nothing waiting by then.
* V follows what was *served*. A floor taken over what is stored lets a flow that cannot be served hold everybody back.
"""

from collections.abc import Iterable, Iterator
from heapq import heapify, heappop, heappush, heapreplace
from itertools import count
from math import inf
from typing import Final, Generic, TypeVar

from msgspec import Struct

#: A heap is rebuilt when more than half of it, and more entries than this, are outdated.
SLACK: Final = 64
#: Newcomers that V takes in per turn: so many, or as many as had tasks waiting when that turn began.
ROOM: Final = 256
#: Weight of the newest charge in the mean, which is the length of a turn in virtual time.
TURN_WEIGHT: Final = 1 / 32


class Flow(Struct, gc=False, eq=False):
    """A claimant to turns. Its owner counts `waiting`; all else is its turns' business.

    Nothing refers back to whatever holds it, so reference counts alone free it: the garbage collector, which would have
    to walk through hundreds of thousands of them, never sees it.
    """

    key: str
    #: Name of the turns it takes part in, where there are several.
    lane: str | None = None
    #: Tasks that wait.
    waiting: int = 0
    #: Tasks that were charged and not settled yet.
    running: int = 0
    #: Its place among equals; 0 before its first coming.
    order: int = 0
    #: Virtual time at which its next turn starts.
    tag: float = 0.0
    #: The tag under which it stands in the heap, never above `tag`; None: it does not.
    heaped: float | None = None
    #: Whether its tag says anything that a newcomer's would not.
    charged: bool = False
    #: How often it came back later than its tag, with tasks still running.
    epoch: int = 0
    #: By how much it was late then: a charge from before that is settled changes this first.
    forgiven: float = 0.0


F = TypeVar("F", bound=Flow)


class Turns(Generic[F]):
    """Turns among flows that have something waiting.

    Costs: O(log n) for n flows known, which are those that wait, run, or whose tag V has not passed.
    """

    __slots__ = (
        "_arrivals",
        "_heap",
        "_lane",
        "_passed",
        "_ready",
        "_room",
        "_turn",
        "_until",
        "flows",
        "members",
        "v",
    )

    def __init__(self, flows: dict[str, F], arrivals: Iterator[int] | None = None, lane: str | None = None) -> None:
        """Make turns for flows of which none has come yet.

        Args:
            flows: where the owner keeps the flows; those to be forgotten are deleted there.
            arrivals: numbers for newcomers, for flows that may go to other turns; by default these turns' own.
            lane: name of these turns.
        """
        self._lane = lane
        self.flows = flows
        #: Virtual time.
        self.v = 0.0
        self._arrivals = count(1) if arrivals is None else arrivals
        #: Flows known here, and how many of them have something waiting.
        self.members = 0
        self._ready = 0
        #: (tag, order, flow): one valid entry per flow, and outdated ones that are dropped when they come up. A flow
        #: that has left stays until V has passed it.
        self._heap: list[tuple[float, int, F]] = []
        #: Flows that have left, that came up, and that V is about to pass.
        self._passed: dict[str, F] = {}
        #: Mean charge before weights; 0 before the first.
        self._turn = 0.0
        #: End of the turn under way, in which there is room for so many newcomers more. Before anybody was served there
        #: is nobody whom newcomers could keep from a second turn.
        self._until = -inf
        self._room: float = inf

    def join(self, flow: F) -> None:
        """The flow has something waiting now, and had nothing before."""
        self._ready += 1
        if flow.order == 0:
            self.members += 1
            flow.order = next(self._arrivals)
            flow.tag = self._newcomers_tag()
        elif flow.tag <= self.v:
            flow.order = next(self._arrivals)
            tag = self._newcomers_tag()
            flow.epoch += 1
            flow.forgiven = tag - flow.tag
            flow.tag, flow.charged = tag, flow.running > 0
            flow.heaped = None
        self._line_up(flow)

    def peek(self) -> F | None:
        """The flow whose turn it is; None when none has anything waiting."""
        heap = self._heap
        while heap:
            tag, order, flow = heap[0]
            if flow.heaped != tag or flow.order != order or flow.lane != self._lane:
                heappop(heap)
            elif flow.tag > tag:
                heapreplace(heap, (flow.tag, order, flow))
                flow.heaped = flow.tag
            elif flow.waiting:
                return flow
            else:
                heappop(heap)
                flow.heaped = None
                self._set_aside(flow)
        return None

    def served(self, flow: F, charge: float, turn: float) -> None:
        """The flow had its turn, and a task of its runs.

        Args:
            flow: the flow that `peek` has just named.
            charge: what the turn counts for, over the flow's weight.
            turn: the same before the weight.
        """
        start = flow.tag
        if turn != self._turn:
            self._turn += (turn - self._turn) * (TURN_WEIGHT if self._turn else 1.0)
        if start > self.v or start >= self._until:
            self.advance(start)
        flow.tag = flow.heaped = start + charge
        flow.charged = True
        flow.running += 1
        if not flow.waiting:
            self._ready -= 1
        heapreplace(self._heap, (flow.tag, flow.order, flow))
        if self._passed:
            for passed in tuple(self._passed.values()):
                if passed.heaped is None and not passed.running:
                    self._remember(passed)
            self._passed.clear()

    def advance(self, v: float) -> None:
        """It is this late at least."""
        self.v = max(self.v, v)
        if self.v >= self._until:
            self._until = self.v + self._turn
            self._room = max(ROOM, self._ready)

    def leave(self, flow: F) -> None:
        """The flow has nothing waiting any more, without having been served: its tasks were cancelled."""
        self._ready -= 1
        if not flow.running and (flow.tag <= self.v or not flow.charged):
            self._forget(flow)
        self._tidy()

    def settle(self, flow: F, epoch: int, difference: float) -> None:
        """A running task of the flow is over.

        Args:
            flow: the flow.
            epoch: its `epoch` when it was charged.
            difference: what the task cost, less what it was charged with, over the flow's weight.
        """
        flow.running -= 1
        self._correct(flow, epoch, difference)
        if flow.waiting or flow.running:
            return
        if flow.heaped is None:
            self._remember(flow)
        self._tidy()

    def restore(self, flow: F, epoch: int, charge: float) -> None:
        """A running task of the flow waits again as if it had never been served.

        It does not come as a newcomer: had it not been served, its turn would have come by now.

        Args:
            flow: the flow; the task counts among its `waiting` again.
            epoch: its `epoch` when it was charged.
            charge: what it was charged with, over the flow's weight.
        """
        flow.running -= 1
        if flow.waiting == 1:
            self._ready += 1
        self._correct(flow, epoch, -charge)
        self._line_up(flow)

    def begin_with(self, flow: F, v: float) -> None:
        """Go on from when one flow had all turns, and its owner kept its tag.

        Args:
            flow: the flow.
            v: virtual time: its tag when it was served last.
        """
        self.v, self.members, self._ready = v, 1, int(flow.waiting > 0)
        flow.order, flow.charged = next(self._arrivals), True
        self._line_up(flow)

    def take_in(self, flow: F, ahead: float) -> None:
        """A flow comes from other turns, in its old place.

        Args:
            flow: the flow.
            ahead: by how much its tag was above V there.
        """
        self.members += 1
        self._ready += flow.waiting > 0
        flow.tag = self.v + ahead if flow.charged else max(self._newcomers_tag(), self.v + ahead)
        self._line_up(flow)

    def let_go(self, flow: F) -> None:
        """The flow goes to other turns."""
        self.members -= 1
        self._ready -= flow.waiting > 0
        flow.heaped = None
        self._passed.pop(flow.key, None)
        self._tidy()

    def restart(self, members: Iterable[F]) -> None:
        """Every flow starts anew at V, in the order in which their turns would have come.

        Args:
            members: all flows known here.
        """
        self._heap, self._passed = [], {}
        self._turn, self._until, self._room = 0.0, -inf, inf
        for flow in sorted(members, key=_rank):
            if not (flow.waiting or flow.running):
                self._forget(flow)
                continue
            flow.tag, flow.order, flow.heaped, flow.charged = self.v, next(self._arrivals), None, flow.running > 0
            if flow.waiting:
                self._line_up(flow)

    def _newcomers_tag(self) -> float:
        if self._room > 0:
            self._room -= 1
            return self.v
        return self._until

    def _correct(self, flow: F, epoch: int, difference: float) -> None:
        """Charge, or give back, what an estimate was wrong by.

        The tag becomes what it would be, had the charge been right from the start. Where the flow was made to start at
        V meanwhile, what is given back would be a credit for the past, and is none.
        """
        if epoch != flow.epoch:
            flow.forgiven -= difference
            if flow.forgiven >= 0:
                return
            difference, flow.forgiven = -flow.forgiven, 0.0
        flow.tag += difference
        if difference < 0 and flow.heaped is not None:
            self._line_up(flow)

    def _line_up(self, flow: F) -> None:
        """See to it that the flow comes up in time. An entry of a lower tag is put right when it comes up."""
        if flow.heaped is None or flow.heaped > flow.tag:
            flow.heaped = flow.tag
            heappush(self._heap, (flow.tag, flow.order, flow))
            self._tidy()

    def _set_aside(self, flow: F) -> None:
        """A flow that has left came up. Unless V gets so far, its tag still counts."""
        if flow.running:
            return
        if flow.tag <= self.v or not flow.charged:
            self._forget(flow)
        else:
            self._passed[flow.key] = flow

    def _remember(self, flow: F) -> None:
        """Keep a flow that has nothing waiting or running for as long as its tag says something."""
        if flow.tag > self.v:
            self._line_up(flow)
        else:
            self._forget(flow)

    def _forget(self, flow: F) -> None:
        self.members -= 1
        flow.heaped = None
        self._passed.pop(flow.key, None)
        del self.flows[flow.key]

    def _tidy(self) -> None:
        """Drop outdated entries where they are the most."""
        if len(self._heap) <= 2 * self.members + SLACK:
            return
        lane = self._lane
        valid = {
            order: (tag, order, flow)
            for tag, order, flow in self._heap
            if flow.heaped == tag and flow.order == order and flow.lane == lane
        }
        self._heap = list(valid.values())
        heapify(self._heap)


def _rank(flow: Flow) -> tuple[float, int]:
    return flow.tag, flow.order
