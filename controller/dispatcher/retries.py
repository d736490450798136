"""How many tasks a pool may go on with after servers died under them. Pure.

Without a budget, tasks that kill servers, or a pool that is dying, would be tried again and again by everybody at once.
"""

from typing import Final

from controller.dispatcher.task import Task

#: Retries that a pool may always have under way.
LEAST: Final = 3


class Retries:
    """Tasks under which a server died, and that are not over."""

    def __init__(self) -> None:
        self.under_way = 0

    def died_under(self, task: Task) -> None:
        """A server that had got this task died before it answered."""
        self.under_way += not task.deaths
        task.deaths += 1

    def over(self, task: Task) -> None:
        """The task has ended."""
        self.under_way -= task.deaths > 0

    @staticmethod
    def budget(percent: float, tasks: int, most_slots: int) -> int:
        """How many of them there may be at a time.

        Args:
            percent: `queue.retryBudgetPercent`, of the tasks that run or wait.
            tasks: how many these are.
            most_slots: of any server: the death of a single one uses up no budget.
        """
        return max(LEAST, most_slots, int(percent / 100.0 * tasks))
