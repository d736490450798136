"""The SQLite file: its tables, their version, and how it is opened."""

import sqlite3
from pathlib import Path
from typing import Final

from controller.dispatcher.stores.base import TaskState
from controller.dispatcher.stores.errors import StoreError, of_sqlite

#: Raised when the tables change; `PRAGMA user_version` of the file.
VERSION: Final = 1
#: "haip": says what the file is to `file` and to us.
APPLICATION_ID: Final = 0x68616970
#: Up to this size the whole file is checked at the start; a larger one would hold the start up for too long.
CHECKED_BYTES: Final = 256 * 1024 * 1024
#: The write-ahead log is cut back to this after it was merged.
LOG_BYTES: Final = 64 * 1024 * 1024
#: Pages of the writer's cache, in KiB (negative: SQLite's way to say KiB).
CACHE_KIB: Final = -8192

# The request's columns and content are emptied when a task ends. `bytes` is what a task counts for in maxStoredBytes.
# The totals are kept by triggers, so that they hold whatever a transaction does, and also after a crash.
_TABLES: Final = """
CREATE TABLE tasks (
  sequence INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL,
  state TEXT NOT NULL,
  method TEXT,
  target BLOB,
  headers BLOB,
  identity BLOB NOT NULL,
  route BLOB NOT NULL,
  idempotent INTEGER NOT NULL,
  submitted REAL NOT NULL,
  started REAL,
  completed REAL,
  token INTEGER NOT NULL DEFAULT 0,
  servers TEXT NOT NULL DEFAULT '[]',
  scope TEXT,
  key TEXT,
  fingerprint BLOB,
  outcome BLOB,
  gone INTEGER NOT NULL DEFAULT 0,
  bytes INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX tasks_id ON tasks (id);
CREATE UNIQUE INDEX tasks_key ON tasks (scope, key) WHERE key IS NOT NULL;
CREATE INDEX tasks_queued ON tasks (sequence) WHERE state = 'queued';
CREATE INDEX tasks_running ON tasks (sequence) WHERE state = 'running';
CREATE INDEX tasks_ended ON tasks (gone, completed) WHERE completed IS NOT NULL;
CREATE TABLE contents (
  place INTEGER PRIMARY KEY,
  size INTEGER NOT NULL,
  data BLOB,
  file TEXT
) STRICT;
CREATE TABLE totals (state TEXT PRIMARY KEY, tasks INTEGER NOT NULL, bytes INTEGER NOT NULL) STRICT;
CREATE TRIGGER tasks_came AFTER INSERT ON tasks BEGIN
  UPDATE totals SET tasks = tasks + 1, bytes = bytes + NEW.bytes WHERE state = NEW.state;
END;
CREATE TRIGGER tasks_changed AFTER UPDATE OF state, bytes ON tasks BEGIN
  UPDATE totals SET tasks = tasks - 1, bytes = bytes - OLD.bytes WHERE state = OLD.state;
  UPDATE totals SET tasks = tasks + 1, bytes = bytes + NEW.bytes WHERE state = NEW.state;
END;
CREATE TRIGGER tasks_went AFTER DELETE ON tasks BEGIN
  UPDATE totals SET tasks = tasks - 1, bytes = bytes - OLD.bytes WHERE state = OLD.state;
END;
"""


def open_writer(path: Path) -> sqlite3.Connection:
    """The connection that writes; makes the file if there is none, or if there is but an empty one.

    Raises:
        StoreError: it is no such file, is damaged, or is of a newer version. It was not touched.
    """
    try:
        connection = sqlite3.connect(path, isolation_level=None, cached_statements=256)
        try:
            _look(connection, path)
            _settle(connection)
        except BaseException:
            connection.close()
            raise
    except sqlite3.Error as error:
        raise of_sqlite(error, f"{path} cannot be used as the store of tasks") from error
    return connection


def open_reader(path: Path) -> sqlite3.Connection:
    """A connection that only reads, of a file that the writer has opened.

    Raises:
        StoreError: it cannot be opened.
    """
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
    except sqlite3.Error as error:
        raise of_sqlite(error, f"{path} cannot be read") from error
    connection.row_factory = sqlite3.Row
    return connection


def _look(connection: sqlite3.Connection, path: Path) -> None:
    """Refuse what is not ours before anything is written."""
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if tables and application != APPLICATION_ID:
        raise StoreError(f"{path} is a database of something else; name another folder with --data")
    if version > VERSION:
        raise StoreError(
            f"{path} was written by a newer haipool (schema {version}, this one knows {VERSION}); start that one"
        )
    if tables and path.stat().st_size <= CHECKED_BYTES:
        found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            raise StoreError(f"{path} is damaged: {' '.join(str(found).split())}; put it aside, or restore a copy")


def _settle(connection: sqlite3.Connection) -> None:
    """Settings of this connection, and the tables where there are none."""
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"PRAGMA journal_size_limit = {LOG_BYTES}")
    connection.execute(f"PRAGMA cache_size = {CACHE_KIB}")
    if connection.execute("PRAGMA user_version").fetchone()[0] == 0:
        connection.executescript(f"BEGIN IMMEDIATE;{_TABLES}")
        connection.executemany("INSERT INTO totals VALUES (?, 0, 0)", [(state,) for state in TaskState])
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.execute("COMMIT")
    connection.row_factory = sqlite3.Row
