"""What the records say of a task that has ended."""

import asyncio
import secrets
from collections.abc import Callable
from functools import lru_cache
from ipaddress import ip_address
from typing import Final

from controller.api.queue import Route
from controller.api.records import Records
from controller.dispatcher.addresses import KEPT, share_key
from controller.dispatcher.scheduler import Task
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
        """Write the record of a task. It never fails and never waits.

        Wall times are counted back from now: a wall clock that was set meanwhile changes no duration.
        """
        now, ended = self._wall(), self._clock()
        submitted = now - (ended - task.submitted)
        wait = None if task.started is None else task.started - task.submitted
        identity, place = task.identity, task.place
        ip, network, user = identity.ip, network_of(identity.ip), identity.user
        if self._hash is not None:
            user = f"user_{self._hash(ip)}{user.removeprefix(f'user_{ip}')}"
            ip, network = self._hash(ip), self._hash(network)
        record = TaskRecord(
            task_id=task.task_id,
            pool=self._pool,
            task_type=route.name,
            cost=route.cost,
            user_id=user,
            user_identification_method=identity.method,
            client_ip=ip,
            network=network,
            time_window=identity.window,
            server_id=None if place is None else place.name,
            region=None if place is None else place.region or None,
            gpu_type=None if place is None else place.bundle or None,
            submit_time=stamp(submitted),
            start_time=None if wait is None else stamp(submitted + wait),
            complete_time=stamp(now),
            processing_duration=None if wait is None else round(task.used, 6),
            wait_duration=None if wait is None else round(wait, 6),
            response_duration=round(ended - task.submitted, 6),
            status=status,
            failure_reason=reason,
            attempts=task.attempts,
            gpu_percent=None,
            gpu_memory_percent=None,
        )
        self.writer.append("task_processing", now, record)

    async def close(self) -> None:
        """Have everything on the disk, if that takes no longer than `CLOSE_SECONDS`."""
        await asyncio.to_thread(self.writer.close, CLOSE_SECONDS)
