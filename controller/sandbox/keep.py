"""Keeping a sandbox up for a person: what to try, and an end by Ctrl-C."""

import argparse
import asyncio
import signal
import sys
from typing import Final

from controller.command import CommandError
from controller.sandbox import shipped
from controller.sandbox.cloudsim import CloudConfig
from controller.sandbox.environment import Options, Sandbox, running_sandbox
from controller.sandbox.gpuserver import Behaviour

#: From TerminateInstances until the instance is gone, in seconds: long enough to be seen.
TERMINATE_SECONDS: Final = 2.0


def run_sandbox(options: argparse.Namespace) -> int:
    """Run a sandbox until SIGINT or SIGTERM.

    Raises:
        CommandError: it cannot start, or one of its processes ended by itself.
    """
    wanted = Options(
        pool=options.pool,
        cloud=CloudConfig(deploy_s=options.deploy_seconds, terminate_s=TERMINATE_SECONDS),
        servers=Behaviour(port=options.server_port, task_seconds=options.task_seconds, speeds=dict(options.speed)),
        port_base=options.port_base,
        directory=options.dir,
    )
    return asyncio.run(_run(wanted))


async def _run(options: Options) -> int:
    stop = stop_on_signals()
    print("starting the sandbox ...", file=sys.stderr, flush=True)
    async with running_sandbox(options) as sandbox:
        print(welcome(sandbox), flush=True)
        await keep_up(sandbox, stop)
        print("stopping ...", file=sys.stderr, flush=True)
    return 0


def stop_on_signals() -> asyncio.Event:
    """An event that Ctrl-C and SIGTERM set, in place of what they do otherwise."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    return stop


async def keep_up(sandbox: Sandbox, stop: asyncio.Event) -> None:
    """Wait for the stop.

    Raises:
        CommandError: a process of the sandbox ended first.
    """
    stopping = asyncio.create_task(stop.wait())
    ended = asyncio.create_task(sandbox.child_ended())
    try:
        await asyncio.wait([stopping, ended], return_when=asyncio.FIRST_COMPLETED)
        if not stop.is_set():
            raise CommandError(ended.result().obituary())
    finally:
        stopping.cancel()
        ended.cancel()
        await asyncio.gather(stopping, ended, return_exceptions=True)


def welcome(sandbox: Sandbox) -> str:
    """What to do with a running sandbox."""
    samples, pool = shipped.folder("samples"), sandbox.options.pool
    sold_out = '{"region": "ap-beijing", "bundle": "XL", "stock": 0}'
    return f"""\
The sandbox is up. In another terminal:

  export KUBECONFIG={sandbox.kubeconfig}

  kubectl apply -f {samples / "presets.yaml"}
  kubectl apply -f {samples / "demo-pool.yaml"}
  kubectl get gp,gi,rp                 the pool, its servers, where the application stands ready
  kubectl get gi -w                    servers as they come and go
  kubectl describe gp {pool}             why it did what it did

A task, once a server is Ready (it returns a picture after a second):

  curl -sS -o picture.png -d '{{"prompt": "a cat"}}' {sandbox.data_url}/sdapi/v1/txt2img

Sixty at once make the pool grow, and a minute later it shrinks again:

  seq 60 | xargs -P60 -I% curl -sS -o /dev/null -d '{{"prompt": "%"}}' {sandbox.data_url}/

The cheapest offer sells out, and the next purchase goes elsewhere:

  curl -sS -H 'Content-Type: application/json' -d '{sold_out}' {sandbox.cloud.url}/_sim/stock

  queue            {sandbox.admin_url}/-/queue
  cloud's ledger   {sandbox.cloud.url}/_sim/ledger
  logs             {sandbox.directory}/operator.log, dispatcher.log
  records          {sandbox.records}

Ctrl-C ends it."""
