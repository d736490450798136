"""Slots: given late, to whoever's turn it is, and given back exactly once, whatever ends a task and in which instant.

The machine at the end plays clients, servers and the clock against the scheduler in any order, also several things in
one turn of the event loop, as the proxy would use it. Time is the loop's and does not pass by itself.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Literal

import looptime
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from controller.api.server import Ejection
from controller.api.server import Server as ServerSettings
from controller.dispatcher.identity import Identity
from controller.dispatcher.scheduler import Scheduler
from controller.dispatcher.servers import Server, ServerSpec
from controller.dispatcher.task import ClosingError, ExpiredError, NoServerError, Task

pytestmark = pytest.mark.looptime


def spec(name: str = "s", *, slots: int = 1, uid: str = "", ready: bool = True) -> ServerSpec:
    return ServerSpec(name, uid or f"uid-{name}", f"http://{name}", slots=slots, ready=ready)


@pytest.fixture
async def scheduler() -> AsyncIterator[Scheduler]:
    scheduler = Scheduler(asyncio.get_running_loop().time)
    yield scheduler
    assert not any(server.tasks for server in scheduler.servers), "a slot leaked"
    assert scheduler.waiting == 0


def submit(scheduler: Scheduler, name: str, user: str = "A") -> Task:
    return scheduler.submit(name, who(user))


def who(user: str, network: str = "") -> Identity:
    """A user, alone in a network unless one is named."""
    network = network or user
    return Identity(user, user, network, network, "192.0.2.1", 1, None, "ip_time_window", 1.0, 1.0)


async def test_a_slot_is_given_back_once_and_only_once(scheduler: Scheduler) -> None:
    scheduler.update_servers([spec()])
    task = submit(scheduler, "a")
    server = await scheduler.granted(task, 10)
    scheduler.release(task, server, seconds=1.0)
    with pytest.raises(KeyError):
        scheduler.release(task, server, seconds=1.0)
    assert server.tasks == 0


async def test_a_free_slot_goes_to_the_one_whose_turn_it_is_when_it_becomes_free(scheduler: Scheduler) -> None:
    scheduler.update_servers([spec()])
    tasks = [submit(scheduler, name, name[0]) for name in ("a1", "a2", "a3", "b1")]
    order = []
    while tasks:
        task = next(t for t in tasks if t.grant.done())
        tasks.remove(task)
        order.append(task.task_id)
        scheduler.release(task, await scheduler.granted(task, 10), seconds=1.0)
        scheduler.finish(task, answered=True)
    assert order == ["a1", "b1", "a2", "a3"]


async def test_a_client_that_goes_away_in_the_instant_of_the_grant_leaves_the_slot_to_the_next(
    scheduler: Scheduler,
) -> None:
    gone, next_ = submit(scheduler, "gone"), submit(scheduler, "next")
    waiting = asyncio.create_task(scheduler.granted(gone, 10))
    await asyncio.sleep(0)
    scheduler.update_servers([spec()])
    assert gone.grant.done()
    waiting.cancel()  # before the waiter could see that it was its turn
    with pytest.raises(asyncio.CancelledError):
        await waiting
    scheduler.release(next_, await scheduler.granted(next_, 10), seconds=1.0)


async def test_a_client_that_goes_away_just_before_the_grant_takes_neither_slot_nor_turn(scheduler: Scheduler) -> None:
    gone, next_ = submit(scheduler, "gone"), submit(scheduler, "next")
    waiting = asyncio.create_task(scheduler.granted(gone, 10))
    await asyncio.sleep(0)
    waiting.cancel()
    scheduler.update_servers([spec()])
    assert next_.grant.done()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    scheduler.release(next_, await scheduler.granted(next_, 10), seconds=1.0)
    assert next_.start_number == 1


async def test_the_wait_limit_is_kept_without_anything_happening(scheduler: Scheduler) -> None:
    began = asyncio.get_running_loop().time()
    with pytest.raises(ExpiredError):
        await scheduler.granted(submit(scheduler, "a"), 60)
    assert asyncio.get_running_loop().time() - began == 60


async def test_a_grant_in_the_instant_in_which_the_wait_ends_does_not_leak(scheduler: Scheduler) -> None:
    loop = asyncio.get_running_loop()
    task = submit(scheduler, "a")
    loop.call_later(60, scheduler.update_servers, [spec()])
    try:
        server = await scheduler.granted(task, 60)
    except ExpiredError:
        return  # the fixture looks for the slot
    scheduler.release(task, server, seconds=None)


async def test_a_task_whose_server_failed_goes_before_all_others_to_another_one(scheduler: Scheduler) -> None:
    scheduler.update_servers([spec("bad")])
    task = submit(scheduler, "a")
    bad = await scheduler.granted(task, 10)
    behind = submit(scheduler, "b")
    bad.up = False
    scheduler.release(task, bad, seconds=None)
    scheduler.retry(task, bad)
    assert scheduler.waiting == 2
    scheduler.update_servers([spec("bad"), spec("good")])
    good = await scheduler.granted(task, 10)
    assert good.spec.name == "good"
    scheduler.release(task, good, seconds=1.0)
    scheduler.release(behind, await scheduler.granted(behind, 10), seconds=1.0)


async def test_a_task_that_no_free_server_suits_holds_no_other_one_up(scheduler: Scheduler) -> None:
    """Both failed on one server each; the server that is free suits only the second."""
    scheduler.update_servers([spec("x"), spec("y")])
    first, second = submit(scheduler, "1"), submit(scheduler, "2")
    on_x, on_y = await scheduler.granted(first, 10), await scheduler.granted(second, 10)
    on_x.up = False
    for task, server in ((first, on_x), (second, on_y)):
        scheduler.release(task, server, seconds=None)
    blocker = submit(scheduler, "3")  # takes y
    scheduler.retry(first, on_x)
    scheduler.retry(second, on_y)
    on_x.up = True
    scheduler.pump()
    assert not first.grant.done()
    assert second.grant.result() is on_x
    for task in (second, blocker):
        scheduler.release(task, await scheduler.granted(task, 10), seconds=None)
    scheduler.release(first, await scheduler.granted(first, 10), seconds=None)


async def test_a_client_that_goes_away_just_before_its_second_server_comes_takes_no_slot(scheduler: Scheduler) -> None:
    scheduler.update_servers([spec("bad")])
    task = submit(scheduler, "a")
    bad = await scheduler.granted(task, 10)
    bad.up = False
    scheduler.release(task, bad, seconds=None)
    scheduler.retry(task, bad)
    waiting = asyncio.create_task(scheduler.granted(task, 10))
    await asyncio.sleep(0)
    waiting.cancel()
    scheduler.update_servers([spec("good")])
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_who_waits_for_another_server_counts_as_waiting_since_its_submission(scheduler: Scheduler) -> None:
    """Otherwise tasks that die at a dead server would look to the operator like an empty queue."""
    scheduler.update_servers([spec("bad")])
    task = submit(scheduler, "a")
    bad = await scheduler.granted(task, 10)
    bad.up = False
    await asyncio.sleep(7)
    scheduler.release(task, bad, seconds=None)
    scheduler.retry(task, bad)
    assert (scheduler.waiting, scheduler.oldest_age()) == (1, 7)
    with pytest.raises(ExpiredError):
        await scheduler.granted(task, 1)


async def test_when_a_server_is_withdrawn_its_tasks_are_told_and_its_successor_starts_empty(
    scheduler: Scheduler,
) -> None:
    scheduler.update_servers([spec("s", uid="1")])
    task = submit(scheduler, "a")
    old = await scheduler.granted(task, 10)
    told: list[Server] = []
    scheduler.on_gone = told.append
    scheduler.update_servers([spec("s", uid="2")])
    assert told == [old]
    assert not scheduler.has(old)
    successor = scheduler.servers.get("s")
    assert successor is not None
    assert successor.tasks == 0
    scheduler.release(task, old, seconds=None)
    assert successor.tasks == 0


async def test_at_the_end_what_waits_is_sent_away_and_what_runs_stays(scheduler: Scheduler) -> None:
    scheduler.update_servers([spec()])
    running, waiting = submit(scheduler, "a"), submit(scheduler, "b")
    server = await scheduler.granted(running, 10)
    scheduler.shut_out()
    with pytest.raises(ClosingError):
        await scheduler.granted(waiting, 10)
    scheduler.finish(waiting, answered=False)
    assert not scheduler.idle.is_set()
    scheduler.release(running, server, seconds=1.0)
    scheduler.finish(running, answered=True)
    assert scheduler.idle.is_set()


async def test_mean_response_is_the_wait_of_what_started_and_the_age_of_what_waits_if_nothing_did(
    scheduler: Scheduler,
) -> None:
    scheduler.figures.responses.seconds = 60
    assert scheduler.figures.mean_response() == 0
    task = submit(scheduler, "a")
    await asyncio.sleep(4)
    assert scheduler.figures.mean_response() == 4
    scheduler.update_servers([spec()])
    await asyncio.sleep(30)
    assert scheduler.figures.mean_response() == 4
    await asyncio.sleep(30)
    assert scheduler.figures.mean_response() == 0
    scheduler.release(task, await scheduler.granted(task, 10), seconds=60)


@pytest.mark.parametrize(("answered", "mean"), [(True, 9), (False, 0)])
async def test_the_total_counts_what_was_answered_and_nothing_else(
    scheduler: Scheduler, answered: bool, mean: float
) -> None:
    """A task that expired, or whose client left, says nothing about how long answers take."""
    scheduler.figures.total_response = True
    scheduler.update_servers([spec()])
    task = submit(scheduler, "a")
    server = await scheduler.granted(task, 10)
    await asyncio.sleep(9)
    scheduler.release(task, server, seconds=9.0)
    scheduler.finish(task, answered=answered)
    assert scheduler.figures.mean_response() == mean


async def test_response_times_do_not_pile_up_where_nobody_reads_them(scheduler: Scheduler) -> None:
    scheduler.figures.responses.seconds = 5
    scheduler.update_servers([spec()])
    for number in range(100):
        task = submit(scheduler, str(number))
        scheduler.release(task, await scheduler.granted(task, 10), seconds=1.0)
        scheduler.finish(task, answered=True)
        await asyncio.sleep(1)
    assert len(scheduler.figures.responses._entries) <= 6


async def test_users_of_past_windows_are_forgotten_unless_they_wait(scheduler: Scheduler) -> None:
    submit(scheduler, "a1", "A_1")
    submit(scheduler, "b1", "B_1")
    scheduler.queue.remove("b1")
    scheduler.forget_users(lambda user: user.endswith("_2"))
    assert submit(scheduler, "a2", "A_1").number == 2
    assert submit(scheduler, "b2", "B_1").number == 1
    for name in ("a1", "a2", "b2"):
        scheduler.queue.remove(name)


# --- turns in seconds, and how fair it was ----------------------------------------------------------------------------


async def works(scheduler: Scheduler, task: Task, seconds: float) -> None:
    """What becomes of a task that takes a server so long."""
    took = None
    try:
        server = await scheduler.granted(task, 10_000)
        try:
            await asyncio.sleep(seconds)
            took = seconds
        finally:
            scheduler.release(task, server, seconds=took)
    finally:
        scheduler.finish(task, answered=took is not None)


async def shares(scheduler: Scheduler) -> float:
    """The long user's part of the servers while a user with tasks of 60 s and one with tasks of 3 s both wait."""
    scheduler.update_servers([spec(slots=2)])
    jobs = []
    for number in range(400):
        for user, seconds in (("long", 60.0), ("short", 3.0)):
            task = scheduler.submit(f"{user}{number}", who(user), route=user)
            jobs.append(asyncio.create_task(works(scheduler, task, seconds)))
    await asyncio.sleep(1200)
    spent = {"long": 0.0, "short": 0.0}
    for start in scheduler.figures.recent:
        spent[start.user] += 60.0 if start.user == "long" else 3.0
    for job in jobs:
        job.cancel()
    await asyncio.gather(*jobs, return_exceptions=True)
    return spent["long"] / sum(spent.values())


