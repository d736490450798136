"""`scaling.up.step: Auto`: how many servers, from what will remain to be done when they serve.

The backlog of the moment is a bad measure: by the time a server is deployed, those that exist have done most of a short
burst, and each purchase is kept for an hour. So the step is sized by what will *remain*, and a server is bought only if
there will be enough for it to do. Both constants were chosen by replays; `docs/how-much.md` shows them.
"""

from dataclasses import dataclass
from math import floor
from statistics import median
from typing import Final

from controller.scaling.snapshot import Demand, Offer, ServerState, ServerView, Snapshot

#: Time from purchase to Ready where none has been seen yet.
DEPLOY_SECONDS: Final = 180.0
#: Deployments that count, the newest.
DEPLOYMENTS: Final = 5
#: A server is worth buying for work that fills this share of its minimum lifetime.
WORTH_SHARE: Final = 0.5
#: For this share of it, once the new servers serve, work that comes in beyond what all can do counts too.
AHEAD_SHARE: Final = 0.25


def deploy_seconds(servers: tuple[ServerView, ...], offer: Offer) -> float:
    """Time from purchase to Ready: what the preset has learned of this offer.

    Else what the servers that exist say: the median of the last ones of this offer, of its bundle, or of any.
    """
    if offer.ready_seconds is not None:
        return offer.ready_seconds
    ready = sorted((s for s in servers if s.ready_at is not None), key=lambda s: s.created_at, reverse=True)
    same_bundle = [s for s in ready if s.bundle == offer.bundle]
    same_offer = [s for s in same_bundle if s.region == offer.region]
    known = (same_offer or same_bundle or ready)[:DEPLOYMENTS]
    return median((s.ready_at or s.created_at) - s.created_at for s in known) if known else DEPLOY_SECONDS


@dataclass(frozen=True, slots=True)
class Sizing:
    """The arithmetic of one step; seconds are seconds of one slot, unless they say otherwise."""

    queue: float
    demand: Demand
    #: Seconds until a server bought now is Ready.
    deploy: float
    #: What slots that exist or are being deployed will have done by then.
    done: float
    #: Those slots.
    slots: int
    #: Slots of one new server.
    new_slots: int
    #: `scaling.down.minLifetimeSeconds`, or the time to deploy if that is longer.
    lifetime: float

    @property
    def remaining(self) -> float:
        """Work that remains when the new servers serve."""
        coming = self.demand.slots * self.deploy
        return max(0.0, self.queue * self.demand.service + coming - self.done)

    @property
    def behind(self) -> float:
        """Slots by which what comes in exceeds what there is."""
        return max(0.0, self.demand.slots - self.slots)

    @property
    def count(self) -> int:
        """Servers that will find enough to do."""
        work = self.remaining + self.behind * AHEAD_SHARE * self.lifetime
        return floor(work / (WORTH_SHARE * self.lifetime * self.new_slots))

    def __str__(self) -> str:
        each, coming = self.demand.service, self.demand.arrivals
        return (
            f"in {self.deploy:.0f} s: {self.queue:.0f} x {each:.3g} s waiting + {coming:.3g}/s x {each:.3g} s x "
            f"{self.deploy:.0f} s coming - {self.done:.0f} s done by {self.slots} slots = {self.remaining:.0f} s left, "
            f"{self.behind:.3g} slots behind: work for {self.count}"
        )


def auto_step(snapshot: Snapshot, offer: Offer, *, now: float) -> Sizing | None:
    """The size of a step; None while demand or queue is unknown."""
    demand, queue = snapshot.demand, snapshot.signals.queue_length
    if demand is None or queue is None:
        return None
    deploy = deploy_seconds(snapshot.servers, offer)
    serving = [s for s in snapshot.servers if s.state is ServerState.READY and not s.leaving]
    coming = [s for s in snapshot.servers if s.in_deployment and not s.leaving]
    done = sum(s.slots for s in serving) * deploy
    done += sum(s.slots * min(deploy, max(0.0, now - s.created_at)) for s in coming)
    kind = snapshot.spec.gpu_type(offer.bundle)
    return Sizing(
        queue=queue.value,
        demand=demand,
        deploy=deploy,
        done=done,
        slots=sum(s.slots for s in serving + coming),
        new_slots=kind.concurrency if kind else 1,
        lifetime=max(1.0, float(snapshot.spec.scaling.down.min_lifetime_seconds), deploy),
    )
