"""The demo as a process: sandbox, show and story together, and what is printed at the end."""

import argparse
import asyncio
import json
import random
import signal
import sys
import time
from typing import Final

from rich.console import Console

from controller.command import CommandError
from controller.sandbox.demo import script
from controller.sandbox.demo.board import Board
from controller.sandbox.demo.evidence import Evidence
from controller.sandbox.demo.rules import Finding, check
from controller.sandbox.demo.show import showing
from controller.sandbox.demo.story import Story
from controller.sandbox.demo.summary import as_json, print_summary
from controller.sandbox.environment import Options, Sandbox, running_sandbox
from controller.sandbox.keep import keep_up, stop_on_signals, welcome
from controller.sandbox.kubectl import KubectlMissingError, find_kubectl

#: Exit status after SIGTERM, as shells report it.
TERMINATED: Final = 128 + signal.SIGTERM
#: Time for the end of a process to become known after what it caused.
OBITUARY_SECONDS: Final = 1.0
#: Columns of what is printed to a file or a pipe, which has no width of its own.
FILE_WIDTH: Final = 120


def run_demo(options: argparse.Namespace) -> int:
    """Tell the story once.

    Returns:
        0 if all rules held, else 1; 143 after SIGTERM.

    Raises:
        CommandError: it could not be told to its end.
    """
    try:
        find_kubectl()
    except KubectlMissingError as error:
        raise CommandError(str(error)) from error
    try:
        return asyncio.run(_run(options))
    except asyncio.CancelledError:
        return TERMINATED


async def _run(options: argparse.Namespace) -> int:
    main = asyncio.current_task()
    if main is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, main.cancel)
    # Only the JSON object may go to stdout, where a program reads it.
    console = Console(stderr=options.output == "json")
    if not console.is_terminal:
        console.width = FILE_WIDTH
    board = Board(time.monotonic)
    wanted = Options(pool=script.POOL, cloud=script.cloud(), directory=options.dir)
    async with running_sandbox(wanted) as sandbox:
        evidence = await _tell(sandbox, board, console, random.Random(options.seed))  # noqa: S311 - a repeatable load
        findings = check(evidence)
        _print(options, console, evidence, findings, board.elapsed)
        if options.keep:
            await _keep(sandbox)
    return 0 if all(finding.ok for finding in findings) else 1


async def _tell(sandbox: Sandbox, board: Board, console: Console, rng: random.Random) -> Evidence:
    """The story; it ends early when a process of the sandbox does.

    Raises:
        CommandError: a process ended, or a part did not happen in its time.
    """
    board.sandbox = sandbox
    async with showing(board, console) as show:
        show.say(f"the sandbox is up: export KUBECONFIG={sandbox.kubeconfig}")
        show.say(f"records of the tasks: {sandbox.records}")
        telling = asyncio.create_task(Story(sandbox, board, show, rng).tell())
        ended = asyncio.create_task(sandbox.child_ended())
        try:
            await asyncio.wait([telling, ended], return_when=asyncio.FIRST_COMPLETED)
            if telling.done() and telling.exception() is not None:
                # What broke the story may be a process that has just died, and its last words say more.
                await asyncio.wait([ended], timeout=OBITUARY_SECONDS)
            if ended.done():
                raise CommandError(ended.result().obituary())
            return telling.result()
        finally:
            telling.cancel()
            ended.cancel()
            await asyncio.gather(telling, ended, return_exceptions=True)


def _print(
    options: argparse.Namespace, console: Console, evidence: Evidence, findings: list[Finding], duration: float
) -> None:
    if options.output == "json":
        json.dump(as_json(evidence, findings, duration=duration), sys.stdout, ensure_ascii=False, indent=2)
        print(flush=True)
    else:
        print_summary(console, evidence, findings, duration=duration)


async def _keep(sandbox: Sandbox) -> None:
    stop = stop_on_signals()
    print("\n" + welcome(sandbox), file=sys.stderr, flush=True)
    await keep_up(sandbox, stop)
