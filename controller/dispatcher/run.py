"""The dispatcher process put together: both ports, the watcher, the health checks, and an orderly end."""

import argparse
import asyncio
import functools
import gc
import logging
import signal
import sys
import time
from collections.abc import Coroutine, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

import uvloop
from aiohttp import web

from controller.command import CommandError
from controller.dispatcher.admin import AdminToken, make_admin
from controller.dispatcher.apikeys import KeyFile
from controller.dispatcher.app import DataServer
from controller.dispatcher.health import HealthChecks
from controller.dispatcher.looplag import LoopLag
from controller.dispatcher.metrics import DispatcherMetrics
from controller.dispatcher.proxy import Proxy
from controller.dispatcher.recording import Recorder
from controller.dispatcher.scheduler import Scheduler
from controller.dispatcher.state import State
from controller.dispatcher.stores.base import Store
from controller.dispatcher.stores.errors import StoreError
from controller.dispatcher.stores.memory import MemoryStore
from controller.dispatcher.stores.sqlite import SqliteStore
from controller.dispatcher.tasks.lifecycle import AsyncTasks
from controller.dispatcher.watcher import FileWatcher, PoolWatcher
from controller.kube.client import KubeClient
from controller.kube.connect import ConnectError, load
from controller.records.addresses import read_key
from controller.records.metrics import RecordsCollector
from controller.records.writer import RecordWriter
from controller.scaling.readings import window_number

logger = logging.getLogger(__name__)

#: When no task runs any more, or their time is over: for answers on their way, and for pass-through requests.
LAST_SECONDS: Final = 15.0
#: Connections that may wait to be accepted; a crowd that comes at once must not be turned away by the kernel.
BACKLOG: Final = 1024
#: Objects more than before, younger and older generations: when the garbage collector looks.
GC_THRESHOLDS: Final = (10_000, 50, 100)
#: Counters of users whose window is over are dropped this often.
SWEEP_SECONDS: Final = 300.0


def run_dispatcher(args: argparse.Namespace) -> int:
    """Run until SIGTERM or SIGINT; running tasks get `--grace` seconds."""
    logging.basicConfig(
        level=logging.DEBUG if args.verbose else logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    _calm_collector()
    try:
        return uvloop.run(_serve(args))
    except (ConnectError, StoreError, ValueError, OSError) as error:
        raise CommandError(str(error)) from error


def _calm_collector() -> None:
    """Have the garbage collector look less often, and never at what stays for good.

    A request makes dozens of objects that are gone a moment later, almost all by their reference counts; to look for
    cycles among them every 700 objects costs a task several percent.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


async def _serve(args: argparse.Namespace) -> int:
    state = State(
        pool=args.pool,
        scheduler=Scheduler(asyncio.get_running_loop().time),
        metrics=DispatcherMetrics(),
        wall=time.time,
        spool=_spool(args),
        starting=True,
        started_at=time.time(),
    )
    state.metrics.attach(state)
    state.recorder = _recorder(args, state)
    token = AdminToken(Path(args.admin_token_file)) if args.admin_token_file else None
    key_files = [KeyFile(Path(args.api_keys), state.take_keys)] if args.api_keys else []
    for file in key_files:
        file.load()
    async with AsyncExitStack() as stack:
        if state.recorder is not None:
            # Closed last: what is cut at the very end is recorded, too.
            stack.push_async_callback(state.recorder.close)
        watcher = await _watcher(args, state, stack)
        proxy, health = Proxy(state), HealthChecks(state)
        stack.push_async_callback(proxy.close)
        stack.push_async_callback(health.close)
        await _listen(web.AppRunner(make_admin(state, token), access_log=None, shutdown_timeout=1.0), stack,
            (args.admin_host, args.admin_port), "admin")  # fmt: skip
        state.store = await _store(args, state.metrics)
        tasks = AsyncTasks(state, proxy.executor)
        stack.push_async_callback(tasks.close)
        await tasks.recover()
        last = min(LAST_SECONDS, args.grace)
        data = DataServer(state, proxy, tasks)
        await _listen(web.ServerRunner(data, shutdown_timeout=last), stack,
            (args.host, args.port), "data")  # fmt: skip
        state.starting = False
        signals = _signals()
        lasting = (watcher, health, *key_files, LoopLag(state.metrics.loop_lag))
        runs = (*(each.run() for each in lasting), tasks.run_timers(), data.watch(), _sweep(state))
        jobs = [asyncio.create_task(job) for job in runs]
        try:
            await _first(signals.get(), jobs)
            if await _wind_down(state, proxy, tasks, grace=args.grace, signals=signals, jobs=jobs):
                data.cut()
        finally:
            tasks.end_streams()
            for job in jobs:
                job.cancel()
            await asyncio.gather(*jobs, return_exceptions=True)
    return 0


def _recorder(args: argparse.Namespace, state: State) -> Recorder | None:
    if not args.logs:
        if args.record_key:
            raise ValueError("--record-key has no effect without --logs DIR")
        return None
    key = read_key(Path(args.record_key)) if args.record_key else None
    writer = RecordWriter(Path(args.logs), types=("task_processing",), wall=state.wall)
    state.metrics.registry.register(RecordsCollector(writer))
    return Recorder(writer, state.pool, clock=asyncio.get_running_loop().time, wall=state.wall, key=key)


def _spool(args: argparse.Namespace) -> Path | None:
    """The folder for bodies on their way; None: the system's."""
    if args.spool or not args.data:
        return Path(args.spool) if args.spool else None
    folder = Path(args.data) / "spool"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


async def _store(args: argparse.Namespace, metrics: DispatcherMetrics) -> Store:
    """Where asynchronous tasks are kept.

    Raises:
        StoreError, ValueError: it cannot be had.
    """
    if (args.store or ("sqlite" if args.data else "memory")) == "memory":
        return MemoryStore()
    if not args.data:
        raise ValueError("--store sqlite needs a folder: name it with --data")
    return await SqliteStore.open(Path(args.data), metrics.commit.observe)


async def _watcher(args: argparse.Namespace, state: State, stack: AsyncExitStack) -> PoolWatcher | FileWatcher:
    if args.servers_file:
        watcher = FileWatcher(state, Path(args.servers_file))
        watcher.load()
        return watcher
    connection = load(args.kubeconfig)
    kube = KubeClient(connection)
    stack.push_async_callback(kube.close)
    return PoolWatcher(state, kube, args.namespace or connection.namespace)


async def _listen(runner: web.BaseRunner, stack: AsyncExitStack, where: tuple[str, int], name: str) -> None:
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.TCPSite(runner, *where, backlog=BACKLOG).start()
    for address in runner.addresses:
        logger.info("%s port: http://%s:%d", name, f"[{address[0]}]" if ":" in address[0] else address[0], address[1])


def _signals() -> "asyncio.Queue[int]":
    """SIGTERM and SIGINT as they come."""
    signals: asyncio.Queue[int] = asyncio.Queue()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, signals.put_nowait, int(number))
    return signals


