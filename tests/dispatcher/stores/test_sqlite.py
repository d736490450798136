"""The SQLite store: what it acknowledged is there after it was opened again, and what it cannot do it says."""

import asyncio
import os
import sqlite3
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from controller.dispatcher.stores.base import Outcome, TaskState
from controller.dispatcher.stores.blobs import INLINE_BYTES
from controller.dispatcher.stores.errors import StoreError, StoreFullError
from controller.dispatcher.stores.schema import VERSION
from controller.dispatcher.stores.sqlite import SqliteStore

Reopen = Callable[[], Awaitable[Any]]

PLENTY = 10**12
LARGE = os.urandom(INLINE_BYTES + 1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data"


def bodies(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "bodies").iterdir())


def everything(folder: Path) -> list[Path]:
    found = list(folder.rglob("*"))
    assert len(found) > 3
    return found


async def claimed(shelf: Any, task_id: str) -> Any:
    claim = await shelf.store.claim(task_id, "gpu-1", 50.0)
    claim.body.close()
    return claim


async def run(shelf: Any, task_id: str, body: bytes) -> None:
    outcome = Outcome(TaskState.SUCCEEDED, 200)
    assert await shelf.store.finish(
        await claimed(shelf, task_id), outcome, await shelf.blob(body), now=60.0, limit=PLENTY
    )


# --- opened again ---------------------------------------------------------------------------------------------------


async def test_everything_is_there_when_it_is_opened_again(reopen: Reopen) -> None:
    shelf = await reopen()
    await shelf.add("waits", LARGE)
    await shelf.add("runs", key="k")
    await shelf.add("done")
    await run(shelf, "done", LARGE)
    await claimed(shelf, "runs")
    before = [await shelf.store.get(name) for name in ("waits", "runs", "done")]
    figures = shelf.store.figures
    shelf = await reopen()
    assert [await shelf.store.get(name) for name in ("waits", "runs", "done")] == before
    assert shelf.store.figures == figures
    assert await shelf.answer("done") == LARGE
    claim = await shelf.store.claim("waits", "gpu-1", 50.0)
    assert b"".join([chunk async for chunk in claim.body.payload()]) == LARGE
    claim.body.close()
    assert not (await shelf.add("again", key="k")).new


async def test_sequences_go_on_and_are_never_used_twice(reopen: Reopen) -> None:
    shelf = await reopen()
    first = (await shelf.add("a")).task.sequence
    await shelf.store.expire(["a"], 1.0)
    await shelf.store.purge(10_000.0, 1.0)
    assert await shelf.store.get("a") is None
    shelf = await reopen()
    assert (await shelf.add("b")).task.sequence > first


async def test_what_was_asked_for_before_the_end_is_done(reopen: Reopen) -> None:
    shelf = await reopen()
    adding = [asyncio.ensure_future(shelf.add(f"t{number}")) for number in range(100)]
    await asyncio.sleep(0)  # they have asked by then
    await shelf.store.close()
    results = await asyncio.gather(*adding, return_exceptions=True)
    done = [result for result in results if not isinstance(result, BaseException)]
    shelf = await reopen()
    assert await shelf.queued() == [added.task.task_id for added in done]


async def test_a_caller_that_is_cancelled_changes_nothing_about_what_it_asked_for(reopen: Reopen) -> None:
    shelf = await reopen()
    adding = asyncio.ensure_future(shelf.add("a", LARGE))
    for _ in range(20):
        await asyncio.sleep(0)
    adding.cancel()
    with pytest.raises(asyncio.CancelledError):
        await adding
    shelf = await reopen()
    # Either it is there with its body, or neither is.
    claim = await shelf.store.claim("a", "gpu-1", 1.0)
    if claim is not None:
        assert claim.body.size == len(LARGE)
        claim.body.close()


# --- bodies as files ------------------------------------------------------------------------------------------------


async def test_small_bodies_are_in_the_database_and_large_ones_are_files(reopen: Reopen, folder: Path) -> None:
    shelf = await reopen()
    await shelf.add("small", b"x" * INLINE_BYTES)
    assert bodies(folder) == []
    await shelf.add("large", LARGE)
    assert [(folder / "bodies" / name).read_bytes() for name in bodies(folder)] == [LARGE]


