"""Rounds: moments on which everyone agrees without a word, so that many who ask the same ask it together.

A round of 600 s begins every 600 s of the clock, moved by a share that follows from a name. What looks at the cloud
once a round by the same name does so at the same time, whenever it was created, and after a restart too.
"""

from zlib import crc32


def share(name: str) -> float:
    """A number from 0 up to, not including, 1 that follows from the name and is spread evenly over names."""
    return crc32(name.encode()) / 2**32


def begun(length: float, now: float, name: str) -> float:
    """When the present round began.

    Args:
        length: of a round, seconds.
        now: seconds of any clock.
        name: whose rounds.
    """
    offset = length * share(name)
    return (now - offset) // length * length + offset


def until_next(length: float, now: float, name: str) -> float:
    """Seconds until the next round begins: above 0, at most `length`."""
    return length - (now - begun(length, now, name))
