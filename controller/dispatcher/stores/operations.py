"""What can be done to the SQLite file: each function is a step of a transaction, which the writer commits.

A step may be undone and done again, so its only effects are in the database. Files that a step makes superfluous are
named to the transaction, and removed once it is committed.
"""

import json
import sqlite3
from dataclasses import dataclass, field
from typing import Final

import msgspec

from controller.api.queue import Route
from controller.dispatcher.identity import Identity
from controller.dispatcher.stores.base import (
    INTERRUPTED,
    NO_ROOM,
    ROW_BYTES,
    Failure,
    Figures,
    Headers,
    NewTask,
    Outcome,
    Recovered,
    Request,
    StoredTask,
    TaskState,
)
from controller.dispatcher.stores.errors import StoreFullError

#: Answers dropped in one go while room is made.
EVICTED_AT_ONCE: Final = 64
#: Headers are bytes that need not be text: as text they have surrogates then (PEP 383), which no file takes.
_Raw = tuple[tuple[bytes, bytes], ...]

_encode = msgspec.msgpack.encode
_outcome = msgspec.msgpack.Decoder(tuple[TaskState, int | None, _Raw, Failure | None])
_headers = msgspec.msgpack.Decoder(_Raw)
_route = msgspec.msgpack.Decoder(Route)
_identity = msgspec.msgpack.Decoder(Identity)


@dataclass(slots=True)
class Transaction:
    """A transaction under way."""

    db: sqlite3.Connection
    #: Names of files that nothing refers to once it is committed.
    superfluous: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Stored:
    """Content in the database, or the name of its file."""

    size: int
    data: bytes | None
    file: str | None


