"""The account of a decision: every term of it, and why the pool does not move in either direction.

The verdict says what was decided; this says it with its arithmetic, by asking the same functions that decided.
"""

from collections.abc import Callable
from typing import Final, Literal

from controller.api.decision import OFFERS_NAMED, Answer, Counts, Decision, OfferTerm, Term, Victim
from controller.api.model import MESSAGE_LIMIT
from controller.api.times import rfc3339
from controller.scaling import budget, offers, victims
from controller.scaling.actions import Adopt, Drain, Launch, Undrain
from controller.scaling.clock import low_load_lasted
from controller.scaling.grow import (
    grow,
    next_try,
    rate_left,
    recent_purchases,
    room,
    serving,
    sizing_of,
    staying,
    wanted,
)
from controller.scaling.launches import MINUTE
from controller.scaling.plan import Plan
from controller.scaling.shrink import refusals, shrink, spare, too_many_dead
from controller.scaling.snapshot import Offer, ServerState, ServerView, Snapshot
from controller.scaling.trials import Efficacy
from controller.scaling.triggers import Level, firing, is_low_load

#: What would have to change before the pool grows, by the reason for which it does not.
GROWING_NEEDS: Final = {
    "NotNeeded": "a signal above its threshold, or a higher spec.replicas.min",
    "PoolDeleted": "nothing is bought for a pool that is being deleted",
    "LastStepIdle": "work for the servers bought last, or the signal below its threshold",
    "NotEffective": "load that leaves no server free, the time of the next try, or a threshold that servers can meet "
    "(scaling.up); scaling.up.onlyIfEffective: false switches this off",
    "StepInFlight": "the servers being deployed become Ready, or fail after server.startupTimeoutSeconds",
    "AtMaximum": "a higher spec.replicas.max, or none",
    "ScaleUpPaused": "spec.paused set to None or ScaleDown",
    "LaunchesFailing": "the time of the next try; its cause may need a person",
    "NoOffer": "an offer that can be bought: stock, another RegionPreset, or the account put in order",
    "VerifyingPresets": "the presets to be verified, a matter of seconds",
    "AuditPending": "a complete listing of the cloud, a matter of seconds: what is billed already comes first",
    "LaunchRateLimited": "the minute to pass, or a higher scaling.up.maxLaunchesPerMinute",
    "HourlyHardCap": "a higher budget.hourly.hard, or a server that goes",
    "DailyHardCap": "a higher budget.daily.hard, or midnight in Beijing",
    "MonthlyHardCap": "a higher budget.monthly.hard, or the next month",
    "HourlySoftCap": "ten minutes since the last purchase, or a higher budget.hourly.soft",
    "DailySoftCap": "ten minutes since the last purchase, or a higher budget.daily.soft",
    "MonthlySoftCap": "ten minutes since the last purchase, or a higher budget.monthly.soft",
}
#: What would have to change before the pool shrinks, by the first rule that fails.
SHRINKING_NEEDS: Final = {
    "PoolDeleted": "all its servers go anyway, or are let go (deletionPolicy: Orphan)",
    "LoadNotLow": "all load signals known and low, for longer than scaling.down.stabilizationSeconds",
    "Deploying": "the servers being deployed become Ready, or fail",
    "AtMinimum": "a lower spec.replicas.min, or more servers",
    "ScaleDownPaused": "spec.paused set to None or ScaleUp",
    "LowLoadTooShort": "low load for longer than scaling.down.stabilizationSeconds",
    "DrainInProgress": "the server that leaves to be gone",
    "FreshWindow": "a whole scaling.windowSeconds measured since the last server left",
    "NoVictim": "a server without the annotation haipool.io/protect",
    "VictimTooYoung": "that server to run longer than scaling.down.minLifetimeSeconds; no other goes in its place",
    "UnsafeToShrink": "less work in flight or a lower CPU figure; scaling.down.safetyCheck asks for it",
    "TooManyDead": "the common cause of the dead servers found and removed",
}
#: Rules that time alone does not satisfy: no earliest time can be told while one of them fails.
_NOT_BY_TIME: Final = frozenset({"AtMinimum", "ScaleDownPaused", "NoVictim", "UnsafeToShrink", "TooManyDead"})


