"""The facts put together: what `--output json` prints and `text` words. A pure function of what was read and of now."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from msgspec import field

from controller.api.decision import Decision, JournalEntry, figures_seconds
from controller.api.gpuinstance import GpuInstance
from controller.api.gpupool import GpuPool, SignalStatus
from controller.api.model import ConditionModel, Model
from controller.api.spend import Spend
from controller.api.times import rfc3339, unix
from controller.explain.gather import Facts
from controller.scaling.readings import cost

#: A status that is late by this many intervals, and by `STALE_SECONDS`, means that the operator does not work.
STALE_INTERVALS: Final = 3
STALE_SECONDS: Final = 30.0


class ServerLine(Model, frozen=True, kw_only=True):
    """One server of the pool."""

    name: str
    phase: str
    bundle: str
    region: str
    price_per_hour: float
    instance_id: str = ""
    phase_since: str | None = None
    #: CNY since it was bought.
    cost_cny: float = field(default=0.0, name="costCNY")
    protected: bool = False
    reason: str = ""
    message: str = ""


class Money(Model, frozen=True, kw_only=True):
    """CNY. Days and months are Beijing time."""

    per_hour: float
    today: float
    this_month: float
    #: What this month is expected to cost; None from an operator that does not say.
    forecast_this_month: float | None
    #: Storage of the pool's presets.
    storage_per_day: float
    #: What the next server would cost, and what the first to go would save.
    next_server_per_hour: float | None = None
    first_to_go_per_hour: float | None = None


class Happening(Model, frozen=True, kw_only=True):
    """One line of the history: a decision from the journal, or an event from the cluster."""

    time: str
    kind: str
    about: str
    reason: str
    message: str
    #: Decisions only.
    action: str = ""
    ready: int | None = None
    desired: int | None = None
    #: How often, where an event was counted.
    count: int = 1


class Explanation(Model, frozen=True, kw_only=True):
    """Everything `haipool explain` tells."""

    pool: str
    namespace: str
    time: str
    mode: str
    paused: str
    deleting: bool
    interval_seconds: int
    #: What keeps the rest from being current or complete.
    notes: tuple[str, ...]
    signals: tuple[SignalStatus, ...]
    decision: Decision | None
    decision_age_seconds: float | None
    #: Since when the action and the reason have been the same.
    decision_since: str | None
    low_load_since: str | None
    money: Money
    servers: tuple[ServerLine, ...]
    #: Conditions that are not as they should be.
    conditions: tuple[ConditionModel, ...]
    unusable_presets: tuple[str, ...]
    history_seconds: float
    history: tuple[Happening, ...]


def explanation(facts: Facts, *, now: float, since_seconds: float) -> Explanation:
    """Put together what is known of a pool.

    Args:
        facts: as read.
        now: Unix seconds.
        since_seconds: length of the history.
    """
    pool, status = facts.pool, facts.pool.status
    decision = status.last_decision
    age = None if decision is None else max(0.0, now - (unix(decision.time) or now))
    return Explanation(
        pool=pool.metadata.name,
        namespace=pool.metadata.namespace,
        time=rfc3339(now),
        mode=pool.spec.mode,
        paused=pool.spec.paused,
        deleting=pool.metadata.deleting,
        interval_seconds=pool.spec.scaling.interval_seconds,
        notes=tuple(_notes(facts, age)),
        signals=status.signals,
        decision=decision,
        decision_age_seconds=age,
        decision_since=_since(decision, status.journal),
        low_load_since=status.low_load_since,
        money=_money(facts, status.spend, decision),
        servers=tuple(_server(i, now=now) for i in sorted(facts.instances, key=lambda i: i.spec.launch_number)),
        conditions=tuple(c for c in status.conditions if _amiss(c)),
        unusable_presets=tuple(_unusable(facts)),
        history_seconds=since_seconds,
        history=history(facts, after=now - since_seconds),
    )


def _notes(facts: Facts, age: float | None) -> Iterable[str]:
    pool = facts.pool
    interval = pool.spec.scaling.interval_seconds
    limit = figures_seconds(interval) + max(STALE_SECONDS, STALE_INTERVALS * interval)
    if age is None:
        yield "the operator has not decided on this pool yet; does it run, and does it serve this namespace?"
    elif age > limit:
        late = f"the last decision that is told is {age:.0f} s old, one is due every {interval} s"
        yield f"{late}: the operator does not run, or cannot write to the Kubernetes API; all below is as it was then"
    elif pool.status.observed_generation < pool.metadata.generation:
        yield "the spec has changed since the last decision; the next one follows it"
    if facts.events is None:
        yield "events cannot be read with these rights; the history holds decisions only"


def _since(decision: Decision | None, journal: tuple[JournalEntry, ...]) -> str | None:
    """The time of the journal's entry for what is still decided now."""
    if decision is None or not journal:
        return None
    last = journal[-1]
    return last.time if (last.action, last.reason) == (decision.action, decision.reason) else None


