"""Response times of the last `windowSeconds`, for the mean that drives scaling."""

from collections import deque


class ResponseWindow:
    """(time, seconds) of the tasks that started (or completed) lately."""

    def __init__(self, seconds: float) -> None:
        #: Length of the window; may change at any time.
        self.seconds = seconds
        self._entries: deque[tuple[float, float]] = deque()

    def add(self, now: float, seconds: float) -> None:
        """One task started (or completed) at `now` after `seconds`."""
        self._entries.append((now, seconds))
        self._drop(now)

    def values(self, now: float) -> list[float]:
        """The response times within the window that ends now."""
        self._drop(now)
        return [seconds for _, seconds in self._entries]

    def _drop(self, now: float) -> None:
        """Also done while adding: where nobody reads, nothing may pile up."""
        entries = self._entries
        while entries and entries[0][0] <= now - self.seconds:
            entries.popleft()