async def test_turns_in_tasks_give_the_user_with_long_tasks_almost_all_servers(scheduler: Scheduler) -> None:
    assert await shares(scheduler) > 0.9


async def test_turns_in_seconds_give_both_the_same(scheduler: Scheduler) -> None:
    scheduler.queue.configure("Seconds")
    assert 0.42 < await shares(scheduler) < 0.58


@pytest.mark.parametrize("fairness", ["Tasks", "Seconds"])
async def test_the_measured_fairness_of_turns_is_one(
    scheduler: Scheduler, fairness: Literal["Tasks", "Seconds"]
) -> None:
    scheduler.queue.configure(fairness)
    scheduler.update_servers([spec()])
    jobs = []
    for number in range(60):
        for user in ("a", "b", "c"):
            task = scheduler.submit(f"{user}{number}", who(user))
            jobs.append(asyncio.create_task(works(scheduler, task, 2.0)))
    await asyncio.sleep(200)
    assert scheduler.figures.fairness.index(scheduler.now()) == pytest.approx(1.0, abs=0.01)
    await asyncio.gather(*jobs)
    assert scheduler.figures.rounds >= 180


# --- everything at once --------------------------------------------------------------------------------------------


# --- tasks in a store: nobody waits for them ------------------------------------------------------------------------