async def test_a_file_goes_with_what_it_belongs_to(reopen: Reopen, folder: Path) -> None:
    shelf = await reopen()
    for name in ("done", "cancelled", "expired"):
        await shelf.add(name, LARGE)
    assert len(bodies(folder)) == 3
    await shelf.store.cancel("cancelled", 1.0)
    await shelf.store.expire(["expired"], 1.0)
    assert len(bodies(folder)) == 1
    await run(shelf, "done", LARGE + b"!")
    assert [(folder / "bodies" / name).read_bytes() for name in bodies(folder)] == [LARGE + b"!"]
    await shelf.store.cancel("done", 1.0)
    assert bodies(folder) == []


async def test_a_body_that_comes_to_nothing_leaves_no_file(reopen: Reopen, folder: Path) -> None:
    shelf = await reopen()
    await shelf.add("a", key="k")
    assert not (await shelf.add("b", LARGE, key="k")).new
    (await shelf.blob(LARGE)).discard()
    await shelf.add("d")
    claim = await claimed(shelf, "d")
    await shelf.store.cancel("d", 1.0)
    blob, outcome = await shelf.blob(LARGE), Outcome(TaskState.SUCCEEDED, 200)
    assert not await shelf.store.finish(claim, outcome, blob, now=1.0, limit=PLENTY)
    assert bodies(folder) == []


async def test_files_that_a_crash_left_without_a_task_are_swept_at_the_start(reopen: Reopen, folder: Path) -> None:
    shelf = await reopen()
    await shelf.add("a", LARGE)
    (mine,) = bodies(folder)
    (folder / "bodies" / "half").write_bytes(b"half a body")
    shelf = await reopen()
    assert bodies(folder) == [mine]


async def test_an_answer_is_read_to_its_end_though_it_is_dropped_meanwhile(reopen: Reopen) -> None:
    shelf = await reopen()
    await shelf.add("a")
    await run(shelf, "a", LARGE)
    content = await shelf.store.result("a")
    await shelf.store.cancel("a", 1.0)
    assert b"".join([chunk async for chunk in content.payload()]) == LARGE
    content.close()


async def test_a_task_whose_body_someone_removed_fails_and_says_so(reopen: Reopen, folder: Path) -> None:
    shelf = await reopen()
    await shelf.add("a", LARGE)
    (mine,) = bodies(folder)
    (folder / "bodies" / mine).unlink()
    assert await shelf.store.claim("a", "gpu-1", 1.0) is None
    failed = await shelf.store.get("a")
    assert (failed.state, failed.outcome.failure.title) == (TaskState.FAILED, "Body lost")


async def test_what_is_kept_is_for_nobody_else_to_read(reopen: Reopen, folder: Path) -> None:
    shelf = await reopen()
    await shelf.add("a", LARGE)
    assert [path for path in everything(folder) if path.stat().st_mode & 0o077] == []


# --- what it refuses at the start -----------------------------------------------------------------------------------


async def test_a_folder_is_one_process_s_only(reopen: Reopen, folder: Path) -> None:
    await reopen()
    with pytest.raises(StoreError, match=r"in use by another dispatcher.*--data"):
        await SqliteStore.open(folder)
    await reopen()


async def test_a_file_of_a_newer_version_is_refused_and_left_as_it_is(reopen: Reopen, folder: Path) -> None:
    shelf = await reopen()
    await shelf.store.close()
    with sqlite3.connect(folder / "tasks.sqlite") as db:
        db.execute(f"PRAGMA user_version = {VERSION + 1}")
    db.close()
    with pytest.raises(StoreError, match=rf"newer haipool \(schema {VERSION + 1}, this one knows {VERSION}\)"):
        await SqliteStore.open(folder)


async def test_a_database_of_something_else_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "tasks.sqlite") as db:
        db.execute("CREATE TABLE notes (text)")
    db.close()
    before = (tmp_path / "tasks.sqlite").read_bytes()
    with pytest.raises(StoreError, match="something else"):
        await SqliteStore.open(tmp_path)
    assert (tmp_path / "tasks.sqlite").read_bytes() == before


