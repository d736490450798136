"""The operator's three logs: `server_status`, `cost_traffic` and `alerts`.

What is appended is on the disk a moment later, so a process that is killed may lose the last of it. Where that must not
be (an alert, an hour's cost), `once` says when a record is on the disk, and only then is it written down as recorded; a
crash in between leads to the same record again, which its own fields identify.
"""

import asyncio
import time
from collections.abc import Callable, Hashable, Iterable
from pathlib import Path
from typing import Any, Final

from controller.api.gpuinstance import GpuInstance
from controller.api.gpupool import GpuPool
from controller.api.records import Records
from controller.records.lines import RecordType, stamp
from controller.records.server import Outcome, ScalingAction, ScalingEvent
from controller.records.writer import RecordWriter

TYPES: Final[tuple[RecordType, ...]] = ("server_status", "cost_traffic", "alerts")
#: At the end of the process the disk gets so long to take what is in memory.
CLOSE_SECONDS: Final = 10.0
#: Of a process that serves no pool yet, and so knows of no wish to remove anything.
_KEEP: Final = Records(retention_days=3650)


def settings(pools: Iterable[GpuPool]) -> Records:
    """How one folder for several pools is kept: the most careful of what they ask for."""
    asked = [pool.spec.records for pool in pools]
    if not asked:
        return _KEEP
    return Records(
        fsync_seconds=min(one.fsync_seconds for one in asked),
        retention_days=max(one.retention_days for one in asked),
        max_bytes=max(one.max_bytes for one in asked),
    )


class Recording:
    """Writes the operator's records; without a folder it does nothing."""

    def __init__(self, folder: Path | None, clock: Callable[[], float]) -> None:
        self.writer = None if folder is None else RecordWriter(folder, types=TYPES, wall=clock)
        self._clock = clock
        self._started = False
        #: Records that may not be on the disk yet, and when they were appended (`time.monotonic`).
        self._pending: dict[Hashable, float] = {}

    def configure(self, pools: Iterable[GpuPool]) -> None:
        """Record as these pools ask; the first call starts it, so a standby writes into nobody's files."""
        if self.writer is None:
            return
        if self._started:
            self.writer.configure(settings(pools))
        else:
            self.writer.start(settings(pools))
            self._started = True

    @property
    def active(self) -> bool:
        """Whether there is a folder."""
        return self.writer is not None

    def append(self, kind: RecordType, at: float, data: Any) -> None:
        """Have a record written soon."""
        if self.writer is not None:
            self.writer.append(kind, at, data)

    def once(self, key: Hashable, records: Callable[[], Iterable[tuple[RecordType, float, Any]]]) -> bool:
        """Append these records, unless this process has; True once they are on the disk.

        Args:
            key: the same for the same records.
            records: makes them, as `append` takes them.
        """
        if self.writer is None:
            return True
        appended = self._pending.get(key)
        if appended is None:
            for kind, at, data in records():
                self.writer.append(kind, at, data)
            self._pending[key] = time.monotonic()
            return False
        if not self.writer.settled(appended):
            return False
        del self._pending[key]
        return True

    def scaled(
        self, instance: GpuInstance, action: ScalingAction, outcome: Outcome, message: str, *, trigger: str | None
    ) -> None:
        """One step of a purchase or a destruction."""
        if self.writer is None:
            return
        now, spec, meta = self._clock(), instance.spec, instance.metadata
        record = ScalingEvent(
            time=stamp(now),
            namespace=meta.namespace,
            pool=spec.pool,
            server_id=meta.name,
            instance_id=instance.status.instance_id or None,
            region=spec.region,
            gpu_type=spec.bundle,
            price_per_hour=spec.price_per_hour,
            action=action,
            trigger=trigger,
            outcome=outcome,
            message=message,
        )
        self.writer.append("server_status", now, record)

    def launched(self, instance: GpuInstance, outcome: Outcome, message: str) -> None:
        """What became of a purchase, or of taking an instance over."""
        action: ScalingAction = "Adopt" if instance.spec.adopts else "Launch"
        reason = instance.spec.reason.partition(":")[0] or None
        self.scaled(instance, action, outcome, message, trigger=reason)

    async def close(self) -> None:
        """Write what is in memory."""
        if self.writer is not None and self._started:
            await asyncio.to_thread(self.writer.close, CLOSE_SECONDS)