def account(snapshot: Snapshot, decided: Plan, *, now: float) -> Decision:
    """The decision with every term of it, as status shows it.

    Args:
        snapshot: what the decision looked at.
        decided: the decision.
        now: Unix seconds of the decision.
    """
    named, left = offer_terms(snapshot, now=now)
    return Decision(
        time=rfc3339(now),
        action=decided.verdict.action,
        reason=decided.verdict.reason,
        message=_cut(decided.verdict.message),
        mode=snapshot.spec.mode,
        counts=_counts(snapshot, decided),
        terms=_terms(snapshot, decided, now=now),
        growing=growing(snapshot, decided, now=now),
        shrinking=shrinking(snapshot, decided, now=now),
        victim=_victim(snapshot, now=now),
        offers=named,
        offers_left=left,
    )


def _counts(snapshot: Snapshot, decided: Plan) -> Counts:
    def count(rule: Callable[[ServerView], bool]) -> int:
        return sum(rule(s) for s in snapshot.servers)

    return Counts(
        serving=len(serving(snapshot)),
        deploying=count(lambda s: s.in_deployment and not s.leaving),
        unhealthy=count(lambda s: s.state is ServerState.UNHEALTHY and not s.leaving),
        leaving=count(lambda s: s.leaving),
        minimum=snapshot.spec.replicas.min,
        maximum=snapshot.spec.replicas.max,
        desired=decided.desired,
    )


def _terms(snapshot: Snapshot, decided: Plan, *, now: float) -> tuple[Term, ...]:
    """The figures besides signals and counts; those that bound nothing now are left out."""
    want = wanted(snapshot, decided.triggers, decided.memory, now=now)
    scaling = snapshot.spec.scaling
    terms = [
        *_step(snapshot, now=now),
        *_step_down(snapshot, decided),
        Term(name="wanted", value=want.count if want else 0, unit="servers"),
        Term(name="launches left this minute", value=max(0, rate_left(snapshot, now=now)), unit="servers"),
        Term(name="failed launches in a row", value=len(snapshot.launch_failures)),
        Term(name="low load for", value=round(low_load_lasted(decided.memory, now=now), 1), unit="s"),
        Term(name="low load needed", value=scaling.down.stabilization_seconds, unit="s"),
    ]
    if snapshot.spec.replicas.max is not None:
        terms.append(Term(name="room under the maximum", value=max(0, room(snapshot)), unit="servers"))
    return (*terms, *_budget(snapshot, grows=want is None or want.reason != "BelowMinimum", now=now))


def _budget(snapshot: Snapshot, *, grows: bool, now: float) -> list[Term]:
    """What each capped period is certain to cost without another purchase."""
    unit = {"Hourly": "CNY/h", "Daily": "CNY", "Monthly": "CNY"}
    name = {"Hourly": "hourly cost", "Daily": "day certain to cost", "Monthly": "month certain to cost"}
    return [
        Term(name=name[line.name], value=round(line.certain, 4), unit=unit[line.name])
        for line in budget.lines(snapshot, 0.0, grows=grows, now=now)
    ]


def _step(snapshot: Snapshot, *, now: float) -> list[Term]:
    """The size of a step, or the arithmetic of `Auto`; nothing where that has nothing to go by."""
    step, sizing = snapshot.spec.scaling.up.step, sizing_of(snapshot, now=now)
    if step != "Auto":
        return [Term(name="step up", value=step, unit="servers")]
    if sizing is None:
        return []
    return [
        Term(name="time to deploy", value=round(sizing.deploy, 1), unit="s"),
        Term(name="arrivals", value=round(sizing.demand.arrivals, 4), unit="tasks/s"),
        Term(name="work per task", value=round(sizing.demand.service, 3), unit="s"),
        Term(name="work done by then", value=round(sizing.done, 1), unit="s"),
        Term(name="work left then", value=round(sizing.remaining, 1), unit="s"),
        Term(name="slots behind", value=round(sizing.behind, 2), unit="slots"),
        Term(name="work for", value=sizing.count, unit="servers"),
    ]


