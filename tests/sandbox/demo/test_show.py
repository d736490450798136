"""What a spectator sees while the demo runs."""

import asyncio
import io
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from rich.console import Console

from controller.api.gpuinstance import GpuInstance
from controller.api.gpupool import GpuPool
from controller.api.model import read
from controller.command import CommandError
from controller.sandbox.demo import show
from controller.sandbox.demo.board import LINES, Board, news
from controller.sandbox.demo.evidence import TaskResult
from controller.sandbox.demo.load import Progress, User
from controller.sandbox.demo.queueview import QueueState, QueueView, queue_view
from controller.sandbox.demo.watch import ClusterWatch, Happening
from controller.sandbox.environment import Sandbox
from controller.sandbox.gpuserver import Counters


@dataclass
class OneBill:
    cost_cny: float = 0.0125


class Cloud:
    """The part of the simulated cloud that the board reads."""

    def bills(self) -> list[OneBill]:
        return [OneBill(), OneBill()]


@dataclass
class Fleet:
    counters: dict[str, Counters] = field(default_factory=lambda: {"hai-1": Counters(served=7)})


@dataclass
class Parts:
    """Stands for the sandbox, the queue and a user, with fixed figures."""

    cloud: Cloud = field(default_factory=Cloud)
    fleet: Fleet = field(default_factory=Fleet)
    state: QueueState = field(default_factory=lambda: QueueState(12, 3, {"127.0.1.1": 12}))
    name: str = "A"
    address: str = "127.0.1.1"
    progress: Progress = field(default_factory=lambda: Progress(15, 3, [TaskResult("A", 1, 1, 2.0, 3.0, "demo-1")]))


def instance(name: str, bundle: str, price: float, phase: str, instance_id: str) -> GpuInstance:
    spec = {
        "pool": "demo",
        "poolUID": "u",
        "region": "ap-nanjing",
        "bundle": bundle,
        "applicationId": "app-1",
        "pricePerHour": price,
        "launchNumber": 1,
    }
    raw: dict[str, Any] = {"metadata": {"name": name}, "spec": spec}
    return read(GpuInstance, raw | {"status": {"phase": phase, "instanceId": instance_id}})


@pytest.fixture
def board() -> Board:
    """Forty seconds into a demo with two servers."""
    times = iter([100.0])
    board = Board(lambda: next(times, 140.0))
    parts = Parts()
    watch = ClusterWatch("demo", lambda _happening: None)
    watch.pool = read(GpuPool, {"metadata": {"name": "demo"}, "status": {"message": "Hold: low load for 2 s"}})
    watch.instances = {
        "demo-2": instance("demo-2", "3XL", 2.41, "Deploying", ""),
        "demo-1": instance("demo-1", "XL", 0.88, "Ready", "hai-1"),
    }
    board.sandbox, board.queue, board.watch = cast("Sandbox", parts), cast("QueueView", parts), watch
    board.users = [cast("User", parts)]
    return board


def drawn(board: Board, width: int) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(show.render(board, width=width))
    return cast("io.StringIO", console.file).getvalue()


@pytest.mark.parametrize("width", [80, 140])
def test_the_screen_shows_queue_servers_decision_and_money(board: Board, width: int) -> None:
    show.Screen(board).say("LongQueue: queue length 16 > 15 -> buy 1 x XL")
    text = " ".join(drawn(board, width).split())
    for part in ("A 127.0.1.1", "15 12 3 2.0 s", "nanjing 南京", "0.88 Ready", "2.41 Deploying", "0.0250 CNY"):
        assert part in text
    assert "Hold: low load for 2 s" in text
    assert "40.0 s LongQueue: queue length 16 > 15 -> buy 1 x XL" in text


def test_the_cheapest_server_comes_first_with_what_it_has_done(board: Board) -> None:
    assert [(row.name, row.served) for row in board.server_rows()] == [("demo-1", 7), ("demo-2", 0)]


def test_the_newest_line_comes_first_and_the_oldest_are_dropped(board: Board) -> None:
    screen = show.Screen(board)
    for number in range(LINES + 5):
        screen.say(f"line {number:03}")
    text = drawn(board, 140)
    assert text.index(f"line {LINES + 4:03}") < text.index("line 010")
    assert "line 004" not in text


def test_the_status_line_sums_up(board: Board) -> None:
    assert show.status_line(board) == "[queue A 12 | servers 1 x XL ready, 1 x 3XL deploying | 0.0250 CNY]"


def test_before_anything_runs_there_is_nothing_to_show() -> None:
    board = Board(lambda: 0.0)
    assert show.status_line(board) == ""
    assert "haipool demo" in drawn(board, 140)


async def test_without_a_terminal_the_story_is_told_in_lines(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    """Status lines come by themselves; square brackets are text, not markup."""
    monkeypatch.setattr(show, "STATUS_SECONDS", 0.001)
    console = Console(file=io.StringIO(), width=40)
    out = cast("io.StringIO", console.file)
    async with show.showing(board, console) as told:
        told.say("demo-1 Ready: [bold]serves[/bold] at http://127.0.0.1:7860, five seconds after the purchase")
        async with asyncio.timeout(20):
            while "queue A 12" not in out.getvalue():  # noqa: ASYNC110 - a stream has no event to wait for
                await asyncio.sleep(0.001)
    lines = out.getvalue().splitlines()
    assert lines[0] == (
        "  40.0 s  demo-1 Ready: [bold]serves[/bold] at http://127.0.0.1:7860, five seconds after the purchase"
    )
    assert lines[1] == "  40.0 s  [queue A 12 | servers 1 x XL ready, 1 x 3XL deploying | 0.0250 CNY]"


@pytest.mark.parametrize(
    ("kind", "reason", "told"),
    [
        ("GpuPool", "LongQueue", "LongQueue: why"),
        ("GpuInstance", "Ready", "demo Ready: why"),
        ("GpuInstance", "Gone", "demo Gone: why"),
        ("GpuInstance", "Bought", ""),
        ("GpuInstance", "ScaleDown", ""),
        ("RegionPreset", "ApplicationOnline", ""),
    ],
)
def test_of_what_is_told_twice_one_line_is_news(kind: str, reason: str, told: str) -> None:
    assert news(Happening(0.0, kind, "demo", reason, "why", warning=False)) == told


async def test_a_dispatcher_that_does_not_answer_ends_the_wait() -> None:
    with pytest.raises(CommandError, match="admin port does not answer"):
        async with queue_view("http://127.0.0.1:1") as view:
            await view.until(lambda state: state.started == 1)


def test_the_queue_is_read_by_client_address() -> None:
    """A user is `user_{ip}_{window}`."""
    users = [{"user": "user_127.0.1.1_1", "waiting": 99}, {"user": "user_fd00::1_2", "waiting": 1}]
    state = QueueState.read({"waiting": 100, "started": 30, "users": users, "pool": "demo"})
    assert state.by_address == {"127.0.1.1": 99, "fd00::1": 1}
    assert state.admitted == 130
