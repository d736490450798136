"""What every store of asynchronous tasks does, whatever it keeps them in."""

import asyncio
from typing import Any

import pytest

from controller.api.queue import Route
from controller.dispatcher.stores.base import (
    INTERRUPTED,
    NO_ROOM,
    ROW_BYTES,
    Claim,
    Failure,
    Outcome,
    Request,
    StoredTask,
    TaskState,
)
from controller.dispatcher.stores.blobs import INLINE_BYTES
from controller.dispatcher.stores.errors import StoreFullError

PLENTY = 10**12
GOOD = Outcome(TaskState.SUCCEEDED, 200, (("Content-Type", "image/png"), ("Set-Cookie", "a"), ("Set-Cookie", "b")))
#: On both sides of the size above which a body is a file.
SIZES = [0, 1, INLINE_BYTES, INLINE_BYTES + 1, 3 * INLINE_BYTES]


async def whole(content: Any) -> bytes:
    payload = content.payload()
    try:
        return payload if isinstance(payload, bytes) else b"".join([chunk async for chunk in payload])
    finally:
        content.close()


async def claimed(shelf: Any, task_id: str, server: str = "gpu-1", now: float = 50.0) -> Claim:
    claim = await shelf.store.claim(task_id, server, now)
    assert isinstance(claim, Claim)
    claim.body.close()
    return claim


async def finish(shelf: Any, claim: Claim, body: bytes = b"", outcome: Outcome = GOOD, **options: Any) -> bool:
    options = {"now": 60.0, "limit": PLENTY} | options
    return await shelf.store.finish(claim, outcome, await shelf.blob(body), **options) is not None


async def run(shelf: Any, task_id: str, body: bytes = b"", **options: Any) -> None:
    assert await finish(shelf, await claimed(shelf, task_id), body, **options)


async def task(shelf: Any, task_id: str) -> StoredTask:
    found = await shelf.store.get(task_id)
    assert isinstance(found, StoredTask)
    return found


# --- a task's life --------------------------------------------------------------------------------------------------


async def test_a_task_is_queued_as_it_came(shelf: Any) -> None:
    route = Route(name="images", methods=("POST",), cost=2.5, timeout_seconds=9)
    added = await shelf.add("a", submitted=12.5, route=route)
    assert added.new
    assert added.task == await task(shelf, "a")
    assert (added.task.state, added.task.submitted, added.task.route) == (TaskState.QUEUED, 12.5, route)
    assert (added.task.identity.ip, added.task.started, added.task.outcome) == ("192.0.2.1", None, None)


@pytest.mark.parametrize("size", SIZES)
async def test_who_claims_a_task_gets_its_request_to_the_letter(shelf: Any, size: int) -> None:
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    await shelf.add("a", body)
    claim = await shelf.store.claim("a", "gpu-1", 20.0)
    assert (claim.request.method, claim.request.target) == ("POST", "/run?a=%2F")
    assert claim.request.headers == (("Host", "x"), ("X-Two", "1"), ("X-Two", "2"))
    assert claim.body.size == size
    assert await whole(claim.body) == body
    assert (claim.task.state, claim.task.started, claim.task.servers) == (TaskState.RUNNING, 20.0, ("gpu-1",))