def _money(facts: Facts, spend: Spend, decision: Decision | None) -> Money:
    following = next((o for o in decision.offers if o.state == "First"), None) if decision else None
    victim = decision.victim if decision else None
    return Money(
        per_hour=spend.per_hour,
        today=spend.today,
        this_month=spend.this_month,
        forecast_this_month=spend.forecast_this_month if spend.forecast_basis else None,
        storage_per_day=round(sum(p.status.daily_storage_cost for p in facts.presets), 6),
        next_server_per_hour=following.price_per_hour if following else None,
        first_to_go_per_hour=victim.price_per_hour if victim else None,
    )


def _server(instance: GpuInstance, *, now: float) -> ServerLine:
    spec, status = instance.spec, instance.status
    started, ended = unix(status.launched_at), unix(status.ended_at)
    spent = 0.0 if started is None else cost(spec.price_per_hour, start=started, end=now if ended is None else ended)
    return ServerLine(
        name=instance.metadata.name,
        phase="Terminating" if instance.metadata.deleting and status.phase != "Draining" else status.phase,
        bundle=spec.bundle,
        region=spec.region,
        price_per_hour=spec.price_per_hour,
        instance_id=status.instance_id,
        phase_since=_phase_since(instance),
        cost_cny=round(spent, 4),
        protected=instance.protected,
        reason=spec.reason,
        message=status.message,
    )


def _phase_since(instance: GpuInstance) -> str | None:
    status, meta = instance.status, instance.metadata
    if meta.deleting and status.phase != "Draining":
        return meta.deletion_timestamp
    of = {
        "Launching": status.attempted_at or meta.creation_timestamp,
        "Deploying": status.launched_at,
        "Ready": status.ready_at,
        "Draining": status.drain_started_at,
    }
    return of.get(status.phase)


def _amiss(condition: ConditionModel) -> bool:
    """False is a case for someone, and so is a pause that is on; Unknown is told since it may explain a wait."""
    return condition.status in ("True" if condition.type == "Paused" else "False", "Unknown")


def _unusable(facts: Facts) -> Iterable[str]:
    for preset in facts.presets:
        ready = next((c for c in preset.status.conditions if c.type == "Ready"), None)
        if not preset.spec.enabled:
            yield f"{preset.metadata.name}: spec.enabled is false"
        elif ready is None:
            yield f"{preset.metadata.name}: not verified yet"
        elif ready.status != "True":
            yield f"{preset.metadata.name}: {ready.reason}: {ready.message}"
    if not facts.presets:
        yield "no RegionPreset matches spec.presetSelector"


def history(facts: Facts, *, after: float) -> tuple[Happening, ...]:
    """Decisions and events after a time, oldest first. An event that only repeats a decision's words is left out."""
    decisions = [_decided(facts.pool, e) for e in facts.pool.status.journal]
    told = {d.message.rstrip("…") for d in decisions if d.message}
    events = [_happened(raw) for raw in facts.events or ()]
    # What happened to a server is told at its pool too, after its name.
    told |= {f"{e.about}: {e.message}" for e in events}
    new = [e for e in events if not any(words in e.message for words in told)]
    lines = [line for line in [*decisions, *new] if (unix(line.time) or 0.0) >= after]
    return tuple(sorted(lines, key=lambda line: unix(line.time) or 0.0))


def _decided(pool: GpuPool, entry: JournalEntry) -> Happening:
    would = "would " if entry.mode == "Recommend" and entry.action not in ("Hold", "Start") else ""
    return Happening(
        time=entry.time,
        kind="decision",
        about=pool.metadata.name,
        action=f"{would}{entry.action}",
        reason=entry.reason,
        message=entry.message,
        ready=entry.ready,
        desired=entry.desired,
    )


def _happened(raw: Mapping[str, Any]) -> Happening:
    meta = raw.get("metadata") or {}
    # The API server keeps whole seconds of lastTimestamp; eventTime keeps the order within one.
    once = raw.get("eventTime") if int(raw.get("count") or 1) == 1 else None
    at = once or raw.get("lastTimestamp") or raw.get("eventTime") or meta.get("creationTimestamp")
    return Happening(
        time=str(at or "1970-01-01T00:00:00Z"),
        kind="warning" if raw.get("type") == "Warning" else "event",
        about=str((raw.get("involvedObject") or {}).get("name", "")),
        reason=str(raw.get("reason", "")),
        message=str(raw.get("message", "")),
        count=int(raw.get("count") or 1),
    )
