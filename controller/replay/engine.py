"""The virtual clock: tasks come and end, servers come and go, and every interval a decision is made.

Decisions are `controller.scaling.plan` on snapshots as the operator builds them. As in the operator, the pool is looked
at every `scaling.intervalSeconds`, and at once when a server becomes Ready or a drain ends.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from heapq import heappop, heappush
from math import ceil, inf
from typing import Final

import msgspec

from controller.api.budget import Budget
from controller.api.gpupool import GpuPoolSpec
from controller.api.spend import Spend
from controller.replay.desk import Desk
from controller.replay.machines import Fleet, Machine
from controller.replay.trace import Trace
from controller.scaling import victims
from controller.scaling.actions import Action, Destroy, Drain, Launch, Undrain
from controller.scaling.demand import DemandMeter
from controller.scaling.ledger import Bill, book
from controller.scaling.offers import rank, sold_out_until
from controller.scaling.plan import Plan, plan
from controller.scaling.replicas import Scrape
from controller.scaling.signals import Sources, signals
from controller.scaling.slots import SlotMeter
from controller.scaling.snapshot import Memory, Missing, Offer, ServerState, Snapshot, Spent

#: The operator looks after a draining server this often, so the end of a drain is noticed so late.
DRAIN_LOOK_SECONDS: Final = 2.0
#: From the destruction until the cloud has let go, and billing ends.
TERMINATE_SECONDS: Final = 10.0
#: After the last task the pool is watched until it is back at its minimum, but not for longer than this.
TAIL_SECONDS: Final = 7 * 86400.0
#: The servers of the minimum have been there for so long, beyond their minimum lifetime, when the trace starts.
OLD_SECONDS: Final = 3600.0
#: What happens to a server, in place of the number of a task that ends.
READY, GONE = -1, -2

#: Told of (tasks that have come, virtual seconds) now and then.
Progress = Callable[[int, float], None]


@dataclass(frozen=True, slots=True)
class Market:
    """What can be bought, and how that goes."""

    offers: tuple[Offer, ...]
    #: From purchase to Ready.
    deploy_seconds: float = 180.0
    #: Servers left of a bundle; what is not named never runs out.
    stock: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Turn:
    """A decision that changed the pool: which way, and by how many servers."""

    at: float
    #: ScaleUp, Undrain or ScaleDown.
    action: str
    reason: str
    count: int


class Replay:
    """One run. Make it, `run` it, and read what came of it from its fields."""

    def __init__(self, spec: GpuPoolSpec, trace: Trace, market: Market, *, doze: bool = True) -> None:
        """Prepare a run that starts with the pool's minimum Ready, for long enough to go.

        Args:
            spec: the pool's.
            trace: the tasks.
            market: the offers.
            doze: leave out decisions that can only be the same as the last one. It changes nothing but the time it
                takes, as a test proves.
        """
        self.spec, self.trace, self.market = with_slots(spec), trace, market
        self.fleet = Fleet()
        self.desk = Desk(self.spec, trace, self.fleet, ends=self._ends)
        #: Every server that there ever was.
        self.machines: list[Machine] = []
        self.turns: list[Turn] = []
        self.decisions = 0
        self.peak = 0
        self.sold_out = 0
        #: How often a trigger was suspended, since what was bought for it stood idle.
        self.suspensions = 0
        #: When the last task came or ended.
        self.last_task = 0.0
        #: When all was over.
        self.end = 0.0
        self._doze = doze
        self._interval = float(spec.scaling.interval_seconds)
        self._offers = {(o.region, o.bundle): o for o in market.offers}
        self._stock, self._refusals = dict(market.stock), dict[str, int]()
        self._memory, self._meter, self._slots = Memory(), DemandMeter(), SlotMeter()
        #: What was spent, and the servers that ended since it was last reckoned; kept only for a budget.
        self._spend, self._ended = Spend(), list[Bill]()
        #: (time, number, server, task that ends there, or READY or GONE).
        self._events: list[tuple[float, int, Machine, int]] = []
        self._number = 0
        #: The next decision, and how many intervals after which time it is.
        self._next = self._anchor = 0.0
        self._count = 0
        #: Whether decisions are left out now, and from which interval on.
        self._dozing, self._rested = False, 0
        self._start()

    def _start(self) -> None:
        cheapest = rank(self.market.offers)[:1]
        if not cheapest:
            raise ValueError("nothing is on offer")
        long_ago = -OLD_SECONDS - self.spec.scaling.down.min_lifetime_seconds
        for _ in range(self.spec.replicas.min):
            machine = self._bought(cheapest[0], long_ago - self.market.deploy_seconds)
            machine.state, machine.ready_at = ServerState.READY, long_ago
            self.desk.offer(machine)
        self.peak = len(self.fleet)

    # --- time ------------------------------------------------------------------------------------------------------

    def run(self, progress: Progress | None = None, *, every: int = 10_000) -> "Replay":
        """Let the whole trace pass, and then time until the pool is back at its minimum.

        Args:
            progress: called after every so many tasks that came.
            every: how many.
        """
        arrivals, desk = self.trace.arrivals, self.desk
        for task, at in enumerate(arrivals):
            self._pass_until(at)
            if self._dozing:
                self._wake(at)
            desk.expire(at)
            desk.submit(task, at)
            if progress is not None and task % every == 0:
                progress(task, at)
        self.last_task = self.trace.seconds
        while not self._over() and (at := min(self._next, self._events[0][0] if self._events else inf)) < inf:
            self._pass_until(at, inclusive=True)
        self.end = max(self.end, self.last_task)
        return self

    def _over(self) -> bool:
        done = not (self.desk.running or self.desk.waiting)
        if self.end - self.trace.seconds > TAIL_SECONDS:
            return True
        return done and len(self.fleet) <= self.spec.replicas.min

    def _pass_until(self, at: float, *, inclusive: bool = False) -> None:
        """Let everything happen that happens before this time, or at it."""
        events = self._events
        while True:
            event = events[0][0] if events else inf
            now = min(event, self._next)
            if now > at or (now == at and not inclusive):
                return
            self.end = now
            if event <= self._next:
                now, _, machine, what = heappop(events)
                self._happens(now, machine, what)
            else:
                self._decide(now)

    def _happens(self, now: float, machine: Machine, what: int) -> None:
        self.desk.expire(now)
        if what == READY:
            machine.state, machine.ready_at = ServerState.READY, now
            self.desk.offer(machine)
            self.desk.pump(now)
            self._look(now)
        elif what == GONE:
            machine.gone_at = now
            self._ended.append(machine.bill())
            self.fleet.remove(machine)
        elif what in machine.running:
            self.last_task = now
            self.desk.finish(machine, what, now)
            if machine.drain_since is not None and not machine.running:
                self._look(now + DRAIN_LOOK_SECONDS)

    def _ends(self, machine: Machine, task: int, at: float) -> None:
        self._later(at, machine, task)

    def _later(self, at: float, machine: Machine, what: int) -> None:
        self._number += 1
        heappush(self._events, (at, self._number, machine, what))

    # --- decisions -------------------------------------------------------------------------------------------------

    def _look(self, at: float) -> None:
        """Have a decision made no later than this; the intervals are counted from there."""
        if at < self._next:
            self._next = self._anchor = at
            self._count = 0

    def _wake(self, at: float) -> None:
        """A task comes while decisions are left out: the next one is due at the end of this interval.

        The last one that was left out would have read the same as ever, which what is counted from here on needs.
        """
        self._dozing = False
        self._due(at)
        self._scrape(min(at, self._next - self._interval))

    def _decide(self, now: float) -> None:
        self._count += 1
        self._next = self._anchor + self._count * self._interval
        self._dozing = False
        self.decisions += 1
        self.desk.expire(now)
        decided = plan(self._observe(now), self._memory, now=now)
        self.suspensions += _opened(self._memory, decided.memory)
        self._memory = decided.memory
        for action in decided.actions:
            self._apply(action, now)
        if decided.actions:
            self._note(decided, now)
        elif self._doze and not self.desk.busy(now):
            self._sleep(decided, now)

    def _observe(self, now: float) -> Snapshot:
        """The pool as the operator would see it now."""
        spec, fleet = self.spec, self.fleet
        scrape = self._scrape(now)
        window = float(spec.scaling.window_seconds)
        use = self._slots.use(scrape, tuple(fleet.ready), window=window)
        sources = Sources(scrape, use, Missing("CpuUnknown", "a trace has no Cloud Monitor"))
        timeout = float(spec.scaling.down.drain_timeout_seconds)
        return Snapshot(
            spec=spec,
            signals=signals(sources, spec.scaling, ready=tuple(fleet.ready), now=now),
            servers=fleet.views(scrape, drain_timeout=timeout, now=now),
            offers=tuple(self._offers.values()),
            demand=self._meter.demand(scrape, window=window),
            spent=self._spent(now),
        )

    def _scrape(self, now: float) -> Scrape:
        """What the dispatcher exports now, noted as the operator notes it."""
        scrape = Scrape((self.desk.reading(now),))
        self._meter.note(scrape)
        self._slots.note(scrape, window=float(self.spec.scaling.window_seconds))
        return scrape

    def _spent(self, now: float) -> Spent:
        """What the budget is held against. The trace starts at 8:00 on the first day of a month, Beijing time."""
        if self.spec.budget == Budget():
            return Spent()
        self._spend = book(self._spend, [*self._ended, *(m.bill() for m in self.fleet)], now=now)
        self._ended.clear()
        return Spent(today=self._spend.today, this_month=self._spend.this_month)

    def _note(self, decided: Plan, now: float) -> None:
        self.peak = max(self.peak, sum(m.drain_since is None for m in self.fleet))
        action = decided.verdict.action
        if action in ("ScaleUp", "ScaleDown", "Undrain"):
            count = sum(isinstance(a, Launch | Drain | Undrain) for a in decided.actions)
            self.turns.append(Turn(now, action, decided.verdict.reason, count))

    def _sleep(self, decided: Plan, now: float) -> None:
        """Leave decisions out that can only be this one again, if only time passes until then."""
        if not self.fleet.settled:
            return
        until = self._holds_until(decided, now)
        if until > self._next:
            self._dozing = True
            self._rested = self._count
            self._due(until)

    def _holds_until(self, decided: Plan, now: float) -> float:
        """Until when time alone cannot change this decision."""
        down, memory = self.spec.scaling.down, decided.memory
        match decided.verdict.reason:
            case "AtMinimum" | "ScaleDownPaused":
                return inf
            case "LowLoadTooShort" if memory.low_load_since is not None:
                return memory.low_load_since + down.stabilization_seconds
            case "VictimTooYoung":
                views = self._observe(now).servers
                return (victims.rank(views)[0].ready_at or now) + down.min_lifetime_seconds
        return now

    def _due(self, at: float) -> None:
        """The next decision is the first that is due at this time or after it."""
        if at == inf:
            self._next = inf
            return
        self._count = max(self._rested, ceil((at - self._anchor) / self._interval))
        self._next = self._anchor + self._count * self._interval

    # --- actions ---------------------------------------------------------------------------------------------------

    def _apply(self, action: Action, now: float) -> None:
        match action:
            case Launch(offer, reason):
                self._buy(offer, reason, now)
            case Drain(name):
                machine = self.fleet[name]
                machine.drain_since = now
                self.desk.offer(machine)
                self._look(now + DRAIN_LOOK_SECONDS if not machine.running else self._next)
            case Undrain(name):
                machine = self.fleet[name]
                machine.drain_since = None
                self.desk.offer(machine)
                self.desk.pump(now)
            case Destroy(name):
                machine = self.fleet[name]
                machine.state = ServerState.TERMINATING
                self.desk.offer(machine)
                if machine.running:
                    self.desk.interrupt(machine, now)
                self._later(now + TERMINATE_SECONDS, machine, GONE)

    def _buy(self, offer: Offer, reason: str, now: float) -> None:
        left = self._stock.get(offer.bundle)
        if left is not None and left <= self._standing(offer.bundle):
            self._refuse(offer, now)
            return
        machine = self._bought(offer, now)
        machine.reason = reason
        self._refusals.pop(offer.bundle, None)
        if offer.half_open:
            self._offers[offer.region, offer.bundle] = replace(offer, sold_out_until=0.0, half_open=False)
        self._later(now + self.market.deploy_seconds, machine, READY)

    def _standing(self, bundle: str) -> int:
        return sum(m.offer.bundle == bundle for m in self.fleet)

    def _refuse(self, offer: Offer, now: float) -> None:
        """Sold out: the offer is left alone for a while, and the pool looks for another one at once."""
        self.sold_out += 1
        self._look(now)
        if not self._offers[offer.region, offer.bundle].in_stock(now):
            return  # bought side by side: one answer makes one pause
        count = self._refusals[offer.bundle] = self._refusals.get(offer.bundle, 0) + 1
        until = sold_out_until(count, now=now, jitter=0.5)
        self._offers[offer.region, offer.bundle] = replace(offer, sold_out_until=until, half_open=True)

    def _bought(self, offer: Offer, now: float) -> Machine:
        kind = self.spec.gpu_type(offer.bundle)
        slots, speed = (kind.concurrency, kind.speed) if kind else (1, 1.0)
        number = len(self.machines) + 1
        machine = Machine(f"server-{number}", number, offer, slots, speed, now)
        self.machines.append(machine)
        self.fleet.add(machine)
        return machine


def _opened(before: Memory, after: Memory) -> int:
    """Suspensions that began with this decision."""
    old = before.efficacy.suspensions if before.efficacy else ()
    return sum(s not in old for s in after.efficacy.suspensions) if after.efficacy else 0


def with_slots(spec: GpuPoolSpec) -> GpuPoolSpec:
    """The spec with CPU read from slots: a trace has no Cloud Monitor."""
    cpu = msgspec.structs.replace(spec.scaling.cpu, source="Slots")
    return msgspec.structs.replace(spec, scaling=msgspec.structs.replace(spec.scaling, cpu=cpu))