@pytest.mark.parametrize("size", SIZES)
async def test_the_answer_is_kept_as_it_was(shelf: Any, size: int) -> None:
    await shelf.add("a")
    answer = b"answer!" * (size // 7) + b"." * (size % 7)
    await run(shelf, "a", answer)
    ended = await task(shelf, "a")
    assert (ended.state, ended.completed, ended.outcome) == (TaskState.SUCCEEDED, 60.0, GOOD)
    assert await shelf.answer("a") == answer


async def test_headers_and_targets_that_are_no_text_are_kept_byte_for_byte(shelf: Any) -> None:
    odd = (("X-Odd", "\udcff\udc80"), ("X-Name", "Jürgen"))
    await shelf.add("a", request=Request("POST", "/run?\udce9", odd))
    claim = await shelf.store.claim("a", "gpu-1", 1.0)
    claim.body.close()
    assert (claim.request.target, claim.request.headers) == ("/run?\udce9", odd)
    assert await finish(shelf, claim, outcome=Outcome(TaskState.SUCCEEDED, 200, odd))
    outcome = (await task(shelf, "a")).outcome
    assert outcome is not None
    assert outcome.headers == odd


async def test_a_failure_is_kept_with_its_reason(shelf: Any) -> None:
    await shelf.add("a")
    failed = Outcome(TaskState.FAILED, failure=Failure(502, "Server failed", "gpu-1 did not answer"))
    ended = await shelf.store.finish(await claimed(shelf, "a"), failed, None, now=60.0, limit=PLENTY)
    assert ended == await task(shelf, "a")
    assert ended.outcome == failed
    assert await shelf.answer("a") == b""


async def test_what_is_not_there_is_not_there(shelf: Any) -> None:
    assert await shelf.store.get("nobody") is None
    assert await shelf.store.result("nobody") is None
    assert await shelf.store.claim("nobody", "gpu-1", 1.0) is None
    assert await shelf.store.cancel("nobody", 1.0) is None
    assert await shelf.store.expire(["nobody"], 1.0) == []


async def test_queued_tasks_come_in_the_order_of_their_submission(shelf: Any) -> None:
    names = [f"t{number}" for number in range(2500)]
    await asyncio.gather(*(shelf.add(name) for name in names))
    await claimed(shelf, "t7")
    await shelf.store.cancel("t1200", 1.0)
    assert await shelf.queued() == [name for name in names if name not in ("t7", "t1200")]


async def test_a_task_given_back_has_its_old_place_and_remembers_its_servers(shelf: Any) -> None:
    for name in ("a", "b"):
        await shelf.add(name)
    assert await shelf.store.give_back(await claimed(shelf, "a", "gpu-1"))
    assert await shelf.queued() == ["a", "b"]
    again = await claimed(shelf, "a", "gpu-2", now=70.0)
    assert (again.task.servers, again.task.attempts) == (("gpu-1", "gpu-2"), 2)
    assert again.task.started == 50.0, "waiting ended with the first start"


async def test_its_figures_are_what_it_holds(shelf: Any) -> None:
    await shelf.add("a")
    await shelf.add("b")
    queued = shelf.store.figures
    assert queued.tasks[TaskState.QUEUED] == 2
    assert queued.bytes >= 2 * (ROW_BYTES + len(b"a prompt"))
    assert queued.ended_bytes == 0
    await run(shelf, "a", b"x" * 10_000)
    figures = shelf.store.figures
    assert {state: count for state, count in figures.tasks.items() if count} == {"queued": 1, "succeeded": 1}
    assert figures.bytes > queued.bytes / 2 + 10_000
    assert 10_000 + ROW_BYTES <= figures.ended_bytes < 11_000 + ROW_BYTES


# --- fences ---------------------------------------------------------------------------------------------------------


async def test_a_task_is_claimed_once(shelf: Any) -> None:
    await shelf.add("a")
    claims = await asyncio.gather(*(shelf.store.claim("a", f"gpu-{n}", 1.0) for n in range(5)))
    assert sum(claim is not None for claim in claims) == 1


async def test_what_is_said_with_an_old_token_changes_nothing(shelf: Any) -> None:
    await shelf.add("a")
    old = await claimed(shelf, "a", "gpu-1")
    await shelf.store.give_back(old)
    new = await claimed(shelf, "a", "gpu-2")
    before = await task(shelf, "a")
    assert not await finish(shelf, old, b"from the first")
    assert not await shelf.store.give_back(old)
    assert await task(shelf, "a") == before
    assert await finish(shelf, new, b"from the second")
    assert await shelf.answer("a") == b"from the second"


@pytest.mark.parametrize("end", ["finish", "cancel", "give_back"])
async def test_a_claim_is_void_once_the_task_does_not_run_any_more(shelf: Any, end: str) -> None:
    await shelf.add("a")
    claim = await claimed(shelf, "a")
    if end == "finish":
        await finish(shelf, claim, b"first")
    elif end == "cancel":
        await shelf.store.cancel("a", 55.0)
    else:
        await shelf.store.give_back(claim)
    before = await task(shelf, "a")
    assert not await finish(shelf, claim, b"second")
    assert not await shelf.store.give_back(claim)
    assert await task(shelf, "a") == before


# --- cancelled, expired ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("running", [False, True])
async def test_an_unfinished_task_is_cancelled_and_cancelling_again_changes_nothing(shelf: Any, running: bool) -> None:
    await shelf.add("a")
    if running:
        await claimed(shelf, "a")
    assert (await shelf.store.cancel("a", 70.0)).state is (TaskState.RUNNING if running else TaskState.QUEUED)
    cancelled = await task(shelf, "a")
    assert (cancelled.state, cancelled.completed, cancelled.gone) == (TaskState.CANCELLED, 70.0, False)
    assert (await shelf.store.cancel("a", 80.0)).state is TaskState.CANCELLED
    assert await task(shelf, "a") == cancelled
    assert await shelf.store.claim("a", "gpu-1", 1.0) is None
    assert await shelf.queued() == []


async def test_cancelling_an_ended_task_drops_its_answer_and_nothing_else(shelf: Any) -> None:
    await shelf.add("a")
    await run(shelf, "a", b"secret")
    assert (await shelf.store.cancel("a", 70.0)).state is TaskState.SUCCEEDED
    assert await shelf.answer("a") is None
    gone = await task(shelf, "a")
    assert (gone.state, gone.gone, gone.outcome, gone.completed) == (TaskState.SUCCEEDED, True, None, 60.0)
    await shelf.store.cancel("a", 80.0)
    assert await task(shelf, "a") == gone


async def test_only_queued_tasks_expire(shelf: Any) -> None:
    for name in ("a", "b", "c"):
        await shelf.add(name)
    await claimed(shelf, "b")
    expired = await shelf.store.expire(["a", "b", "c"], 90.0)
    assert expired == [await task(shelf, name) for name in "ac"]
    assert [(await task(shelf, name)).state for name in "abc"] == ["expired", "running", "expired"]
    assert (await task(shelf, "a")).completed == 90.0


async def test_the_request_of_an_ended_task_counts_for_nothing_any_more(shelf: Any) -> None:
    for name in ("done", "cancelled", "expired"):
        await shelf.add(name, b"x" * 300_000)
    await run(shelf, "done", b"ok")
    await shelf.store.cancel("cancelled", 1.0)
    await shelf.store.expire(["expired"], 1.0)
    assert shelf.store.figures.bytes < 10_000


# --- idempotency keys -----------------------------------------------------------------------------------------------


async def test_a_second_task_with_the_same_key_is_the_first_one(shelf: Any) -> None:
    first = await shelf.add("a", key="k")
    again = await shelf.add("b", b"something else", key="k")
    assert (first.new, again.new) == (True, False)
    assert again.task == first.task
    assert again.task.fingerprint == b"hash"
    assert await shelf.store.get("b") is None
    assert (await shelf.add("c", key="other")).new


async def test_at_the_same_time_too_there_is_only_one_task_for_a_key(shelf: Any) -> None:
    added = await asyncio.gather(*(shelf.add(f"t{number}", key="k") for number in range(20)))
    assert sum(one.new for one in added) == 1
    assert len({one.task.task_id for one in added}) == 1


async def test_a_key_lasts_as_long_as_the_answer(shelf: Any) -> None:
    await shelf.add("a", key="k")
    await run(shelf, "a")
    assert not (await shelf.add("b", key="k")).new
    await shelf.store.cancel("a", 70.0)
    assert (await shelf.add("c", key="k")).new


async def test_a_cancelled_task_keeps_its_key_so_that_a_late_repetition_does_not_bring_it_back(shelf: Any) -> None:
    await shelf.add("a", key="k")
    await shelf.store.cancel("a", 70.0)
    assert (await shelf.add("b", key="k")).task.state is TaskState.CANCELLED


# --- bounds ---------------------------------------------------------------------------------------------------------


async def test_answers_make_room_for_new_tasks_the_oldest_first(shelf: Any) -> None:
    for number, name in enumerate(("old", "older", "new")):
        await shelf.add(name)
        await run(shelf, name, b"x" * 10_000, now=[60.0, 50.0, 70.0][number])
    limit = shelf.store.figures.bytes
    await shelf.add("next", b"y" * 9_000, limit=limit)
    assert [await shelf.answer(name) is None for name in ("older", "old", "new")] == [True, False, False]
    assert (await task(shelf, "older")).gone
    assert shelf.store.figures.bytes <= limit


async def test_when_only_unfinished_tasks_are_left_a_new_one_is_refused_and_nothing_is_dropped(shelf: Any) -> None:
    await shelf.add("done")
    await run(shelf, "done", b"x" * 1000)
    await shelf.add("waits", b"y" * 100_000)
    with pytest.raises(StoreFullError, match=r"maxStoredBytes"):
        await shelf.add("refused", b"z" * 10_000, limit=100_000)
    assert await shelf.answer("done") == b"x" * 1000
    assert await shelf.queued() == ["waits"]
    assert await shelf.store.get("refused") is None


async def test_the_traces_of_dropped_answers_make_room_too(shelf: Any) -> None:
    for number in range(200):
        await shelf.add(f"t{number}")
        await run(shelf, f"t{number}", now=float(number))
    await shelf.add("big", b"x" * 50_000, limit=50_000 + 5 * ROW_BYTES)
    assert shelf.store.figures.bytes <= 50_000 + 5 * ROW_BYTES
    assert await shelf.store.get("t0") is None
    assert await shelf.queued() == ["big"]


async def test_an_answer_that_finds_no_room_fails_its_task_and_says_so(shelf: Any) -> None:
    await shelf.add("waits", b"y" * 10_000)
    await shelf.add("a")
    await run(shelf, "a", b"x" * 10_000, limit=15_000)
    failed = await task(shelf, "a")
    assert (failed.state, failed.outcome) == (TaskState.FAILED, Outcome(TaskState.FAILED, failure=NO_ROOM))
    assert await shelf.answer("a") == b""
    assert shelf.store.figures.bytes < 15_000


async def test_answers_are_dropped_when_their_time_is_over_and_their_traces_later(shelf: Any) -> None:
    for name, ended in (("first", 100.0), ("second", 200.0), ("third", 300.0)):
        await shelf.add(name, key=name)
        await run(shelf, name, now=ended)
    await shelf.add("waits")
    assert await shelf.store.purge(450.0, 200.0) == 2
    assert [(await task(shelf, name)).gone for name in ("first", "second", "third", "waits")] == [1, 1, 0, 0]
    assert (await shelf.add("again", key="first")).new, "its key went with its answer"
    assert await shelf.store.purge(550.0, 200.0) == 1
    assert await shelf.store.get("first") is None
    assert (await task(shelf, "second")).gone


async def test_however_many_answers_are_old_all_are_dropped(shelf: Any) -> None:
    await asyncio.gather(*(shelf.add(f"t{number}") for number in range(450)))
    await shelf.store.expire([f"t{number}" for number in range(450)], 1.0)
    assert await shelf.store.purge(100.0, 90.0) == 450
    assert await shelf.store.purge(1000.0, 90.0) == 0
    assert shelf.store.figures.bytes == 0


# --- after a crash --------------------------------------------------------------------------------------------------


async def test_what_ran_at_a_crash_is_queued_again_if_it_may_run_twice_and_has_failed_otherwise(shelf: Any) -> None:
    await shelf.add("again")
    await shelf.add("once", idempotent=False)
    await shelf.add("waits", idempotent=False)
    await shelf.add("done")
    await run(shelf, "done")
    old = [await claimed(shelf, name) for name in ("once", "again")]
    recovered = await shelf.store.recover(99.0)
    assert (recovered.requeued, recovered.failed) == (1, (await task(shelf, "once"),))
    assert await shelf.queued() == ["again", "waits"]
    once = await task(shelf, "once")
    assert (once.state, once.completed) == (TaskState.FAILED, 99.0)
    assert once.outcome == Outcome(TaskState.FAILED, failure=INTERRUPTED)
    assert not any([await finish(shelf, claim) for claim in old])
