"""The order that the rules promise, and where a measured one departs from it."""

from collections.abc import Mapping, Sequence


def round_robin(tasks: Mapping[str, int]) -> list[str]:
    """The fair order: users take turns in the order in which they came, until each is done.

    Args:
        tasks: number of tasks of each user, in the order in which the users first submitted.

    Returns:
        `["A1", "B1", "C1", "A2", ...]`; a user without tasks left is passed over.
    """
    longest = max(tasks.values(), default=0)
    return [f"{user}{turn}" for turn in range(1, longest + 1) for user, count in tasks.items() if turn <= count]


def first_difference(measured: Sequence[str], promised: Sequence[str]) -> str:
    """Where the two orders part, as a sentence; empty when they are the same."""
    for position, (got, wanted) in enumerate(zip(measured, promised, strict=False), start=1):
        if got != wanted:
            return f"place {position} was {got}, not {wanted}"
    if len(measured) != len(promised):
        return f"{len(measured)} tasks were started, not {len(promised)}"
    return ""
