"""The money oracle: what the cloud billed against what the GpuInstances owned, second by second.

The cloud's ledger says when each instance was bought and when it was gone. A witness that watches the Kubernetes API
from the beginning says when each object was there. What must hold at the end of every story:

* An instance is owned from its purchase on. The object was there before: its UID, which the API server made up, is
  part of the name under which the instance was bought. For one that was taken over, from when its new object came.
* It is owned until after its end: the last object that owns it goes no earlier than the cloud lets go of the instance.
* No name and no token bought two, and no object believes in an instance that the cloud does not have.
* The pool's `status.spend` is the sum of its instances' own times and prices to the last digit that it keeps. Those
  times enclose the billed ones (from the attempt on, until the end was noticed), by `EDGE_SECONDS` at most.

An object that was let go of (orphaned) owns nothing any more. What a story leaves behind on purpose, it has to say.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from controller.api.names import ORPHANED_ANNOTATION, parse_instance_name
from controller.api.times import unix
from controller.kube.client import KubeClient
from controller.kube.watch import Kind, Reflector
from controller.operator.objects import INSTANCES, POOLS
from controller.sandbox.cloudsim import Bill, Purchase

#: For how long the operator may count an instance before the purchase and after the end. Its clock starts with the
#: attempt, since billing may start then, and stops when the end was seen: it counts too much rather than too little.
EDGE_SECONDS = 40.0
#: Times in objects have milliseconds.
TICK = 0.001
#: `status.spend` is rounded to a millionth each time something is added.
ROUNDING_CNY = 2e-6


@dataclass(slots=True)
class Life:
    """An object from its first to its last version."""

    raw: Mapping[str, Any]
    came: float
    gone: float | None = None
    #: When it was first seen orphaned.
    let_go: float | None = None

    @property
    def status(self) -> Mapping[str, Any]:
        return self.raw.get("status") or {}

    @property
    def spec(self) -> Mapping[str, Any]:
        return self.raw["spec"]  # type: ignore[no-any-return]

    @property
    def name(self) -> str:
        return str(self.raw["metadata"]["name"])

    @property
    def deleting(self) -> bool:
        return bool(self.raw["metadata"].get("deletionTimestamp"))

    @property
    def until(self) -> float:
        """When it ceased to own anything."""
        ends = [end for end in (self.gone, self.let_go) if end is not None]
        return min(ends, default=float("inf"))


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it must be, and the instance, object or pool it is about."""

    about: str
    text: str


