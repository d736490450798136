"""The servers file: what it may say, what it may not, and that the last good one stays in force."""

import asyncio
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from controller.dispatcher import watcher
from controller.dispatcher.watcher import FileWatcher

GOOD = """\
servers:
- {name: a, address: "http://127.0.0.2:7860", slots: 2, speed: 1.5}
- {name: b, address: "https://[::1]:7860", draining: true}
spec:
  queue: {maxTasks: 7}
"""


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    path, written = tmp_path / "servers.yaml", 0

    def write(text: str) -> Path:
        nonlocal written
        path.write_text(text, encoding="utf-8")
        written += 1
        os.utime(path, ns=(written, written))  # two writes within the clock's grain are two versions all the same
        return path

    return write


async def test_servers_and_spec_are_taken_from_it(bench: Any, write: Callable[[str], Path]) -> None:
    FileWatcher(bench.state, write(GOOD)).load()
    a, b = bench.scheduler.servers
    assert (a.spec.name, a.spec.address, a.spec.slots, a.spec.speed) == ("a", "http://127.0.0.2:7860", 2, 1.5)
    assert (b.usable, b.spec.draining) == (False, True)
    assert bench.state.view.spec.queue.max_tasks == 7
    assert bench.state.synced


async def test_an_empty_file_is_a_pool_without_servers(bench: Any, write: Callable[[str], Path]) -> None:
    FileWatcher(bench.state, write("")).load()
    assert list(bench.scheduler.servers) == []


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("servers: [{name: a}]", "address"),
        ("servers: [{name: a, address: '127.0.0.1:80'}]", r"address|servers\[0\]"),
        ("servers: [{name: a, address: 'http://u@h'}]", r"servers\[0\]"),
        ("servers: [{name: a, address: 'http://h/base'}]", r"servers\[0\]"),
        ("servers: [{name: a, address: 'http://h', slots: 0}]", "slots"),
        ("servers: [{name: a, address: 'http://h', speed: 0}]", "speed"),
        ("servers: [{name: a, address: 'http://h'}, {name: a, address: 'http://i'}]", "two servers are named a"),
        ("servers: [{name: a, address: 'http://h', slot: 2}]", "slot"),
        ("server: []", "server"),
        ("- a", "object"),
        ("servers: [", "servers.yaml"),
        ("spec: {queue: {trustedNetworks: [10.0.0.0/33]}}", "trustedNetworks"),
        ("spec: {queue: {windowOrigin: yesterday}}", "windowOrigin"),
        ("spec: {queue: {maxTasks: 0}}", "maxTasks"),
    ],
)
async def test_what_does_not_fit_is_named(bench: Any, write: Callable[[str], Path], text: str, named: str) -> None:
    path = write(text)
    with pytest.raises(ValueError, match=named) as refused:
        FileWatcher(bench.state, path).load()
    assert str(path) in str(refused.value)


async def test_a_file_that_is_not_there_is_named(bench: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"missing\.yaml"):
        FileWatcher(bench.state, tmp_path / "missing.yaml").load()


async def test_changes_are_taken_over_and_nonsense_is_not(
    bench: Any, write: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(watcher, "FILE_SECONDS", 0.005)
    path = write(GOOD)
    follower = FileWatcher(bench.state, path)
    follower.load()
    job = asyncio.create_task(follower.run())

    def names() -> list[str]:
        return [server.spec.name for server in bench.scheduler.servers]

    try:
        write("servers: [{name: c, address: 'http://127.0.0.3:1'}]")
        await bench.until(lambda: names() == ["c"])
        with caplog.at_level(logging.ERROR):
            write("servers: [{name: d}]")
            await bench.until(lambda: "address" in caplog.text)
            path.unlink()
            await bench.until(lambda: "is gone" in caplog.text)
        assert names() == ["c"]
        assert caplog.text.count("stay in force") == 2, "each is said once, not once a second"
        write("servers: [{name: e, address: 'http://127.0.0.3:1'}]")
        await bench.until(lambda: names() == ["e"])
    finally:
        job.cancel()
        await asyncio.gather(job, return_exceptions=True)
