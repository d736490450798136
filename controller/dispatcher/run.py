"""The dispatcher process put together: both ports, the watcher, the health checks, and an orderly end."""

import argparse
import asyncio
import functools
import logging
import signal
import sys
import time
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any, Final

import uvloop
from aiohttp import web

from controller.command import CommandError
from controller.dispatcher.admin import make_admin
from controller.dispatcher.app import make_app
from controller.dispatcher.health import HealthChecks
from controller.dispatcher.metrics import DispatcherMetrics
from controller.dispatcher.proxy import Proxy
from controller.dispatcher.scheduler import Scheduler
from controller.dispatcher.state import State
from controller.dispatcher.watcher import FileWatcher, PoolWatcher
from controller.kube.client import KubeClient
from controller.kube.connect import ConnectError, load
from controller.scaling.readings import window_number

logger = logging.getLogger(__name__)

#: Counters of users whose window is over are dropped this often.
SWEEP_SECONDS: Final = 300.0


def run_dispatcher(args: argparse.Namespace) -> int:
    """Run until SIGTERM or SIGINT; running tasks get `--grace` seconds."""
    logging.basicConfig(
        level=logging.DEBUG if args.verbose else logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    try:
        return uvloop.run(_serve(args))
    except (ConnectError, ValueError, OSError) as error:
        raise CommandError(str(error)) from error


async def _serve(args: argparse.Namespace) -> int:
    state = State(
        pool=args.pool,
        scheduler=Scheduler(asyncio.get_running_loop().time),
        metrics=DispatcherMetrics(),
        wall=time.time,
        spool=Path(args.spool) if args.spool else None,
        started_at=time.time(),
    )
    state.metrics.attach(state)
    proxy, health = Proxy(state), HealthChecks(state)
    data = web.AppRunner(
        make_app(state, proxy), handler_cancellation=True, access_log=None, shutdown_timeout=args.grace
    )
    admin = web.AppRunner(make_admin(state), access_log=None, shutdown_timeout=1.0)
    kube: KubeClient | None = None
    try:
        watcher: PoolWatcher | FileWatcher
        if args.servers_file:
            watcher = FileWatcher(state, Path(args.servers_file))
            watcher.load()
        else:
            connection = load(args.kubeconfig)
            kube = KubeClient(connection)
            watcher = PoolWatcher(state, kube, args.namespace or connection.namespace)
        await _listen(admin, args.admin_host, args.admin_port, "admin")
        await _listen(data, args.host, args.port, "data")
        await _until_signal([watcher.run(), health.run(), _sweep(state)])
        state.closing = True
        state.scheduler.shut_out()
    finally:
        await data.cleanup()
        await admin.cleanup()
        await proxy.close()
        await health.close()
        if kube is not None:
            await kube.close()
    return 0


async def _listen(runner: web.AppRunner, host: str, port: int, name: str) -> None:
    await runner.setup()
    await web.TCPSite(runner, host, port).start()
    for address in runner.addresses:
        logger.info("%s port: http://%s:%d", name, address[0], address[1])


async def _until_signal(jobs: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Run the jobs until SIGTERM or SIGINT; a job that fails ends the process, which is then restarted."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    tasks = [asyncio.create_task(job) for job in jobs]
    stopping = asyncio.create_task(stop.wait())
    try:
        done, _ = await asyncio.wait([stopping, *tasks], return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in (stopping, *tasks):
            task.cancel()
        await asyncio.gather(stopping, *tasks, return_exceptions=True)


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