def _step_down(snapshot: Snapshot, decided: Plan) -> list[Term]:
    """What a step of `Auto` goes by when it shrinks, while load is low; a number says itself."""
    peak = decided.memory.peak
    if snapshot.spec.scaling.down.step != "Auto" or peak is None:
        return []
    ranked = victims.rank(snapshot.servers)[: max(0, len(serving(snapshot)) - snapshot.spec.replicas.min)]
    return [
        Term(name="most tasks at once in low load", value=peak.tasks, unit="tasks"),
        Term(name="spare", value=spare(snapshot, decided.memory, ranked) if ranked else 0, unit="servers"),
    ]


def growing(snapshot: Snapshot, decided: Plan, *, now: float) -> Answer:
    """Why more servers are bought (or drains taken back), or the rule that stops it."""
    if snapshot.deleting:
        return _answer("PoolDeleted", decided.verdict.message, GROWING_NEEDS)
    want = wanted(snapshot, decided.triggers, decided.memory, now=now)
    if want is None:
        return _answer("NotNeeded", _enough(snapshot, decided), GROWING_NEEDS)
    actions, verdict = grow(snapshot, want, now=now)
    if not actions:
        earliest = _growth_time(snapshot, decided, verdict.reason, now=now)
        return _answer(verdict.reason, verdict.message, GROWING_NEEDS, earliest=earliest)
    if not any(isinstance(action, Launch | Adopt | Undrain) for action in decided.actions):
        return Answer(reason=decided.verdict.reason, message=_cut(decided.verdict.message), needs="the next decision")
    return Answer(acts=True, reason=verdict.reason, message=_cut(verdict.message))


def _enough(snapshot: Snapshot, decided: Plan) -> str:
    unknown = [t.name for t in decided.triggers if t.level is Level.UNKNOWN]
    known = "no signal is above its threshold" + (f"; unknown: {', '.join(unknown)}" if unknown else "")
    have, minimum = len(staying(snapshot)), snapshot.spec.replicas.min
    return f"{known}, and {have} servers serve or are being deployed, minimum {minimum}"


def _growth_time(snapshot: Snapshot, decided: Plan, reason: str, *, now: float) -> float | None:
    """When the rule `reason` may cease to stop growth; None where time alone does not decide."""
    match reason:
        case "LaunchesFailing":
            return next_try(snapshot)
        case "NotEffective":
            return _end_of_suspension(decided)
        case "LaunchRateLimited":
            return min(recent_purchases(snapshot, now=now), default=now) + MINUTE
        case "NoOffer":
            return min((_sold_from(offer, snapshot, now=now) for offer in snapshot.offers), default=None)
        case _:
            return budget.ends_at(reason, snapshot, now=now)


def _end_of_suspension(decided: Plan) -> float | None:
    """When the first of the triggers that fire may buy again."""
    efficacy = decided.memory.efficacy or Efficacy()
    found = [efficacy.suspension(t.reason) for t in firing(decided.triggers)]
    return min((s.until for s in found if s is not None), default=None)


def _sold_from(offer: Offer, snapshot: Snapshot, *, now: float) -> float:
    """When this offer may be tried again."""
    blocks = [b.until for b in snapshot.blocks if b.until > now and b.region in (None, offer.region)]
    return max([offer.sold_out_until, *blocks])


def shrinking(snapshot: Snapshot, decided: Plan, *, now: float) -> Answer:
    """Why a server goes, or the first rule that keeps them all, and what else stands against it."""
    if snapshot.deleting:
        return _answer("PoolDeleted", decided.verdict.message, SHRINKING_NEEDS)
    memory = decided.memory
    brake = None if wanted(snapshot, decided.triggers, memory, now=now) else too_many_dead(snapshot, memory)
    actions, verdict = ([], brake) if brake else shrink(snapshot, memory, decided.triggers, now=now)
    if any(isinstance(action, Drain) for action in decided.actions):
        return Answer(acts=True, reason=verdict.reason, message=_cut(verdict.message))
    if actions:
        return Answer(reason=decided.verdict.reason, message=_cut(decided.verdict.message), needs="the next decision")
    failing = _failing(snapshot, decided, verdict.reason, now=now)
    earliest = None if _NOT_BY_TIME & {verdict.reason, *failing} else shrink_time(snapshot, decided, now=now)
    return _answer(verdict.reason, verdict.message, SHRINKING_NEEDS, earliest=earliest, also=tuple(failing))


