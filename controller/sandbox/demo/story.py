"""The course of the demo: apply the samples, send the load, run a region out of stock, wait for the end, collect."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Final

from controller.api.catalog import BUNDLES, REGION_NAMES
from controller.command import CommandError
from controller.sandbox import shipped
from controller.sandbox.demo import script
from controller.sandbox.demo.beside import beside
from controller.sandbox.demo.board import Board, news
from controller.sandbox.demo.collect import collect
from controller.sandbox.demo.evidence import Evidence, TaskResult
from controller.sandbox.demo.load import User
from controller.sandbox.demo.queueview import QueueView, queue_view
from controller.sandbox.demo.show import Show
from controller.sandbox.demo.watch import ClusterWatch, watching
from controller.sandbox.environment import Sandbox
from controller.sandbox.kubectl import find_kubectl

#: Longest time for each part, seconds. All parts together usually take about 85; these bounds only end what hangs.
APPLY_SECONDS: Final = 30.0
FIRST_SERVER_SECONDS: Final = 40.0
JOIN_SECONDS: Final = 20.0
LOAD_SECONDS: Final = 100.0
SHRINK_SECONDS: Final = 100.0


class Story:
    """One telling, in a running sandbox."""

    def __init__(self, sandbox: Sandbox, board: Board, show: Show, rng: random.Random) -> None:
        self._sandbox = sandbox
        self._board = board
        self._show = show
        self._rng = rng
        self._drought: tuple[str, float] | None = None

    async def tell(self) -> Evidence:
        """From the samples to the evidence.

        Raises:
            CommandError: a part of it did not happen in its time.
        """
        async with AsyncExitStack() as stack:
            watch = await stack.enter_async_context(
                watching(self._sandbox.kubeconfig, script.POOL, lambda happening: self._say(news(happening)))
            )
            queue = await stack.enter_async_context(queue_view(self._sandbox.admin_url))
            self._board.watch, self._board.queue = watch, queue
            await self._apply(watch)
            users = await stack.enter_async_context(self._users())
            await stack.enter_async_context(beside(self._dry_out(watch)))
            await self._load(users, queue)
            await _within(LOAD_SECONDS, "the load to be served", *(user.finish() for user in users))
            self._say("the load is over; the pool goes back to its minimum once low load has lasted")
            await self._shrink(watch)
            return self._collect(watch, users)

    def _say(self, text: str) -> None:
        if text:
            self._show.say(text)

    async def _apply(self, watch: ClusterWatch) -> None:
        samples = shipped.folder("samples")
        await self._kubectl("apply", "-f", str(samples / "presets.yaml"))
        await self._kubectl("wait", "regionpresets", "--all", "--for=condition=Ready", f"--timeout={APPLY_SECONDS:g}s")
        await self._kubectl("apply", "-f", str(samples / "demo-pool.yaml"))
        await _within(FIRST_SERVER_SECONDS, "the first server to be Ready", watch.until(lambda: bool(watch.ready())))

    async def _kubectl(self, *arguments: str) -> None:
        """Run the real kubectl against the sandbox.

        Raises:
            CommandError: it failed; with its own words.
        """
        self._say(f"$ kubectl {' '.join(arguments)}")
        cache = f"--cache-dir={self._sandbox.directory / 'kubectl-cache'}"
        process = await asyncio.create_subprocess_exec(
            str(find_kubectl()),
            f"--kubeconfig={self._sandbox.kubeconfig}",
            cache,
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            output, _ = await process.communicate()
        except BaseException:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            raise
        if process.returncode != 0:
            raise CommandError(f"kubectl {' '.join(arguments)}: {output.decode(errors='replace').strip()}")

    @asynccontextmanager
    async def _users(self) -> AsyncIterator[list[User]]:
        users = [User(s.name, s.address, self._sandbox.data_url, self._on_result) for s in script.SENDERS]
        self._board.users = users
        try:
            yield users
        finally:
            for user in users:
                await user.close()

    def _on_result(self, task: TaskResult) -> None:
        if task.problem:
            self._say(f"a task of {task.user} failed: {task.problem}")

    async def _load(self, users: list[User], queue: QueueView) -> None:
        """A's first task alone; the rest of A, then B, then C while it runs: admission decides who came first."""
        first, *others = users
        first_sender, *other_senders = script.SENDERS
        first.send([script.FIRST_TASK_SECONDS])
        await _within(JOIN_SECONDS, "the first task to start", queue.until(lambda state: state.started == 1))
        first.send(script.task_seconds(first_sender, self._rng)[1:])
        await self._joined(queue, first_sender)
        for user, sender in zip(others, other_senders, strict=True):
            user.send(script.task_seconds(sender, self._rng))
            await self._joined(queue, sender)

    async def _joined(self, queue: QueueView, sender: script.Sender) -> None:
        """Wait until everything that was sent so far is in the queue."""
        sent = sum(user.progress.sent for user in self._board.users)
        what = f"the tasks of {sender.name} to be admitted"
        await _within(JOIN_SECONDS, what, queue.until(lambda state: state.admitted >= sent))
        self._say(f"user {sender.name} ({sender.address}) has sent {sender.tasks} tasks at once")

    async def _dry_out(self, watch: ClusterWatch) -> None:
        """Once something was bought in the region, it has nothing left."""
        region = script.DROUGHT_REGION
        await watch.until(lambda: any(i.spec.region == region and i.status.instance_id for i in watch.ever.values()))
        for bundle in BUNDLES:
            self._sandbox.cloud.set_stock(region, bundle, 0)
        self._drought = (region, time.time())
        self._say(f"{region} ({REGION_NAMES[region]}) has just run out of stock at the cloud; nobody told the operator")

    async def _shrink(self, watch: ClusterWatch) -> None:
        """Wait until only the minimum is left, for the operator and for the cloud."""

        def is_back() -> bool:
            pool = watch.pool
            alive = sum(bill.ended is None for bill in self._sandbox.cloud.bills())
            return pool is not None and len(watch.instances) == alive == pool.spec.replicas.min == pool.status.replicas

        await _within(SHRINK_SECONDS, "the pool to be back at its minimum", watch.until(is_back))

    def _collect(self, watch: ClusterWatch, users: list[User]) -> Evidence:
        if watch.pool is None:
            raise CommandError(f"the pool {script.POOL} is gone")
        return collect(
            self._sandbox,
            watch,
            watch.pool,
            [task for user in users for task in user.progress.results],
            sent={user.name: user.progress.sent for user in users},
            drought=self._drought,
        )


async def _within(seconds: float, what: str, *awaited: Awaitable[object]) -> None:
    """Wait for all of them.

    Raises:
        CommandError: they took longer.
    """
    try:
        async with asyncio.timeout(seconds):
            await asyncio.gather(*awaited)
    except TimeoutError:
        raise CommandError(f"waited {seconds:g} s for {what}, in vain") from None