async def test_a_task_in_a_store_has_its_turn_like_any_other_and_is_told_of_its_slot_once(scheduler: Scheduler) -> None:
    told: list[str] = []
    for name, user in (("a1", "A"), ("a2", "A"), ("b1", "B")):
        scheduler.submit_stored(name, who(user, user), cost=1.0, age=5.0, on_grant=lambda t: told.append(t.task_id))
    between = submit(scheduler, "c1", "C")
    assert scheduler.oldest_age() == 5.0
    scheduler.update_servers([spec()])
    for _ in range(3):
        task = next(t for t in scheduler._tasks.values() if t.grant.done())
        if task is between:
            told.append("c1")
        scheduler.release(task, await scheduler.granted(task, 10), seconds=1.0)
        scheduler.finish(task, answered=True)
    assert told == ["a1", "b1", "c1", "a2"]
    scheduler.abandon(scheduler._tasks["a2"])
    assert scheduler.idle.is_set()


async def test_only_a_task_for_which_nobody_waits_can_be_withdrawn(scheduler: Scheduler) -> None:
    stored = scheduler.submit_stored("stored", who("A", "A"), cost=1.0, age=0.0, on_grant=lambda _: None)
    waited = submit(scheduler, "waited")
    assert scheduler.withdraw("waited") is None
    assert scheduler.withdraw("stored") is stored
    assert scheduler.withdraw("stored") is None
    assert scheduler.allowances.waiting("A") == 1
    scheduler.update_servers([spec()])
    scheduler.abandon(waited)


