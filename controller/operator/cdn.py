"""Keeps the CDN domain of each pool as its traffic level wants it. Only this writes `status.cdn`.

A worker of its own, so that no decision waits for the CDN. What is recorded comes before what is done; whatever the
answer was, the next look tells what became of it.
"""

import logging
from typing import Final

from msgspec.structs import replace

from controller.api.gpupool import GpuPool
from controller.api.model import ConditionModel, write_over
from controller.api.names import Condition
from controller.api.optimization import CdnStatus
from controller.cloud.cdn import Cdn, CdnDomain
from controller.cloud.errors import (
    CloudError,
    IncompleteError,
    InProgressError,
    NotFoundError,
    ThrottledError,
    UnavailableError,
    UnclearError,
)
from controller.operator.context import Context
from controller.scaling import cdn as rules
from controller.scaling.conditions import condition
from controller.scaling.quota import stage_of
from controller.scaling.readings import start_of_beijing_month

logger = logging.getLogger(__name__)

#: Errors that pass by themselves, or that the next look clears up.
_PASSING: Final = (InProgressError, ThrottledError, UnavailableError, UnclearError, IncompleteError)


class CdnKeeper:
    """The handler of all pools' domains."""

    def __init__(self, ctx: Context, cdn: Cdn) -> None:
        self._ctx = ctx
        self._cdn = cdn

    async def reconcile(self, key: str) -> float | None:
        """One step for one pool; returns seconds until the next."""
        pool = self._ctx.store.pools.get(key)
        if pool is None or rules.idle(pool.status.cdn, pool.spec.traffic.optimization.cdn, saving=_saving(pool)):
            return None
        step = await self._next(pool)
        await self._write(pool, step.status)
        if step.act != "Look":
            await self._do(pool, step)
        return step.again

    async def _next(self, pool: GpuPool) -> rules.Step:
        """What to do, from the domain as it is now."""
        status, spec, now = pool.status.cdn, pool.spec.traffic.optimization.cdn, self._ctx.clock()
        going = rules.leaving(status, spec, saving=_saving(pool))
        name = status.domain if going or spec is None else spec.domain
        try:
            seen = await self._cdn.domain(name)
            status = await self._counted(status, seen, now=now)
        except _PASSING as error:
            logger.warning("CDN domain %s could not be looked at: %s", name, error)
            return rules.Step(replace(status, error=str(error)))
        except CloudError as error:
            if going and isinstance(error, NotFoundError):
                # Nothing is left to put back.
                return rules.Step(CdnStatus(), again=None)
            return rules.blocked(replace(status, domain=name), str(error), now=now)
        if going or spec is None:
            life = float(pool.spec.queue.async_tasks.result_ttl_seconds)
            return rules.leave(status, seen=seen.status, config=seen.config, link_life=life, now=now)
        return rules.enter(status, spec, seen=seen.status, config=seen.config, now=now)

    async def _counted(self, status: CdnStatus, seen: CdnDomain, *, now: float) -> CdnStatus:
        """The status with this month's bytes, which are worth less than the domain's state: without them it goes on."""
        if status.state not in ("Online", "Leaving"):
            return status
        try:
            through = await self._cdn.bytes(seen.name, since=start_of_beijing_month(now), until=now)
        except CloudError as error:
            logger.warning("what went through CDN domain %s could not be read: %s", seen.name, error)
            return status
        return replace(status, edge_bytes=through.edge, origin_bytes=through.origin)

    async def _do(self, pool: GpuPool, step: rules.Step) -> None:
        name = step.status.domain
        try:
            if step.act == "Configure":
                await self._cdn.configure(name, step.objects or {})
            elif step.act == "Start":
                await self._cdn.start(name)
            else:
                await self._cdn.stop(name)
        except _PASSING as error:
            logger.warning("%s of CDN domain %s: %s", step.act, name, error)
            return
        except CloudError as error:
            await self._write(pool, rules.blocked(step.status, str(error), now=self._ctx.clock()).status)
            return
        await self._ctx.events.normal(pool, f"Cdn{step.act}", f"{name}: {_WORDS[step.act]}")

    async def _write(self, pool: GpuPool, status: CdnStatus) -> None:
        """Record a status, and tell when it is another one.

        Raises:
            KubeError: it is not recorded; nothing may be changed at the CDN then.
        """
        pool = self._ctx.store.pools.get(pool.metadata.key) or pool
        before = pool.status.cdn
        if status == before:
            return
        await self._ctx.objects.pool_status(pool, {"cdn": write_over(status)})
        if status.state != before.state:
            name = status.domain or before.domain
            say = self._ctx.events.warning if status.state == "Blocked" else self._ctx.events.normal
            await say(pool, f"Cdn{status.state}", f"{name}: {status.error or _STATES[status.state]}")


_WORDS: Final = {
    "Configure": "its configuration is being changed",
    "Start": "it is being started",
    "Stop": "it is being stopped",
}
_STATES: Final = {
    "Off": "it is as it was before",
    "Starting": "it is being made ready",
    "Online": "links to results are made on it",
    "Leaving": "no more links are made on it; it serves until the last one is over",
}


def turned(pool: GpuPool) -> bool:
    """Whether the domain is wanted and not on its way, or on and no longer wanted: its worker has to look now."""
    status, spec = pool.status.cdn, pool.spec.traffic.optimization.cdn
    if rules.idle(status, spec, saving=_saving(pool)):
        return False
    going = rules.leaving(status, spec, saving=_saving(pool))
    return (status.state not in ("Off", "Leaving")) if going else (status.state in ("Off", "Leaving"))


def cdn_condition(pool: GpuPool) -> ConditionModel | None:
    """How the pool's CDN domain is; None for a pool without one."""
    spec, status = pool.spec.traffic.optimization.cdn, pool.status.cdn
    if spec is None and status.state == "Off":
        return None
    name = status.domain or (spec.domain if spec else "")
    match status.state:
        case "Blocked":
            return condition(Condition.CDN_READY, "False", "CdnBlocked", status.error)
        case "Online":
            saved = max(0, status.edge_bytes - status.origin_bytes)
            message = f"links are made on {name}; it kept {saved / 1e9:.3f} GB from the dispatcher this month"
            return condition(Condition.CDN_READY, "True", "CdnOnline", message)
        case "Off":
            message = f"{name} is not used below the traffic level Optimize"
            return condition(Condition.CDN_READY, "True", "CdnNotNeeded", message)
        case state:
            return condition(Condition.CDN_READY, "Unknown", f"Cdn{state}", f"{name}: {_STATES[state]}")


def _saving(pool: GpuPool) -> bool:
    return stage_of(pool.status.traffic.level) != "Normal" and not pool.metadata.deleting
