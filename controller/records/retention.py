"""Which files go. Pure."""

from collections.abc import Mapping

from controller.records.lines import FileKey, days_before


def too_old(files: Mapping[FileKey, int], *, today: str, retention_days: int) -> list[FileKey]:
    """The files whose day is more than so many days ago: every line is kept for at least that long."""
    first = days_before(today, retention_days)
    return [key for key in files if key.day < first]


def over_cap(files: Mapping[FileKey, int], *, today: str, max_bytes: int, needed: int = 0) -> list[FileKey]:
    """The files to remove so that all that stay, and `needed` more bytes, fit under the cap; the oldest first.

    Args:
        files: bytes of each file.
        today: the current UTC day. Its files stay, later ones too, even if they are too many by themselves.
        max_bytes: cap of all files together.
        needed: bytes to be added.
    """
    excess = sum(files.values()) + needed - max_bytes
    removed: list[FileKey] = []
    for key in sorted((key for key in files if key.day < today), key=lambda key: (key.day, key.type)):
        if excess <= 0:
            break
        removed.append(key)
        excess -= files[key]
    return removed


def to_make_room(files: Mapping[FileKey, int], *, today: str, max_bytes: int, needed: int) -> list[FileKey] | None:
    """As `over_cap`, but None if there would not be room for `needed` bytes even then: nothing goes in vain."""
    removed = over_cap(files, today=today, max_bytes=max_bytes, needed=needed)
    left = sum(files.values()) - sum(files[key] for key in removed)
    return removed if left + needed <= max_bytes else None
