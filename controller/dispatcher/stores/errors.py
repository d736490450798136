"""What goes wrong with a store."""

import errno
import sqlite3
from typing import Final

#: No space, quota used up, file size limit.
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class StoreError(Exception):
    """The store cannot do it now, or cannot be opened. Nothing was changed."""


class StoreFullError(StoreError):
    """There is no room: the disk is full, or `queue.asyncTasks.maxStoredBytes` is reached."""


def of_disk(error: OSError, what: str) -> StoreError:
    """The store's error for one of the file system."""
    return (StoreFullError if error.errno in _FULL else StoreError)(f"{what}: {error}")


def of_sqlite(error: sqlite3.Error, what: str) -> StoreError:
    """The store's error for one of SQLite."""
    full = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
    return (StoreFullError if full else StoreError)(f"{what}: {error}")
