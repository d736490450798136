"""The sandbox's processes: started for real, ended in order, and not outlived by anything."""

import asyncio
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from controller.sandbox.children import Child


async def start(tmp_path: Path, *arguments: str) -> Child:
    return await Child.start("thing", arguments, log=tmp_path / "thing.log", env={"HAIPOOL_TEST": "1"})


async def test_a_child_runs_the_haipool_command_and_its_output_is_in_the_log(tmp_path: Path) -> None:
    child = await start(tmp_path, "--version")
    assert await child.wait() == 0
    assert not child.running
    assert child.tail()[0].startswith("haipool ")


async def test_a_child_that_failed_is_told_with_its_last_words(tmp_path: Path) -> None:
    child = await start(tmp_path, "no-such-command")
    assert await child.wait() == 2
    assert "ended with status 2" in child.obituary()
    assert "invalid choice: 'no-such-command'" in child.obituary()


async def test_the_log_shows_the_last_lines_only(tmp_path: Path) -> None:
    child = await start(tmp_path, "--version")
    await child.wait()
    child.log.write_text("".join(f"line {n}\n" for n in range(1000)))
    assert child.tail()[-1] == "line 999"
    assert len(child.tail()) == 15


#: A program that never ends by itself, started through the same leash.
SLEEPER = (
    "import time; from controller.sandbox import leash; leash.hold({parent}); print('up', flush=True); time.sleep(300)"
)


async def sleeper(tmp_path: Path, code: str) -> Child:
    log = tmp_path / "sleeper.log"
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", code, stdout=output, stderr=output, start_new_session=True
        )
    return Child("sleeper", process, log)


async def _until_up(child: Child) -> None:
    async with asyncio.timeout(20):
        while "up" not in child.tail():
            assert child.running, child.obituary()
            await asyncio.sleep(0.02)


async def test_stopping_ends_a_child_by_its_own_handling_of_sigterm(tmp_path: Path) -> None:
    child = await sleeper(tmp_path, SLEEPER.format(parent=os.getpid()))
    await _until_up(child)
    assert await child.stop() == -signal.SIGTERM
    assert "was killed by SIGTERM" in child.obituary()


async def test_stopping_twice_does_no_harm(tmp_path: Path) -> None:
    child = await start(tmp_path, "--version")
    assert await child.stop() == await child.stop()


async def test_a_child_that_does_not_heed_sigterm_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controller.sandbox.children.STOP_SECONDS", 0.1)
    deaf = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(300)"
    )
    child = await sleeper(tmp_path, deaf)
    await _until_up(child)
    assert await child.stop() == -signal.SIGKILL


def test_a_child_does_not_outlive_a_parent_that_is_killed(tmp_path: Path) -> None:
    """The parent starts a child on the leash, tells its pid, and is killed without a chance to clean up."""
    parent_code = (
        "import os, subprocess, sys, time\n"
        f"code = {SLEEPER!r}.format(parent=os.getpid())\n"
        "child = subprocess.Popen([sys.executable, '-c', code], stdout=subprocess.PIPE, text=True)\n"
        "child.stdout.readline()\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(300)\n"
    )
    with subprocess.Popen([sys.executable, "-c", parent_code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        pidfd = os.pidfd_open(child)
        parent.kill()
        parent.wait()
    # A pidfd becomes readable when its process ends.
    poller = select.poll()
    poller.register(pidfd)
    assert poller.poll(20_000), "the child still runs"
    os.close(pidfd)
