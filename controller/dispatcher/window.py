"""Response times of the last `windowSeconds`, for the mean that drives scaling."""

from collections import deque


class ResponseWindow:
    """(time, seconds) of the tasks that started (or completed) lately."""

    def __init__(self) -> None:
        self._entries: deque[tuple[float, float]] = deque()

    def add(self, now: float, seconds: float) -> None:
        """One task started (or completed) at `now` after `seconds`."""
        self._entries.append((now, seconds))

    def values(self, now: float, window_seconds: float) -> list[float]:
        """The response times within the window that ends now; older ones are dropped."""
        entries = self._entries
        while entries and entries[0][0] <= now - window_seconds:
            entries.popleft()
        return [seconds for _, seconds in entries]
