"""The couriers of all pools, kept in step with `spec.notifications`, and what the pool's condition says of them."""

import asyncio
from collections.abc import Callable, Mapping

from controller.api.gpupool import GpuPool
from controller.api.model import ConditionModel
from controller.api.names import Condition
from controller.operator.notify.courier import Courier, Key, Office, Wanted
from controller.operator.notify.texts import Notice
from controller.scaling.conditions import condition

#: Called with the pool's UID, the destination's name, and what it has heard.
Delivered = Callable[[str, str, Notice], None]


class Notifier:
    """Tells the destinations of all pools. Nothing here waits for any of them."""

    def __init__(self, office: Office, delivered: Delivered) -> None:
        self._office = office
        self._delivered = delivered
        #: By the pool's UID, and the destination's name.
        self._couriers: dict[str, dict[str, Courier]] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def serve(self, pool: GpuPool) -> None:
        """Have a courier for each destination of the pool, and none for one that was changed or taken away."""
        mine = self._couriers.setdefault(pool.metadata.uid, {})
        wanted = {one.name: one for one in pool.spec.notifications}
        for name in [name for name, courier in mine.items() if courier.notification != wanted.get(name)]:
            self._end(mine.pop(name))
        for name, notification in wanted.items():
            if name not in mine:
                mine[name] = Courier(
                    self._office, notification, pool.metadata.namespace, pool.metadata.name, self._hear(pool)
                )

    def _hear(self, pool: GpuPool) -> Callable[[str, Notice], None]:
        uid = pool.metadata.uid
        return lambda name, notice: self._delivered(uid, name, notice)

    def want(self, pool: GpuPool, wanted: Mapping[str, Wanted]) -> None:
        """What each destination still has to hear."""
        for name, courier in self._couriers.get(pool.metadata.uid, {}).items():
            courier.want(wanted.get(name, dict[Key, Notice]()))

    def condition(self, pool: GpuPool) -> ConditionModel:
        """The pool's condition NotificationsDelivered."""
        kind, couriers = Condition.NOTIFICATIONS_DELIVERED, self._couriers.get(pool.metadata.uid, {})
        if not couriers:
            return condition(kind, "True", "NoDestination", "spec.notifications names nobody")
        problems = [(name, c.problem) for name, c in sorted(couriers.items()) if c.problem is not None]
        if problems:
            message = "; ".join(f"{name}: {problem}" for name, problem in problems)
            return condition(kind, "False", problems[0][1].reason, message)
        if not all(courier.settled for courier in couriers.values()):
            return condition(kind, "Unknown", "Checking", "it is being looked whether the destinations can be reached")
        return condition(kind, "True", "Delivered", f"{len(couriers)} destinations, nothing undelivered for long")

    def forget(self, uid: str) -> None:
        """The pool is gone."""
        for courier in self._couriers.pop(uid, {}).values():
            self._end(courier)

    def _end(self, courier: Courier) -> None:
        task = asyncio.create_task(courier.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        """End all couriers. What was not delivered is due again at the next start."""
        for uid in tuple(self._couriers):
            self.forget(uid)
        await asyncio.gather(*self._closing, return_exceptions=True)
