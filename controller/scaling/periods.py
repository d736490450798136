"""Hours, days and months of money: Beijing time, known by name, so that a status can say which one it means."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from controller.scaling.readings import BEIJING


@dataclass(frozen=True, slots=True)
class Period:
    """One kind of period. Names sort as the times they mean."""

    format: str
    #: Longer than one of them and shorter than two.
    step: timedelta

    def name(self, t: float) -> str:
        """Name of the period that holds t (Unix seconds)."""
        return datetime.fromtimestamp(t, BEIJING).strftime(self.format)

    def start(self, name: str) -> float:
        """Unix seconds at which it begins.

        Raises:
            ValueError: it is no name of this kind.
        """
        return datetime.strptime(name, self.format).replace(tzinfo=BEIJING).timestamp()

    def end(self, name: str) -> float:
        """Unix seconds at which it ends and the next one begins."""
        return self.start(self.after(name))

    def after(self, name: str) -> str:
        """Name of the next one."""
        return self.name(self.start(name) + self.step.total_seconds())

    def between(self, first: str, last: str) -> Iterator[str]:
        """Names from `first` on, up to and without `last`."""
        while first < last:
            yield first
            first = self.after(first)


HOUR: Final = Period("%Y-%m-%dT%H", timedelta(hours=1))
DAY: Final = Period("%Y-%m-%d", timedelta(days=1))
MONTH: Final = Period("%Y-%m", timedelta(days=31))