@pytest.mark.parametrize("place", [0, 5000], ids=["its head", "in its middle"])
async def test_a_damaged_file_is_refused_and_never_removed(reopen: Reopen, folder: Path, place: int) -> None:
    shelf = await reopen()
    for number in range(100):
        await shelf.add(f"t{number}", b"x" * 500)
    await shelf.store.close()
    path = folder / "tasks.sqlite"
    damaged = bytearray(path.read_bytes())
    damaged[place : place + 4096] = b"\xa5" * 4096
    path.write_bytes(damaged)
    with pytest.raises(StoreError, match=r"tasks\.sqlite"):
        await SqliteStore.open(folder)
    assert path.read_bytes() == damaged


async def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(StoreError, match="file/data"):
        await SqliteStore.open(tmp_path / "file" / "data")


# --- when the disk is full ------------------------------------------------------------------------------------------


def allow_pages(store: SqliteStore, more: int | None) -> Callable[[Any], None]:
    """A step that lets the database grow by so many pages only; None: as it likes."""

    def step(tx: Any) -> None:
        pages = tx.db.execute("PRAGMA page_count").fetchone()[0]
        tx.db.execute(f"PRAGMA max_page_count = {2**30 if more is None else pages + more}")

    return step


async def test_with_a_full_disk_tasks_are_refused_nothing_is_lost_and_it_goes_on_afterwards(reopen: Reopen) -> None:
    """SQLite reports a limit on its pages as it reports a full disk."""
    shelf = await reopen()
    await shelf.add("first")
    await shelf.store._writer.do(allow_pages(shelf.store, 4))
    results = await asyncio.gather(*(shelf.add(f"t{n}", b"x" * 3000) for n in range(50)), return_exceptions=True)
    kept = [f"t{number}" for number, result in enumerate(results) if not isinstance(result, BaseException)]
    assert {type(result) for result in results if isinstance(result, BaseException)} == {StoreFullError}
    assert await shelf.queued() == ["first", *kept]
    await shelf.store._writer.do(allow_pages(shelf.store, None))
    await shelf.add("later", b"x" * 3000)
    shelf = await reopen()
    assert await shelf.queued() == ["first", *kept, "later"]


async def test_a_step_that_fails_takes_none_of_those_committed_with_it_along(reopen: Reopen) -> None:
    shelf = await reopen()
    gate = threading.Event()

    def hold(_: Any) -> None:
        gate.wait()

    def fail(tx: Any) -> None:
        tx.db.execute("INSERT INTO totals VALUES ('queued', 0, 0)")

    holding = asyncio.ensure_future(shelf.store._writer.do(hold))
    work = [asyncio.ensure_future(shelf.add(f"t{n}")) for n in range(3)]
    failing = asyncio.ensure_future(shelf.store._writer.do(fail))
    work += [asyncio.ensure_future(shelf.add(f"t{n}")) for n in range(3, 6)]
    await asyncio.sleep(0)
    gate.set()
    await holding
    with pytest.raises(StoreError, match="UNIQUE"):
        await failing
    await asyncio.gather(*work)
    assert sorted(await shelf.queued()) == [f"t{n}" for n in range(6)]


async def test_what_is_asked_for_while_a_commit_runs_is_committed_together(tmp_path: Path) -> None:
    commits: list[float] = []
    store = await SqliteStore.open(tmp_path / "data", commits.append)
    gate = threading.Event()

    def hold(_: Any) -> None:
        gate.wait()

    holding = asyncio.ensure_future(store._writer.do(hold))
    await asyncio.sleep(0)
    asked = [asyncio.ensure_future(store._writer.do(lambda _: None)) for _ in range(100)]
    await asyncio.sleep(0)
    gate.set()
    await asyncio.gather(holding, *asked)
    assert len(commits) <= 3
    await store.close()


async def test_a_closed_store_says_so(reopen: Reopen) -> None:
    shelf = await reopen()
    await shelf.store.close()
    with pytest.raises(StoreError, match="closed"):
        await shelf.store.get("a")
    with pytest.raises(StoreError, match="closed"):
        await shelf.store.cancel("a", 1.0)