class Witness:
    """Sees every GpuInstance and GpuPool come, change and go."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.instances: dict[str, Life] = {}
        self.pools: dict[str, Life] = {}
        #: Addresses that two objects had at the same time.
        self.shared_addresses: list[str] = []
        self._news = asyncio.Event()

    async def watch(self, kube: KubeClient, namespace: str | None) -> None:
        """Look on until cancelled."""
        await asyncio.gather(
            self._follow(Reflector(kube, INSTANCES, namespace=namespace), self.instances),
            self._follow(Reflector(kube, POOLS, namespace=namespace), self.pools),
        )

    async def _follow(self, reflector: Reflector, lives: dict[str, Life]) -> None:
        async for event in reflector.events():
            if event.kind in (Kind.PUT, Kind.DELETED):
                self._note(lives, event.raw, gone=event.kind is Kind.DELETED)

    def _note(self, lives: dict[str, Life], raw: Mapping[str, Any], *, gone: bool) -> None:
        now, uid = self._clock(), raw["metadata"]["uid"]
        life = lives.setdefault(uid, Life(raw, now))
        life.raw = raw
        self._news.set()
        if gone:
            life.gone = now
        if life.let_go is None and (raw["metadata"].get("annotations") or {}).get(ORPHANED_ANNOTATION) == "true":
            life.let_go = now
        if lives is self.instances:
            self._compare_addresses()

    def _compare_addresses(self) -> None:
        used = [i.status["address"] for i in self.instances.values() if i.gone is None and i.status.get("address")]
        self.shared_addresses += [address for address in set(used) if used.count(address) > 1]

    async def catch_up(self, kube: KubeClient, namespace: str | None) -> None:
        """Wait until everything that is listed now has been seen here, and seen as new as it is."""
        for resource, lives in ((INSTANCES, self.instances), (POOLS, self.pools)):
            listed = (await kube.list(resource, namespace=namespace)).items
            while not self._knows(lives, listed):
                self._news.clear()
                await self._news.wait()

    @staticmethod
    def _knows(lives: Mapping[str, Life], listed: Iterable[Mapping[str, Any]]) -> bool:
        there = {raw["metadata"]["uid"]: int(raw["metadata"]["resourceVersion"]) for raw in listed}
        seen = {u: int(i.raw["metadata"]["resourceVersion"]) for u, i in lives.items()}
        gone = {u for u, i in lives.items() if i.gone is not None}
        return all(u in seen and seen[u] >= v for u, v in there.items()) and set(seen) - gone <= set(there)


@dataclass(slots=True)
class Books:
    """Both sides, as they stand at the end."""

    bills: Sequence[Bill]
    purchases: Sequence[Purchase]
    instances: Mapping[str, Life]
    pools: Mapping[str, Life]
    now: float
    #: How long an instance may be counted before and after it was billed; None where a story sets clocks.
    edge_seconds: float | None = EDGE_SECONDS


@dataclass(slots=True)
class Oracle:
    """Looks on while a story runs, and judges at its end."""

    witness: Witness
    #: What the story leaves behind on purpose, by what it is about, and why.
    intended: dict[str, str] = field(default_factory=dict)
    edge_seconds: float | None = EDGE_SECONDS

    def intends(self, about: str, why: str) -> None:
        """This instance, object or pool will not be as it must be, and that is the story's point.

        It has to come true: an intention that nothing is found for fails the test as well.
        """
        self.intended[about] = why

    async def judge(self, cloud: Any, kube: KubeClient, namespace: str | None) -> None:
        """Fail if anything is not as it must be."""
        # Bills before objects: whoever bought these is listed afterwards.
        bills, now = cloud.bills(), cloud.now()
        await self.witness.catch_up(kube, namespace)
        known = {b.instance_id for b in bills}
        later = [b for b in cloud.bills() if b.instance_id not in known]
        seen = self.witness
        books = Books([*bills, *later], cloud.purchases(), seen.instances, seen.pools, now, self.edge_seconds)
        found = [Finding(a, f"two objects had the address {a} at the same time") for a in seen.shared_addresses]
        found += audit(books)
        wrong = [f.text for f in found if f.about not in self.intended]
        unmet = set(self.intended) - {f.about for f in found}
        wrong += [f"{a} was to be left ({self.intended[a]}), but all is well with it" for a in sorted(unmet)]
        assert not wrong, "the money oracle: " + "; ".join(wrong)


def audit(books: Books) -> list[Finding]:
    """Everything that is not as it must be."""
    ours = [b for b in books.bills if parse_instance_name(b.name) is not None]
    return [
        *_twice(ours, books.purchases),
        *(f for b in ours for f in _unowned(b, books)),
        *_lost(books),
        *(f for b in ours for f in _misjudged(b, books)),
        *(f for pool in books.pools.values() for f in _misbooked(pool, books)),
    ]


def _twice(bills: Sequence[Bill], purchases: Sequence[Purchase]) -> list[Finding]:
    names = Counter(b.name for b in bills)
    tokens = Counter(p.token for p in purchases if p.outcome == "bought")
    return [
        *(
            Finding(b.instance_id, f"{b.instance_id} is one of {names[b.name]} named {b.name}")
            for b in bills
            if names[b.name] > 1
        ),
        *(Finding(token, f"the token {token} bought {count} times") for token, count in tokens.items() if count > 1),
    ]


def owners(bill: Bill, instances: Mapping[str, Life]) -> list[tuple[float, float]]:
    """From when until when an object owned it."""
    mark = parse_instance_name(bill.name)
    buyer = instances.get(mark.instance_uid) if mark else None
    held = [] if buyer is None else [(bill.started, buyer.until)]
    return held + [(i.came, i.until) for i in instances.values() if i.spec.get("adopts") == bill.instance_id]


def _unowned(bill: Bill, books: Books) -> list[Finding]:
    end = books.now if bill.ended is None else bill.ended
    at, gap = bill.started, 0.0
    for since, until in sorted(owners(bill, books.instances)):
        gap += max(0.0, min(since, end) - at)
        at = max(at, until)
    gap += max(0.0, end - at)
    left = bill.ended is None and at < float("inf")
    if not left and gap <= 0.0:
        return []
    state = "and is still billed" if bill.ended is None else "and is gone"
    return [Finding(bill.instance_id, f"{bill.instance_id} had no owner for {gap:.3f} s {state}")]


def _lost(books: Books) -> list[Finding]:
    bills = {b.instance_id: b for b in books.bills}
    found = []
    for life in books.instances.values():
        claimed = life.status.get("instanceId")
        if claimed and claimed not in bills:
            found.append(Finding(claimed, f"{life.name} claims {claimed}, which was never bought"))
        elif claimed and life.gone is None and not life.deleting and bills[claimed].ended is not None:
            found.append(Finding(claimed, f"{life.name} claims {claimed}, which is gone"))
    return found


def _misjudged(bill: Bill, books: Books) -> list[Finding]:
    """The buyer's own times have to enclose the billed ones."""
    mark = parse_instance_name(bill.name)
    life = books.instances.get(mark.instance_uid) if mark else None
    if life is None or books.edge_seconds is None or life.status.get("instanceId") != bill.instance_id:
        return []
    start, end = unix(life.status.get("launchedAt")), unix(life.status.get("endedAt"))
    wrong = []
    if start is not None and not -books.edge_seconds <= start - bill.started <= TICK:
        wrong.append(f"launchedAt is {start - bill.started:+.3f} s from the purchase")
    if end is not None and (bill.ended is None or not -TICK <= end - bill.ended <= books.edge_seconds):
        wrong.append(
            "endedAt is set although it lives" if bill.ended is None else f"endedAt is {end - bill.ended:+.3f} s off"
        )
    return [Finding(bill.instance_id, f"{life.name} ({bill.instance_id}): {', '.join(wrong)}")] if wrong else []