def to_task(row: sqlite3.Row) -> StoredTask:
    """The task of a row."""
    outcome = row["outcome"]
    return StoredTask(
        task_id=row["id"],
        sequence=row["sequence"],
        state=TaskState(row["state"]),
        identity=_identity.decode(row["identity"]),
        route=_route.decode(row["route"]),
        submitted=row["submitted"],
        started=row["started"],
        completed=row["completed"],
        servers=tuple(json.loads(row["servers"])),
        fingerprint=row["fingerprint"],
        outcome=None if outcome is None else _to_outcome(outcome),
        gone=bool(row["gone"]),
    )


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _str(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _raw(headers: Headers) -> _Raw:
    return tuple((_bytes(name), _bytes(value)) for name, value in headers)


def _text(headers: _Raw) -> Headers:
    return tuple((_str(name), _str(value)) for name, value in headers)


def _to_outcome(packed: bytes) -> Outcome:
    state, status, headers, failure = _outcome.decode(packed)
    return Outcome(state, status, _text(headers), failure)


def _from_outcome(outcome: Outcome) -> bytes:
    return _encode((outcome.state, outcome.status, _raw(outcome.headers), outcome.failure))


# --- contents: place 2n is the request's body of task n, 2n + 1 the answer's ------------------------------------------


def _request_place(sequence: int) -> int:
    return 2 * sequence


def _answer_place(sequence: int) -> int:
    return 2 * sequence + 1


def _put(tx: Transaction, place: int, content: Stored) -> None:
    if content.size:
        tx.db.execute("INSERT INTO contents VALUES (?, ?, ?, ?)", (place, content.size, content.data, content.file))


def _drop(tx: Transaction, place: int) -> None:
    found = tx.db.execute("DELETE FROM contents WHERE place = ? RETURNING file", (place,)).fetchall()
    tx.superfluous += [name for (name,) in found if name is not None]


def _content(db: sqlite3.Connection, place: int) -> Stored:
    row = db.execute("SELECT size, data, file FROM contents WHERE place = ?", (place,)).fetchone()
    return Stored(0, b"", None) if row is None else Stored(*row)


# --- coming in --------------------------------------------------------------------------------------------------------


def add(tx: Transaction, task: NewTask, body: Stored, limit: int) -> tuple[StoredTask, bool]:
    """Keep a task, unless its key is known; returns the task of that key, and whether it is this one.

    Raises:
        StoreFullError: no room under `limit`.
    """
    request, key = task.request, task.key
    if key is not None:
        row = tx.db.execute("SELECT * FROM tasks WHERE scope = ? AND key = ?", (key.scope, key.key)).fetchone()
        if row is not None:
            return to_task(row), False
    headers, target = _encode(_raw(request.headers)), _bytes(request.target)
    size = ROW_BYTES + body.size + len(headers) + len(target)
    if not make_room(tx, size, limit):
        raise StoreFullError(f"{size} bytes more would be above {limit} (queue.asyncTasks.maxStoredBytes)")
    row = tx.db.execute(
        "INSERT INTO tasks (id, state, method, target, headers, identity, route, idempotent, submitted, scope, key,"
        " fingerprint, bytes) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING *",
        (
            *(task.task_id, TaskState.QUEUED, request.method, target, headers, _encode(task.identity)),
            *(_encode(task.route), task.route.idempotent, task.submitted),
            *((None, None, None) if key is None else (key.scope, key.key, key.fingerprint)),
            size,
        ),
    ).fetchone()
    added = to_task(row)
    _put(tx, _request_place(added.sequence), body)
    return added, True


def make_room(tx: Transaction, size: int, limit: int) -> bool:
    """Drop answers, the oldest first, then what was left of such tasks, until `size` bytes fit under `limit`.

    Where all of that would not do, nothing is dropped.
    """
    now = figures(tx.db)
    too_much = now.bytes + size - limit
    if too_much > now.ended_bytes:
        return False
    while too_much > 0:
        ended = tx.db.execute(
            "SELECT sequence, gone, bytes FROM tasks WHERE completed IS NOT NULL ORDER BY gone, completed LIMIT ?",
            (EVICTED_AT_ONCE,),
        ).fetchall()
        for sequence, gone, counted in ended:
            if too_much <= 0:
                break
            if gone:
                tx.db.execute("DELETE FROM tasks WHERE sequence = ?", (sequence,))
                too_much -= counted
            else:
                _forget(tx, sequence)
                too_much -= counted - ROW_BYTES
    return True


def _forget(tx: Transaction, sequence: int) -> None:
    """Drop the answer of an ended task, and its key with it. That it was there is still known."""
    _drop(tx, _answer_place(sequence))
    tx.db.execute(
        "UPDATE tasks SET gone = 1, outcome = NULL, scope = NULL, key = NULL, bytes = ? WHERE sequence = ?",
        (ROW_BYTES, sequence),
    )


# --- running ----------------------------------------------------------------------------------------------------------


def claim(tx: Transaction, task_id: str, server: str, now: float) -> tuple[StoredTask, Request, Stored, int] | None:
    """A queued task runs from now on; None if it is not queued."""
    row = tx.db.execute(
        "UPDATE tasks SET state = 'running', started = coalesce(started, ?), token = token + 1,"
        " servers = json_insert(servers, '$[#]', ?) WHERE id = ? AND state = 'queued'"
        " RETURNING *",
        (now, server, task_id),
    ).fetchone()
    if row is None:
        return None
    task = to_task(row)
    request = Request(row["method"], _str(row["target"]), _text(_headers.decode(row["headers"])))
    return task, request, _content(tx.db, _request_place(task.sequence)), row["token"]


def give_back(tx: Transaction, task_id: str, token: int) -> bool:
    """A running task is queued again."""
    changed = tx.db.execute(
        "UPDATE tasks SET state = 'queued' WHERE id = ? AND state = 'running' AND token = ?", (task_id, token)
    )
    return changed.rowcount == 1


def finish(
    tx: Transaction, task_id: str, token: int, outcome: Outcome, body: Stored, *, now: float, limit: int
) -> tuple[StoredTask | None, bool]:
    """A running task has ended; returns it if it was running under this claim, and whether the body is kept."""
    row = tx.db.execute(
        "SELECT sequence, bytes FROM tasks WHERE id = ? AND state = 'running' AND token = ?", (task_id, token)
    ).fetchone()
    if row is None:
        return None, False
    sequence, counted = row
    encoded = _from_outcome(outcome)
    kept = make_room(tx, len(encoded) + body.size + ROW_BYTES - counted, limit)
    if not kept:
        outcome, body = Outcome(TaskState.FAILED, failure=NO_ROOM), Stored(0, b"", None)
        encoded = _from_outcome(outcome)
    _put(tx, _answer_place(sequence), body)
    return _end(tx, sequence, outcome.state, now, outcome=encoded, size=len(encoded) + body.size), kept


def _end(
    tx: Transaction, sequence: int, state: TaskState, now: float, *, outcome: bytes | None = None, size: int = 0
) -> StoredTask:
    """A task has ended; its request is forgotten. `size` is what its outcome counts for."""
    _drop(tx, _request_place(sequence))
    row = tx.db.execute(
        "UPDATE tasks SET method = NULL, target = NULL, headers = NULL, state = ?, completed = ?, outcome = ?,"
        " bytes = ? WHERE sequence = ? RETURNING *",
        (state, now, outcome, ROW_BYTES + size, sequence),
    ).fetchone()
    return to_task(row)


# --- ends that no server brings ---------------------------------------------------------------------------------------


def cancel(tx: Transaction, task_id: str, now: float) -> StoredTask | None:
    """An unfinished task is cancelled, of an ended one the answer is dropped; returns the task as it was."""
    task = get(tx.db, task_id)
    if task is None or task.gone:
        return task
    if not task.state.ended:
        _end(tx, task.sequence, TaskState.CANCELLED, now)
    elif task.outcome is not None:
        _forget(tx, task.sequence)
    return task


def expire(tx: Transaction, task_ids: list[str], now: float) -> list[StoredTask]:
    """Those of these tasks that are queued have expired; returns them."""
    expired = []
    for task_id in task_ids:
        row = tx.db.execute("SELECT sequence FROM tasks WHERE id = ? AND state = 'queued'", (task_id,)).fetchone()
        if row is not None:
            expired.append(_end(tx, row[0], TaskState.EXPIRED, now))
    return expired


def recover(tx: Transaction, now: float) -> Recovered:
    """What ran is queued again if it may run twice, else it has failed."""
    requeued = tx.db.execute("UPDATE tasks SET state = 'queued' WHERE state = 'running' AND idempotent").rowcount
    interrupted = tx.db.execute("SELECT sequence FROM tasks WHERE state = 'running'").fetchall()
    outcome = _from_outcome(Outcome(TaskState.FAILED, failure=INTERRUPTED))
    failed = [_end(tx, row[0], TaskState.FAILED, now, outcome=outcome, size=len(outcome)) for row in interrupted]
    return Recovered(requeued, tuple(failed))


def purge(tx: Transaction, before: float, long_before: float, at_most: int) -> tuple[int, int]:
    """Drop some answers of tasks that ended earlier, and some tasks that ended long before; returns how many."""
    old = tx.db.execute(
        "SELECT sequence FROM tasks WHERE gone = 0 AND completed < ? ORDER BY completed LIMIT ?", (before, at_most)
    ).fetchall()
    for (sequence,) in old:
        _forget(tx, sequence)
    gone = tx.db.execute(
        "DELETE FROM tasks WHERE sequence IN"
        " (SELECT sequence FROM tasks WHERE gone = 1 AND completed < ? ORDER BY completed LIMIT ?)",
        (long_before, at_most),
    ).rowcount
    return len(old), gone


# --- looking ----------------------------------------------------------------------------------------------------------


def get(db: sqlite3.Connection, task_id: str) -> StoredTask | None:
    """The task of this id."""
    row = db.execute("SELECT * FROM tasks WHERE id = ?", (task_id,)).fetchone()
    return None if row is None else to_task(row)


def answer(db: sqlite3.Connection, task_id: str) -> Stored | None:
    """The body of a task's answer; None if the task has none (any more)."""
    row = db.execute("SELECT sequence FROM tasks WHERE id = ? AND outcome IS NOT NULL", (task_id,)).fetchone()
    return None if row is None else _content(db, _answer_place(row[0]))


def queued(db: sqlite3.Connection, after: int, at_most: int) -> list[StoredTask]:
    """Queued tasks in the order of their submission, from behind this one on."""
    rows = db.execute(
        "SELECT * FROM tasks WHERE state = 'queued' AND sequence > ? ORDER BY sequence LIMIT ?",
        (after, at_most),
    )
    return [to_task(row) for row in rows]


def files(db: sqlite3.Connection) -> set[str]:
    """Names of all files that content is in."""
    return {name for (name,) in db.execute("SELECT file FROM contents WHERE file IS NOT NULL")}


def figures(db: sqlite3.Connection) -> Figures:
    """What there is."""
    rows = [(TaskState(state), tasks, counted) for state, tasks, counted in db.execute("SELECT * FROM totals")]
    return Figures(
        {state: tasks for state, tasks, _ in rows},
        sum(counted for *_, counted in rows),
        sum(counted for state, _, counted in rows if state.ended),
    )
