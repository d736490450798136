"""How many tasks each user has sent, and how many count against each allowance. Pure."""

from collections.abc import Callable, Container

from controller.dispatcher.identity import Identity


class Allowances:
    """Counts tasks."""

    def __init__(self) -> None:
        #: Tasks so far, by user.
        self._numbers: dict[str, int] = {}
        #: Waiting tasks, by what limits are counted by.
        self._waiting: dict[str, int] = {}

    def number(self, identity: Identity) -> int:
        """The number of this user's next task, from 1."""
        number = self._numbers[identity.user] = self._numbers.get(identity.user, 0) + 1
        return number

    def waits(self, identity: Identity) -> None:
        """A task of this user waits."""
        self._waiting[identity.quota] = self._waiting.get(identity.quota, 0) + 1

    def waits_no_more(self, identity: Identity) -> None:
        """One of them waits no more.

        Raises:
            KeyError: none waited.
        """
        left = self._waiting.pop(identity.quota) - 1
        if left:
            self._waiting[identity.quota] = left

    def waiting(self, quota: str) -> int:
        """Waiting tasks that count against one allowance (`Identity.quota`)."""
        return self._waiting.get(quota, 0)

    def forget(self, waiting: Container[str], keep: Callable[[str], bool]) -> None:
        """Drop the numbers of users that are neither to be kept nor have a task waiting."""
        for user in [u for u in self._numbers if u not in waiting and not keep(u)]:
            del self._numbers[user]
