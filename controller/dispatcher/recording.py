"""What the records say of a task that has ended."""

import asyncio
import secrets
from collections.abc import Callable
from functools import lru_cache, partial
from ipaddress import ip_address
from typing import Any, Final, NamedTuple

from controller.api.queue import Route
from controller.api.records import Records
from controller.dispatcher.addresses import KEPT, share_key
from controller.dispatcher.identity import Identity
from controller.dispatcher.stores.base import StoredTask
from controller.dispatcher.task import Task
from controller.records.addresses import MIN_KEY_BYTES, AddressHash, kept_key
from controller.records.lines import stamp
from controller.records.task import Status, TaskRecord
from controller.records.writer import RecordWriter

#: At the end of the process the disk gets so long to take what is in memory.
CLOSE_SECONDS: Final = 10.0


@lru_cache(KEPT)
def network_of(ip: str) -> str:
    """The network of an address: itself, or its /64, also where `shareBy: User` counts shares by something else."""
    return share_key(ip_address(ip))


class Recorder:
    """Writes one line for each task that ends."""

    def __init__(
        self,
        writer: RecordWriter,
        pool: str,
        *,
        clock: Callable[[], float],
        wall: Callable[[], float],
        key: bytes | None = None,
    ) -> None:
        """Nothing is written, and nothing removed, before `configure` has said how.

        Args:
            writer: not started yet.
            pool: name of the GpuPool.
            clock: that of the tasks' times.
            wall: Unix seconds.
            key: hides addresses, if the settings ask for it; None: one that is kept beside the records.
        """
        self.writer = writer
        self._pool = pool
        self._clock = clock
        self._wall = wall
        self._key = key
        self._hash: AddressHash | None = None
        #: Of this process alone, while the folder neither has a key nor takes one.
        self._makeshift: AddressHash | None = None
        self._started = False

    def configure(self, settings: Records) -> None:
        """Record like this from now on."""
        self._hash = self._address_hash() if settings.hash_addresses else None
        if self._started:
            self.writer.configure(settings)
        else:
            self.writer.start(settings)
            self._started = True

    def _address_hash(self) -> AddressHash:
        """The hash with the key. An address is never written as it is because the key cannot be had."""
        if self._hash is not None and self._hash is not self._makeshift:
            return self._hash
        try:
            return AddressHash(self._key or kept_key(self.writer.folder.path))
        except (OSError, ValueError) as error:
            self.writer.counters.complain("addresses are hashed with a key that ends with this process: %s", error)
            self._makeshift = self._makeshift or AddressHash(secrets.token_bytes(MIN_KEY_BYTES))
            return self._makeshift

    def task_ended(self, task: Task, route: Route, status: Status, reason: str | None) -> None:
        """Have the record of a task written that somebody waited for. It never fails and never waits.

        The writer's thread makes it, many at a time: that costs much less than one at a time between two requests.
        """
        end = _End(status, reason, self._wall(), self._clock(), self._hash)
        self.writer.append("task_processing", end.wall, partial(self._ended, task, route, end))

    def _ended(self, task: Task, route: Route, end: "_End") -> TaskRecord:
        """The record of a task.

        Wall times are counted back from its end: a wall clock that was set meanwhile changes no duration.
        """
        submitted = end.wall - (end.clock - task.submitted)
        wait = None if task.started is None else task.started - task.submitted
        place = task.place
        return self._record(
            _Times(submitted, None if wait is None else submitted + wait, end.wall),
            task.identity,
            route,
            end.hash,
            task_id=task.task_id,
            server_id=None if place is None else place.name,
            region=None if place is None else place.region or None,
            gpu_type=None if place is None else place.bundle or None,
            processing_duration=None if wait is None else round(task.used, 6),
            status=end.status,
            failure_reason=end.reason,
            attempts=task.attempts,
        )

    def stored_task_ended(self, stored: StoredTask, task: Task | None, status: Status, reason: str | None) -> None:
        """Write the record of a task of a store; see `task_ended`.

        Args:
            stored: as it has ended.
            task: what this process knows of it; None: it ended between two processes.
            status: how it ended.
            reason: why that is no success.
        """
        place = None if task is None else task.place
        started = stored.started is not None
        times = _Times(stored.submitted, stored.started, stored.completed or self._wall())
        record = self._record(
            times,
            stored.identity,
            stored.route,
            self._hash,
            task_id=stored.task_id,
            server_id=stored.servers[-1] if stored.servers else None,
            region=None if place is None else place.region or None,
            gpu_type=None if place is None else place.bundle or None,
            # How long it kept a server busy before the last restart, nobody knows.
            processing_duration=round(task.used, 6) if started and task is not None else None,
            status=status,
            failure_reason=reason,
            attempts=stored.attempts,
        )
        self.writer.append("task_processing", times.ended, record)

    def _record(
        self, times: "_Times", identity: Identity, route: Route, hide: AddressHash | None, **fields: Any
    ) -> TaskRecord:
        ip, network, user = identity.ip, network_of(identity.ip), identity.user
        if hide is not None:
            user = f"user_{hide(ip)}{user.removeprefix(f'user_{ip}')}"
            ip, network = hide(ip), hide(network)
        started = times.started
        return TaskRecord(
            pool=self._pool,
            task_type=route.name,
            cost=route.cost,
            user_id=user,
            user_identification_method=identity.method,
            client_ip=ip,
            network=network,
            time_window=identity.window,
            submit_time=stamp(times.submitted),
            start_time=None if started is None else stamp(started),
            complete_time=stamp(times.ended),
            wait_duration=None if started is None else _between(times.submitted, started),
            response_duration=_between(times.submitted, times.ended),
            gpu_percent=None,
            gpu_memory_percent=None,
            **fields,
        )

    async def close(self) -> None:
        """Have everything on the disk, if that takes no longer than `CLOSE_SECONDS`."""
        await asyncio.to_thread(self.writer.close, CLOSE_SECONDS)


class _End(NamedTuple):
    """How and when a task ended."""

    status: Status
    reason: str | None
    #: Unix seconds, and the same moment on the tasks' clock.
    wall: float
    clock: float
    #: What hides addresses, if they were to be hidden then.
    hash: AddressHash | None


class _Times(NamedTuple):
    """Unix seconds."""

    submitted: float
    started: float | None
    ended: float


def _between(start: float, end: float) -> float:
    """Seconds; a wall clock that was set back in the meantime makes none of them negative."""
    return max(0.0, round(end - start, 6))
