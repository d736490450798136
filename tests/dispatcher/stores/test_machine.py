"""The fair queue over each store, through crashes: what the stores hold, in the order that the queue computes."""

import asyncio
import shutil
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from controller.api.queue import Route
from controller.dispatcher.fairqueue import FairQueue, Ticket
from controller.dispatcher.identity import Identity
from controller.dispatcher.stores.base import Claim, NewTask, Outcome, Request, Store, StoredTask, TaskState
from controller.dispatcher.stores.memory import MemoryStore
from controller.dispatcher.stores.sqlite import SqliteStore
from tests.dispatcher.fairqueue.machine import QueueMachine

T = TypeVar("T")

PLENTY = 10**12


def task_of(ticket: Ticket) -> NewTask:
    identity = Identity(
        user=ticket.user,
        flow=ticket.flow,
        network=ticket.network,
        quota=ticket.network,
        ip="192.0.2.1",
        window=1,
        name=None,
        method="ip_time_window",
        network_weight=ticket.network_weight,
        user_weight=ticket.user_weight,
    )
    route = Route(name="task", cost=ticket.cost)
    return NewTask(ticket.task_id, Request("POST", "/run", ()), identity, route, ticket.submitted)


def ticket_of(task: StoredTask) -> Ticket:
    who = task.identity
    weights = who.network_weight, who.user_weight
    return Ticket(task.task_id, who.network, who.user, task.submitted, task.route.cost, *weights, who.flow)


class StoreMachine(QueueMachine):
    """Queue and store side by side, as the dispatcher has them. It brings a loop of its own."""

    can_crash = True

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.queue = FairQueue()
        self.claims: dict[str, Claim] = {}
        self.store = self.do(self.open())

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    async def open(self) -> Store:
        raise NotImplementedError

    async def reopen(self) -> None:
        """The process is another one now."""
        raise NotImplementedError

    def submit(self, ticket: Ticket) -> None:
        self.do(self.store.add(task_of(ticket), self.store.blob(), limit=PLENTY))
        self.queue.push(ticket)

    def claim(self, estimate: float) -> tuple[str, float] | None:
        ticket = self.queue.pop(estimate)
        if ticket is None:
            return None
        claim = self.do(self.store.claim(ticket.task_id, "gpu-1", 1.0))
        assert claim is not None, "the store does not have it queued"
        claim.body.close()
        self.claims[ticket.task_id] = claim
        return ticket.task_id, ticket.cost

    def ack(self, task_id: str, seconds: float) -> None:
        claim, outcome = self.claims.pop(task_id), Outcome(TaskState.SUCCEEDED, 200)
        ended = self.do(self.store.finish(claim, outcome, None, now=2.0, limit=PLENTY))
        assert ended is not None
        assert ended.state is TaskState.SUCCEEDED
        assert self.do(self.store.finish(claim, outcome, None, now=3.0, limit=PLENTY)) is None, "it ended twice"
        self.queue.settle(task_id, seconds)

    def give_back(self, task_id: str) -> None:
        assert self.do(self.store.give_back(self.claims.pop(task_id)))
        self.queue.push_back(task_id)

    def cancel(self, task_id: str) -> bool:
        waited = self.queue.remove(task_id) is not None
        before = self.do(self.store.cancel(task_id, 2.0))
        assert before is not None
        assert (before.state is TaskState.QUEUED) == waited
        return waited

    def crash_and_recover(self) -> None:
        stale, self.claims, self.queue = self.claims, {}, FairQueue()
        self.do(self.reopen())
        assert self.do(self.store.recover(2.0)).requeued == len(stale)
        for task in self.do(self.stored(TaskState.QUEUED)):
            self.queue.push(ticket_of(task))
        for claim in stale.values():
            assert not self.do(self.store.give_back(claim)), "a claim outlived its process"

    async def stored(self, state: TaskState) -> list[StoredTask]:
        if state is TaskState.QUEUED:
            return [task async for page in self.store.queued() for task in page]
        found = [await self.store.get(task_id) for task_id in self.jobs]
        return [task for task in found if task is not None and task.state is state]

    def waiting_ids(self) -> set[str]:
        waiting = {ticket.task_id for ticket in self.queue}
        assert waiting == {task.task_id for task in self.do(self.stored(TaskState.QUEUED))}
        return waiting

    def running_ids(self) -> set[str]:
        running = {task.task_id for task in self.do(self.stored(TaskState.RUNNING))}
        assert self.queue.running == len(running) == self.store.figures.tasks[TaskState.RUNNING]
        return running

    def teardown(self) -> None:
        try:
            super().teardown()
        finally:
            self.do(self.store.close())
            self.loop.close()


class MemoryMachine(StoreMachine):
    async def open(self) -> Store:
        return MemoryStore()

    async def reopen(self) -> None:
        """Nothing of it would outlive a process; what it does about claims is the same."""


class SqliteMachine(StoreMachine):
    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="haipool-test-"))
        super().__init__()

    async def open(self) -> Store:
        return await SqliteStore.open(self.folder)

    async def reopen(self) -> None:
        await self.store.close()
        self.store = await self.open()

    def teardown(self) -> None:
        try:
            super().teardown()
        finally:
            shutil.rmtree(self.folder)


@pytest.mark.parametrize(("machine", "examples"), [(MemoryMachine, 40), (SqliteMachine, 12)])
def test_the_queue_over_a_store_is_the_queue(machine: type[StoreMachine], examples: int) -> None:
    run_state_machine_as_test(machine, settings=settings(max_examples=examples, stateful_step_count=30, deadline=None))