def _asked_for(life: Life) -> bool:
    """Something may be billed for it: it was tried to buy, or was taken over."""
    return bool(life.status.get("attemptedAt") or life.status.get("launchedAt"))


def _misbooked(pool: Life, books: Books) -> list[Finding]:
    """What the pool says it spent, against its instances' own times."""
    uid, spend = pool.raw["metadata"]["uid"], pool.status.get("spend")
    lives = [i for i in books.instances.values() if i.spec["poolUID"] == uid and _asked_for(i)]
    if spend is None or books.edge_seconds is None:
        return [Finding(pool.name, f"pool {pool.name} keeps no books")] if lives and spend is None else []
    least = most = 0.0
    for life in lives:
        start, end = unix(life.status.get("launchedAt")), unix(life.status.get("endedAt"))
        begun = start or unix(life.status.get("attemptedAt")) or books.now
        cost = max(0.0, life.spec["pricePerHour"] * ((end or books.now) - begun) / 3600.0)
        # What is gone without an end was let go of by hand; what was only tried may have been refused.
        booked = start and end and (life.gone is not None or life.raw["metadata"]["uid"] in spend["booked"])
        least, most = least + (cost if booked else 0.0), most + cost
    slack = ROUNDING_CNY * (len(lives) + 1)
    if least - slack <= spend["thisMonth"] <= most + slack:
        return []
    return [Finding(pool.name, f"pool {pool.name} booked {spend['thisMonth']} CNY, not {least:.6f} to {most:.6f}")]