async def _first(wanted: Coroutine[Any, Any, object], jobs: Sequence["asyncio.Task[None]"]) -> None:
    """Wait for it; a job that fails before ends the process, which is then restarted."""
    waiting = asyncio.ensure_future(wanted)
    try:
        done, _ = await asyncio.wait([waiting, *jobs], return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)


async def _wind_down(
    state: State,
    proxy: Proxy,
    tasks: AsyncTasks,
    *,
    grace: float,
    signals: "asyncio.Queue[int]",
    jobs: Sequence["asyncio.Task[None]"],
) -> bool:
    """Send away what waits, or leave it in its store, and let what runs come to its end.

    Both ports stay open meanwhile: the operator goes on reading what is in flight, and who comes too late is told so.
    A second signal ends the patience.

    Returns:
        Whether it did: then nothing is waited for any more.
    """
    state.closing = True
    state.scheduler.shut_out()
    tasks.board.all_changed()
    logger.info("shutting down: running tasks get %g s", grace)
    hurry = asyncio.create_task(signals.get())
    try:
        async with asyncio.timeout(grace):
            await proxy.close_websockets()
            idle = asyncio.create_task(state.scheduler.idle.wait())
            try:
                done, _ = await asyncio.wait([idle, hurry, *jobs], return_when=asyncio.FIRST_COMPLETED)
            finally:
                idle.cancel()
            return hurry in done
    except TimeoutError:
        logger.warning("%d tasks did not end in time and are cut", sum(s.tasks for s in state.scheduler.servers))
    finally:
        hurry.cancel()
    return False


async def _sweep(state: State) -> None:
    """Forget the counters of users of past windows."""
    while True:
        await asyncio.sleep(SWEEP_SECONDS)
        if state.view is not None:
            length = state.view.spec.queue.window_seconds
            now = window_number(state.wall(), origin=state.view.origin, window_seconds=length)
            state.scheduler.forget_users(functools.partial(_is_current, now))


def _is_current(window: int, user: str) -> bool:
    """Whether a `user_{ip}_{window}` belongs to this window or a later one."""
    return int(user.rpartition("_")[2]) >= window