async def test_tasks_in_a_store_that_wait_too_long_are_found_oldest_first(scheduler: Scheduler) -> None:
    for number, age in enumerate((50.0, 40.0, 30.0, 5.0)):
        scheduler.submit_stored(str(number), who("A", "A"), cost=1.0, age=age, on_grant=lambda _: None)
    late = scheduler.waiting_longer(20.0, at_most=2)
    assert [task.task_id for task in late] == ["0", "1"]
    assert [task.task_id for task in scheduler.waiting_longer(20.0, at_most=10)] == ["0", "1", "2"]
    scheduler.shut_out()


async def test_at_the_end_tasks_in_a_store_are_left_to_it(scheduler: Scheduler) -> None:
    told: list[Task] = []
    scheduler.submit_stored("stored", who("A", "A"), cost=1.0, age=0.0, on_grant=told.append)
    scheduler.shut_out()
    assert scheduler.idle.is_set()
    scheduler.update_servers([spec()])
    assert told == []


@dataclass
class Client:
    """A request as the proxy runs it."""

    job: "asyncio.Task[str]"
    fate: "asyncio.Future[str]"
    task: Task | None = None
    at: Server | None = None


class Machine(RuleBasedStateMachine):
    """Clients, servers and time in any order."""

    affine = False

    def __init__(self) -> None:
        super().__init__()
        self.loop = looptime.new_event_loop()
        self.scheduler = Scheduler(self.loop.time)
        self.scheduler.on_gone = self._tell
        self.scheduler.servers.settings = ServerSettings(
            slow_start_seconds=20, ejection=Ejection(consecutive_failures=2, base_seconds=10, max_seconds=25)
        )
        self.scheduler.servers.affine = self.affine
        self.scheduler.limit_waits(no_server=30, counted=2)
        self.clients: list[Client] = []
        self.every_server: list[Server] = []
        self.specs: dict[str, ServerSpec] = {}
        #: Servers may be given fewer slots while they work; id of the server -> the most it ever had.
        self.most_slots: dict[int, int] = {}
        self.made = 0
        self.settled = True

    def teardown(self) -> None:
        for client in self.clients:
            client.job.cancel()
        self.settle()
        assert not any(server.running for server in self.every_server)
        assert self.scheduler.idle.is_set()
        assert self.scheduler.waiting == 0
        assert not self.scheduler._tasks
        assert self.scheduler.queue_length() == self.scheduler.retries.under_way == 0
        assert not any(server.guests for server in self.every_server)
        assert not self.scheduler.allowances._waiting
        self.loop.close()

    async def _life(self, client_number: int, user: str, limit: float) -> str:
        """What `Proxy` does with a task."""
        task = self.clients[client_number].task = self.scheduler.submit(f"t{client_number}", who(user, user[0]))
        return await self._run(client_number, task, limit)

    async def _stored_life(self, client_number: int, user: str, limit: float) -> str:
        """What becomes of a task in a store: nobody waits for it before it has a slot."""
        told, name = asyncio.Event(), f"t{client_number}"
        task = self.clients[client_number].task = self.scheduler.submit_stored(
            name, who(user, user[0]), cost=1.0, age=0.0, on_grant=lambda _: told.set()
        )
        try:
            await told.wait()
        except asyncio.CancelledError:
            if self.scheduler.withdraw(name) is None:
                self.scheduler.abandon(task)
            raise
        assert task.grant.done()
        return await self._run(client_number, task, limit)

    async def _run(self, client_number: int, task: Task, limit: float) -> str:
        client = self.clients[client_number]
        scheduler = self.scheduler
        try:
            while True:
                server = await scheduler.granted(task, limit)
                client.at, seconds, end = server, None, ""
                try:
                    if not scheduler.has(server):
                        end = "lost"
                    else:
                        end = await client.fate
                    client.fate = self.loop.create_future()
                    if end == "done":
                        seconds = 1.0
                        return end
                finally:
                    client.at = None
                    if end == "lost":
                        scheduler.failed(server, answered=False)
                    scheduler.release(task, server, seconds=seconds)
                scheduler.retries.died_under(task)
                if task.deaths >= 3:
                    return "failed"
                scheduler.retry(task, server)
        except (ExpiredError, NoServerError):
            return "expired"
        finally:
            scheduler.finish(task, answered=False)

    def _tell(self, gone: Server) -> None:
        for client in self.clients:
            if client.at is gone:
                self._resolve(client, "lost")

    @staticmethod
    def _resolve(client: Client, how: str) -> None:
        if not client.fate.done():
            client.fate.set_result(how)

    @rule(user=st.sampled_from(["A1", "A2", "B1", "C1"]), limit=st.sampled_from([5.0, 1000.0]), stored=st.booleans())
    def submit(self, user: str, limit: float, stored: bool) -> None:
        number = len(self.clients)
        fate = self.loop.create_future()

        async def live() -> str:
            return await (self._stored_life if stored else self._life)(number, user, limit)

        self.clients.append(Client(self.loop.create_task(live()), fate))
        self.settled = False

    @rule(data=st.data(), how=st.sampled_from(["done", "lost"]))
    def end_one(self, data: st.DataObject, how: str) -> None:
        running = [client for client in self.clients if client.at is not None]
        if running:
            self._resolve(data.draw(st.sampled_from(running)), how)
            self.settled = False

    @rule(data=st.data())
    def client_leaves(self, data: st.DataObject) -> None:
        here = [client for client in self.clients if not client.job.done()]
        if here:
            data.draw(st.sampled_from(here)).job.cancel()
            self.settled = False

    @rule(name=st.sampled_from("xyz"), slots=st.integers(1, 3), ready=st.booleans(), same=st.booleans())
    def server_is(self, name: str, slots: int, ready: bool, same: bool) -> None:
        old = self.specs.get(name)
        self.made += 1
        uid = old.uid if old and same else f"uid-{self.made}"
        self.specs[name] = spec(name, slots=slots, uid=uid, ready=ready)
        self._update()

    @rule(name=st.sampled_from("xyz"))
    def server_goes(self, name: str) -> None:
        self.specs.pop(name, None)
        self._update()

    @rule(name=st.sampled_from("xyz"), up=st.booleans())
    def probe(self, name: str, up: bool) -> None:
        server = self.scheduler.servers.get(name)
        if server is not None:
            for _ in range(1 if up else 3):
                self.scheduler.probed(server, good=up)
            self.settled = False

    def _update(self) -> None:
        self.scheduler.update_servers(list(self.specs.values()))
        for server in self.scheduler.servers:
            if not any(server is known for known in self.every_server):
                self.every_server.append(server)
            self.most_slots[id(server)] = max(server.spec.slots, self.most_slots.get(id(server), 0))
        self.settled = False

    @rule(seconds=st.sampled_from([0.0, 1.0, 5.0, 30.0]))
    def time_passes(self, seconds: float) -> None:
        self.loop.run_until_complete(asyncio.sleep(seconds))
        self.settle()

    @rule()
    def settle(self) -> None:
        for _ in range(20):
            self.loop.run_until_complete(asyncio.sleep(0))
        self.settled = True

    @invariant()
    def no_server_has_more_tasks_than_slots(self) -> None:
        for server in self.every_server:
            assert server.tasks <= self.most_slots[id(server)]

    @invariant()
    def every_slot_taken_belongs_to_a_client_who_runs_there(self) -> None:
        if self.settled:
            running = {(id(c.at), c.task.task_id) for c in self.clients if c.at is not None and c.task is not None}
            assert running == {(id(s), task) for s in self.every_server for task in s.running}

    @invariant()
    def nothing_waits_for_its_turn_beside_a_free_slot(self) -> None:
        if self.settled and not self.affine and len(self.scheduler.queue):
            assert not any(server.free for server in self.scheduler.servers)

    @invariant()
    def with_affinity_nothing_waits_for_its_turn_beside_a_free_slot_of_its_own_server(self) -> None:
        if self.settled and self.affine:
            for network in self.scheduler.queue.networks():
                home = self.scheduler.servers.for_task(network, self.loop.time())
                assert home is None or not home.free

    @invariant()
    def never_are_more_servers_ejected_than_may_be_and_one_that_can_work_always_may(self) -> None:
        if self.settled:
            able = [server for server in self.scheduler.servers if server.able]
            assert sum(server.health.ejected for server in able) <= len(able) // 2
            assert not able or any(server.usable for server in able)

    @invariant()
    def nobody_waits_without_any_server_for_longer_than_is_allowed(self) -> None:
        waiting = [c.task for c in self.clients if not c.job.done() and c.at is None and c.task is not None]
        submitted = [task.submitted for task in waiting if not task.stored]
        if self.settled and submitted and not any(server.usable for server in self.scheduler.servers):
            since = self.scheduler._patience.since
            assert since is not None
            assert self.loop.time() - max(since, min(submitted)) < 30

    @invariant()
    def what_counts_for_scaling_is_a_part_of_what_waits(self) -> None:
        assert self.scheduler.queue_length() <= self.scheduler.waiting
        assert self.scheduler.oldest_age() <= self.scheduler.longest_wait()

    @invariant()
    def who_waits_is_a_client_who_is_still_here(self) -> None:
        if self.settled:
            waiting = {c.task.task_id for c in self.clients if not c.job.done() and c.at is None and c.task is not None}
            queued = {ticket.task_id for ticket in self.scheduler.queue} | {t.task_id for t in self.scheduler._ahead}
            assert waiting == queued
            assert self.scheduler.waiting == len(queued)


Machine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestMachine = Machine.TestCase


class AffineMachine(Machine):
    """The same, where a network's tasks all go to one server."""

    affine = True


AffineMachine.TestCase.settings = Machine.TestCase.settings
TestAffineMachine = AffineMachine.TestCase
