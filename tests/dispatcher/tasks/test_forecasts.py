"""Forecasts: from the queue's own order, and never at the cost of the tasks themselves."""

from typing import Any

import pytest

from controller.dispatcher.identity import Identity
from controller.dispatcher.scheduler import Scheduler
from controller.dispatcher.servers import ServerSpec
from controller.dispatcher.tasks.forecasts import BURST, SHARE, Forecasts


class Clock:
    """Time that passes only while a position is worked out, and when told so."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def who(user: str) -> Identity:
    return Identity(f"user_{user}_1", f"user_{user}", user, user, user, 1, None, "ip_time_window", 1.0, 1.0)


@pytest.fixture
async def scheduler() -> Scheduler:
    scheduler = Scheduler(lambda: 0.0)
    scheduler.update_servers([ServerSpec("s", "uid", "http://s", slots=2)])
    for number in range(6):
        scheduler.submit_stored(str(number), who("A"), cost=1.0, age=0.0, on_grant=lambda _: None)
    return scheduler


async def test_a_waiting_task_is_told_its_position_and_a_running_one_is_not(scheduler: Scheduler) -> None:
    forecasts = Forecasts(scheduler, Clock())
    assert [forecasts.of(str(number)) for number in range(4)] == [None, None, (0, None), (1, None)]
    assert forecasts.of("nobody") is None


async def test_when_it_starts_follows_from_what_the_servers_did_lately(scheduler: Scheduler) -> None:
    server = scheduler.servers.get("s")
    assert server is not None
    server.ewma = 10.0
    forecasts = Forecasts(scheduler, Clock())
    assert [forecasts.of(str(number)) for number in range(2, 6)] == [(0, 10.0), (1, 10.0), (2, 20.0), (3, 20.0)]


async def test_without_a_server_nobody_knows_when(scheduler: Scheduler) -> None:
    scheduler.update_servers([])
    assert Forecasts(scheduler, Clock()).of("2") == (0, None)


async def test_it_takes_a_share_of_the_time_only_and_tells_what_it_knew_beyond_that(
    scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, looked = Clock(), list[str]()
    real = scheduler.queue.position

    def slow(task_id: str, *arguments: Any) -> int:
        looked.append(task_id)
        clock.now += 0.1
        return real(task_id, *arguments)

    monkeypatch.setattr(scheduler.queue, "position", slow)
    forecasts = Forecasts(scheduler, clock)
    assert forecasts.of("5") == (3, None)
    assert forecasts.of("4") is None, "its first time, and there is no time for it"
    scheduler.withdraw("3")
    assert forecasts.of("5") == (3, None), "what was known"
    assert looked == ["5"]
    clock.now += (0.1 - BURST) / SHARE + 0.01
    assert forecasts.of("5") == (2, None)
    clock.now += 1000
    for _ in range(5):
        forecasts.of("4")
    assert looked == ["5", "5", "4"], "time that was not used is not saved up"
