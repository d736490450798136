"""Whether, why and what to buy."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from controller.scaling.actions import Action, Adopt, Launch, Undrain, Verdict
from controller.scaling.budget import allow
from controller.scaling.launches import MINUTE
from controller.scaling.offers import buyable, choose
from controller.scaling.readings import nothing_being_deployed
from controller.scaling.sizing import Sizing, auto_step
from controller.scaling.snapshot import NOT_VERIFIED, Memory, Offer, ServerState, ServerView, Snapshot
from controller.scaling.trials import Efficacy
from controller.scaling.triggers import Trigger, firing

#: First pause after a failed deployment; doubles with each further one in a row.
FAILURE_BACKOFF_SECONDS: Final = 20.0
FAILURE_BACKOFF_MAX_SECONDS: Final = 600.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """How many more servers, and why."""

    count: int
    reason: str
    message: str
    #: What is being deployed has been taken into account: nothing is waited for.
    counted: bool = False
    #: Why nothing may be bought for it, though a drain may be taken back.
    stop: Verdict | None = None


def staying(snapshot: Snapshot) -> list[ServerView]:
    """The servers that count against minimum and maximum: all that exist or are being deployed and do not leave."""
    return [s for s in snapshot.servers if not s.leaving]


def serving(snapshot: Snapshot) -> list[ServerView]:
    """The servers that take new tasks now. Scale-down counts these: an Unhealthy one is no replacement."""
    return [s for s in staying(snapshot) if s.state is ServerState.READY]


def returnable(snapshot: Snapshot) -> list[ServerView]:
    """The pool's own drains that can be taken back; a person's drain never is."""
    return [s for s in snapshot.servers if s.draining and s.drained_by_pool and s.state is ServerState.READY]


def step_in_flight(snapshot: Snapshot) -> int:
    """Servers of the last step: asked for, not yet Ready, and not given up. The next purchase waits for them."""
    return sum(s.in_deployment and not s.leaving for s in snapshot.servers)


def wanted(snapshot: Snapshot, triggers: tuple[Trigger, ...], memory: Memory, *, now: float) -> Wanted | None:
    """How many servers the minimum or the triggers ask for, not yet bounded by anything."""
    have, minimum = len(staying(snapshot)), snapshot.spec.replicas.min
    if have < minimum:
        return Wanted(minimum - have, "BelowMinimum", f"{have} servers, minimum {minimum}")
    hot = firing(triggers)
    return _asked(snapshot, hot, memory.efficacy or Efficacy(), now=now) if hot else None


def _asked(snapshot: Snapshot, hot: tuple[Trigger, ...], efficacy: Efficacy, *, now: float) -> Wanted:
    """What the triggers ask for that may buy; where none may, what they ask for and what stops them.

    What `Auto` finds work for is counted in, and bought.
    """
    awake = tuple(t for t in hot if not _suspended(efficacy, t, now=now))
    if not awake:
        stops = [stop for t in hot if (stop := _suspended(efficacy, t, now=now))]
        return replace(_step(snapshot, hot, now=now), stop=stops[0])
    if (want := _step(snapshot, awake, now=now)).counted and not _half_open(efficacy, awake):
        return want
    live = tuple(t for t in awake if not _open_question(snapshot, efficacy, t, now=now))
    if not live:
        return replace(want, stop=_last_step_idle(efficacy, awake))
    want = _step(snapshot, live, now=now)
    return replace(want, count=1, counted=False) if _half_open(efficacy, live) else want


def _open_question(snapshot: Snapshot, efficacy: Efficacy, trigger: Trigger, *, now: float) -> bool:
    """Whether what was bought last for this trigger, and is idle so far, has to be used before more is bought.

    Only where no server had a task for a window: within it the rules are as they are, since the work that a mean
    remembers may come back. A trigger that was suspended is given no such credit.
    """
    if not efficacy.unused(trigger.reason):
        return False
    worked = efficacy.worked_at
    works = worked is not None and now - worked <= snapshot.spec.scaling.window_seconds
    return not works or efficacy.suspension(trigger.reason) is not None


def _half_open(efficacy: Efficacy, triggers: Sequence[Trigger]) -> bool:
    """All of these have been suspended: they get one server at a time, to see whether it helps now."""
    return all(efficacy.suspension(t.reason) for t in triggers)


def _suspended(efficacy: Efficacy, trigger: Trigger, *, now: float) -> Verdict | None:
    """Why a trigger buys nothing now: what was bought for it stood idle."""
    found = efficacy.suspension(trigger.reason)
    if found is None or now >= found.until:
        return None
    ends = f"one may be bought in {found.until - now:.0f} s, or once no server is free"
    return _hold("NotEffective", f"{trigger.above()}, but {found.seen}; {ends}")


def _last_step_idle(efficacy: Efficacy, awake: Sequence[Trigger]) -> Verdict:
    """What was bought last has had nothing to do yet, and no other server has: whether it helps is open."""
    names = ", ".join(t.server for t in efficacy.unused(awake[0].reason)[:5])
    return _hold("LastStepIdle", f"{_above(awake)}; no server has a task, and {names}, bought for it, never had one")


def _above(hot: Sequence[Trigger]) -> str:
    return "; ".join(t.above() for t in hot)


def sizing_of(snapshot: Snapshot, *, now: float) -> Sizing | None:
    """The arithmetic of a step of `Auto` with the offer that would be bought; None while it has nothing to go by."""
    offers = buyable(snapshot.offers, snapshot.blocks, now=now)
    return auto_step(snapshot, offers[0], now=now) if offers else None


def _step(snapshot: Snapshot, hot: Sequence[Trigger], *, now: float) -> Wanted:
    """The size of the step that triggers ask for.

    `Auto` buys one at least where none is in flight, as a step of one would; beyond that, and while a step is in
    flight, what will find enough to do. While demand is unknown it is a step of one.
    """
    step, reason, above = snapshot.spec.scaling.up.step, hot[0].reason, _above(hot)
    if step != "Auto":
        return Wanted(step, reason, above)
    sizing = sizing_of(snapshot, now=now)
    if sizing is None:
        return Wanted(1, reason, f"{above}; demand unknown: 1")
    return Wanted(max(1, sizing.count), reason, f"{above}; {sizing}", counted=sizing.count > 0)


def grow(snapshot: Snapshot, want: Wanted, *, now: float) -> tuple[list[Action], Verdict]:
    """The purchases (or drains taken back) that answer `want`, and the decision in a line.

    Drains are taken back under a pause of scale-up too: that stops purchases, and this is none.
    """
    full = _at_maximum(snapshot, want)
    if full:
        return [], full
    returning = returnable(snapshot)
    if returning:
        return _take_back(returning, want, room=room(snapshot))
    if snapshot.spec.paused in ("All", "ScaleUp"):
        return [], _hold("ScaleUpPaused", f"spec.paused is {snapshot.spec.paused}; {want.message}")
    hold = _held_back(snapshot, want, now=now)
    if hold:
        return [], hold
    return _adopt(snapshot, want) if snapshot.strays else _buy(snapshot, want, now=now)


def _adopt(snapshot: Snapshot, want: Wanted) -> tuple[list[Action], Verdict]:
    """Cheapest first: what is billed already and serves nobody comes before anything new."""
    ranked = sorted(snapshot.strays, key=lambda s: (s.price_per_hour, s.region, s.instance_id))
    chosen = ranked[: min(want.count, room(snapshot))]
    message = f"{want.message} -> take over {', '.join(map(str, chosen))}"
    actions: list[Action] = [Adopt(s, want.reason, message) for s in chosen]
    return actions, Verdict("Adopt", want.reason, message)


def _take_back(returning: Sequence[ServerView], want: Wanted, *, room: int) -> tuple[list[Action], Verdict]:
    """Cheapest first: a server that still runs costs nothing to keep, a new one minutes of waiting."""
    chosen = sorted(returning, key=lambda s: (s.price_per_hour, s.name))[: min(want.count, room)]
    message = f"{want.message} -> keep {', '.join(s.name for s in chosen)} instead of buying"
    actions: list[Action] = [Undrain(s.name, want.reason, message) for s in chosen]
    return actions, Verdict("Undrain", want.reason, message)


def _held_back(snapshot: Snapshot, want: Wanted, *, now: float) -> Verdict | None:
    """Why nothing is bought although more is wanted."""
    if want.stop:
        return want.stop
    deploying = step_in_flight(snapshot)
    if want.reason != "BelowMinimum" and not want.counted and not nothing_being_deployed(deploying):
        return _hold("StepInFlight", f"{want.message}; waiting for {deploying} servers that are being deployed")
    return _failing(snapshot, want, now=now)


def _at_maximum(snapshot: Snapshot, want: Wanted) -> Verdict | None:
    if room(snapshot) > 0:
        return None
    return _hold("AtMaximum", f"{want.message}; replicas.max is {snapshot.spec.replicas.max}")


def _failing(snapshot: Snapshot, want: Wanted, *, now: float) -> Verdict | None:
    failures = snapshot.launch_failures
    if not failures:
        return None
    after = next_try(snapshot)
    if now >= after:
        return None
    return _hold(
        "LaunchesFailing",
        f"{want.message}; the last {len(failures)} launches failed ({failures[-1][1]}); next in {after - now:.0f} s",
    )


def next_try(snapshot: Snapshot) -> float:
    """Unix seconds before which nothing is bought because of failed launches; 0 if none failed."""
    failures = snapshot.launch_failures
    if not failures:
        return 0.0
    pause = min(FAILURE_BACKOFF_SECONDS * 2.0 ** min(len(failures) - 1, 10), FAILURE_BACKOFF_MAX_SECONDS)
    return failures[-1][0] + pause


def _buy(snapshot: Snapshot, want: Wanted, *, now: float) -> tuple[list[Action], Verdict]:
    if snapshot.unaudited:
        return [], _hold("AuditPending", f"{want.message}; {snapshot.unaudited}")
    unsettled = [name for name, why in snapshot.unusable_presets if why == NOT_VERIFIED]
    if unsettled:
        # One of them may have the cheapest offer. It takes seconds, and ends also where a region cannot be asked.
        return [], _hold("VerifyingPresets", f"{want.message}; waiting for the presets {', '.join(unsettled)}")
    offers = buyable(snapshot.offers, snapshot.blocks, now=now)
    if not offers:
        return [], _hold("NoOffer", f"{want.message}; {nothing_on_offer(snapshot, now=now)}")
    count = min(want.count, room(snapshot), rate_left(snapshot, now=now))
    if count <= 0:
        limit = snapshot.spec.scaling.up.max_launches_per_minute
        return [], _hold("LaunchRateLimited", f"{want.message}; scaling.up.maxLaunchesPerMinute is {limit}")
    chosen = _within_budget(snapshot, choose(snapshot.offers, snapshot.blocks, count, now=now), want, now=now)
    if isinstance(chosen, Verdict):
        return [], chosen
    message = f"{want.message} -> buy {_listed(chosen)}"
    actions: list[Action] = [Launch(offer, want.reason, message) for offer in chosen]
    return actions, Verdict("ScaleUp", want.reason, message)


def _within_budget(
    snapshot: Snapshot, chosen: Sequence[Offer], want: Wanted, *, now: float
) -> Sequence[Offer] | Verdict:
    """What the budget allows of these, cheapest first: each held against it at the price of the dearest."""
    price = chosen[-1].price_per_hour
    grows = want.reason != "BelowMinimum"
    allowed = allow(snapshot, price, len(chosen), why=want.message, grows=grows, now=now)
    if not isinstance(allowed, Verdict):
        return chosen[:allowed]
    cheaper = [offer for offer in chosen if offer.price_per_hour < price]
    return _within_budget(snapshot, cheaper, want, now=now) if cheaper else allowed


def _listed(chosen: Sequence[Offer]) -> str:
    """`2 x XL in ap-nanjing at 0.88 CNY/h`, with a word on those that are trials."""
    counts = Counter(chosen)
    return ", ".join(f"{n} x {offer}{' (sold out before)' if offer.half_open else ''}" for offer, n in counts.items())


def room(snapshot: Snapshot) -> int:
    """How many servers fit under the maximum; without one there is no limit."""
    maximum = snapshot.spec.replicas.max
    return 10**9 if maximum is None else maximum - len(staying(snapshot))


def recent_purchases(snapshot: Snapshot, *, now: float) -> list[float]:
    """Unix seconds of the purchases of the last minute. Sold out or taken over is not bought; gone is."""
    bought = [s.created_at for s in snapshot.servers if s.purchase]
    return [at for at in (*bought, *snapshot.gone_purchases) if now - at < MINUTE]


def rate_left(snapshot: Snapshot, *, now: float) -> int:
    """Purchases that `maxLaunchesPerMinute` still allows in this minute."""
    return snapshot.spec.scaling.up.max_launches_per_minute - len(recent_purchases(snapshot, now=now))


def nothing_on_offer(snapshot: Snapshot, *, now: float) -> str:
    """Why no offer can be bought now, in one sentence, with what to do."""
    for block in snapshot.blocks:
        if block.until > now and block.region is None:
            return block.message
    if not snapshot.offers:
        if not snapshot.unusable_presets:
            return "no RegionPreset matches spec.presetSelector; apply manifests/samples/presets.yaml, say"
        return "no preset can sell: " + "; ".join(f"{name}: {why}" for name, why in snapshot.unusable_presets[:6])
    blocked = {b.region: b.message for b in snapshot.blocks if b.until > now}
    sold_out = [o for o in snapshot.offers if not o.in_stock(now)]
    parts = [f"{region}: {why}" for region, why in blocked.items() if region]
    if sold_out:
        soonest = min(o.sold_out_until for o in sold_out) - now
        parts.append(f"{len(sold_out)} of {len(snapshot.offers)} offers sold out, next try in {soonest:.0f} s")
    return "; ".join(parts)


def _hold(reason: str, message: str) -> Verdict:
    return Verdict("Hold", reason, message)
