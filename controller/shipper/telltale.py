"""What the shipper tells in the alerts file: records that will never arrive, and a topic that takes nothing."""

from typing import Final, Literal

from controller.records.alert import AlertRecord, Level
from controller.records.lines import stamp
from controller.records.writer import RecordWriter
from controller.shipper.ship import Tally

#: Trouble of one sort is told this often at most.
QUIET_SECONDS: Final = 60.0


class Telltale:
    """Compares the tally with what was told."""

    def __init__(self, writer: RecordWriter) -> None:
        self._writer = writer
        self._told = 0
        self._told_at = float("-inf")
        self._held = False
        self._held_since = 0.0

    def look(self, tally: Tally, *, now: float) -> None:
        """Tell what is new.

        Args:
            tally: of the shipper.
            now: Unix seconds.
        """
        dropped = sum(tally.dropped.values())
        if dropped > self._told and now - self._told_at >= QUIET_SECONDS:
            self._tell_dropped(tally, dropped - self._told, now)
            self._told, self._told_at = dropped, now
        if bool(tally.held) is not self._held:
            self._held = bool(tally.held)
            self._tell_held(tally, now)

    def _tell_dropped(self, tally: Tally, count: int, now: float) -> None:
        self._append(
            now,
            level="Warning",
            rule="RecordsNotShipped",
            value=float(count),
            unit="records or bytes",
            message=f"{count} more records (or bytes of removed files) will not arrive in CLS: {tally.last_drop}",
            message_zh=f"又有 {count} 条记录（或被删除文件的字节）不会到达 CLS：{tally.last_drop}",
        )

    def _tell_held(self, tally: Tally, now: float) -> None:
        if self._held:
            self._held_since = now
        self._append(
            now,
            level="Critical",
            rule="ShippingHeld",
            state="Firing" if self._held else "Resolved",
            since=self._held_since,
            value=float(tally.backlog_bytes),
            unit="bytes",
            message=f"CLS takes nothing until this is put right: {tally.held}" if self._held else "shipped again",
            message_zh=f"在解决以下问题之前，CLS 不接收任何日志：{tally.held}" if self._held else "日志投递已恢复",
        )

    def _append(
        self,
        now: float,
        *,
        level: Level,
        rule: str,
        value: float,
        unit: str,
        message: str,
        message_zh: str,
        state: Literal["Firing", "Resolved"] = "Firing",
        since: float | None = None,
    ) -> None:
        record = AlertRecord(
            namespace=None,
            pool=None,
            rule=rule,
            subject="",
            state=state,
            level=level,
            peak=level,
            since=stamp(now if since is None else since),
            value=value,
            threshold=0.0,
            unit=unit,
            message=message,
            message_zh=message_zh,
        )
        self._writer.append("alerts", now, record)