def _failing(snapshot: Snapshot, decided: Plan, first: str, *, now: float) -> list[str]:
    """The further rules that fail, each once. While load is not low, the clock that measures it says nothing new."""
    implied = {first, "LowLoadTooShort"} if first == "LoadNotLow" else {first}
    found = [v.reason for v in refusals(snapshot, decided.memory, decided.triggers, now=now)]
    ranked = victims.rank(snapshot.servers)
    if len(ranked) > snapshot.spec.replicas.min and victims.too_young(ranked[0], snapshot.spec.scaling.down, now=now):
        found.append("VictimTooYoung")
    return [reason for reason in dict.fromkeys(found) if reason not in implied]


def shrink_time(snapshot: Snapshot, decided: Plan, *, now: float) -> float:
    """Earliest time at which a server could be destroyed if load is low from now on and nothing else happens."""
    scaling, memory = snapshot.spec.scaling, decided.memory
    low_since = memory.low_load_since if is_low_load(decided.triggers) else None
    times = [now, (now if low_since is None else low_since) + scaling.down.stabilization_seconds]
    ended = now if any(s.leaving for s in snapshot.servers) else memory.last_drain_ended
    if ended is not None:
        times.append(ended + scaling.window_seconds)
    ranked = victims.rank(snapshot.servers)
    if ranked:
        times.append((ranked[0].ready_at or now) + scaling.down.min_lifetime_seconds)
    return max(times)


def _victim(snapshot: Snapshot, *, now: float) -> Victim | None:
    ranked = victims.rank(snapshot.servers)
    if not ranked:
        return None
    first = ranked[0]
    return Victim(
        name=first.name,
        bundle=first.bundle,
        region=first.region,
        price_per_hour=first.price_per_hour,
        ready_at=None if first.ready_at is None else rfc3339(first.ready_at),
        ran_seconds=round(now - (first.ready_at or now), 1),
    )


def offer_terms(snapshot: Snapshot, *, now: float) -> tuple[tuple[OfferTerm, ...], int]:
    """The offer that is bought next, after the ones that come before it and cannot be bought, and how many are left."""
    ranked = offers.rank(snapshot.offers)
    can = offers.buyable(snapshot.offers, snapshot.blocks, now=now)
    passed = ranked[: ranked.index(can[0])] if can else ranked
    terms = [_passed_over(offer, snapshot, now=now) for offer in passed[: OFFERS_NAMED - 1]]
    if can:
        terms.append(_term(can[0], "First", why="cheapest that can be bought"))
    return tuple(terms), len(ranked) - len(terms)


def _passed_over(offer: Offer, snapshot: Snapshot, *, now: float) -> OfferTerm:
    block = next((b for b in snapshot.blocks if b.until > now and b.region in (None, offer.region)), None)
    if block is not None:
        return _term(offer, "Blocked", why=block.reason, until=block.until)
    return _term(offer, "SoldOut", why="the cloud said sold out", until=offer.sold_out_until)


def _term(
    offer: Offer, state: Literal["First", "SoldOut", "Blocked"], *, why: str, until: float | None = None
) -> OfferTerm:
    return OfferTerm(
        bundle=offer.bundle,
        region=offer.region,
        price_per_hour=offer.price_per_hour,
        state=state,
        why=why,
        until_time=None if until is None else rfc3339(until),
    )


def _answer(
    reason: str,
    message: str,
    needs: dict[str, str],
    *,
    earliest: float | None = None,
    also: tuple[str, ...] = (),
) -> Answer:
    time = None if earliest is None else rfc3339(earliest)
    return Answer(reason=reason, message=_cut(message), needs=needs.get(reason, ""), earliest_time=time, also=also)


def _cut(message: str) -> str:
    return message if len(message) <= MESSAGE_LIMIT else message[: MESSAGE_LIMIT - 1] + "…"
