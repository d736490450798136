"""How the demo is shown while it runs: a live screen on a terminal, lines elsewhere."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, Protocol

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from controller.api.catalog import REGION_NAMES
from controller.sandbox.demo.beside import beside
from controller.sandbox.demo.board import Board

#: Redraws of the live screen per second.
FRAMES_PER_SECOND: Final = 4
#: Columns from which queue and servers have room side by side.
WIDE_COLUMNS: Final = 110
#: Time between two status lines where there is no live screen, in seconds.
STATUS_SECONDS: Final = 5.0
#: Colour of a server's phase.
PHASE_STYLES: Final = {"Ready": "green", "Draining": "yellow", "Terminating": "red", "Unhealthy": "bold red"}


class Show(Protocol):
    """Tells the story to a spectator."""

    def say(self, text: str) -> None:
        """One line."""


class Lines:
    """Plain lines with the seconds since the start, for logs and pipes."""

    def __init__(self, board: Board, console: Console) -> None:
        self._board = board
        self._console = console

    def say(self, text: str) -> None:
        """Print it."""
        line = f"{self._board.elapsed:6.1f} s  {text}"
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    async def follow(self) -> None:
        """Print a status line now and then, when there is something to tell."""
        while True:
            await asyncio.sleep(STATUS_SECONDS)
            line = status_line(self._board)
            if line:
                self.say(line)


class Screen:
    """A live screen; the story's last lines scroll inside it."""

    def __init__(self, board: Board) -> None:
        self._board = board

    def say(self, text: str) -> None:
        """Add it to the story."""
        self._board.lines.append((self._board.elapsed, text))

    def __rich_console__(self, _console: Console, options: ConsoleOptions) -> RenderResult:
        yield render(self._board, width=options.max_width)


@asynccontextmanager
async def showing(board: Board, console: Console) -> AsyncIterator[Show]:
    """A live screen if the console is a terminal, else lines."""
    if console.is_terminal:
        screen = Screen(board)
        live = Live(
            screen, console=console, refresh_per_second=FRAMES_PER_SECOND, transient=True, vertical_overflow="crop"
        )
        with live:
            yield screen
        return
    lines = Lines(board, console)
    async with beside(lines.follow()):
        yield lines


def status_line(board: Board) -> str:
    """Queue, servers and money in one line; empty before there are any."""
    servers = board.server_rows()
    if not servers:
        return ""
    queue = " ".join(f"{row.name} {row.waiting}" for row in board.user_rows() if row.sent)
    kinds = Counter(f"{row.bundle} {row.phase.lower()}" for row in servers)
    told = ", ".join(f"{count} x {kind}" for kind, count in kinds.items())
    return f"[queue {queue or 'empty'} | servers {told} | {board.spent:.4f} CNY]"


def render(board: Board, *, width: int) -> RenderableType:
    """The whole screen. The newest line comes first, so that a low terminal cuts off the oldest."""
    queue, servers = Panel(_users(board), title="fair queue"), Panel(_servers(board), title="servers")
    top = _side_by_side(queue, servers) if width >= WIDE_COLUMNS else Group(queue, servers)
    story = Text("\n".join(f"{at:6.1f} s  {text}" for at, text in reversed(board.lines)))
    head = Text.assemble(
        ("haipool demo ", "bold"), f"{board.elapsed:5.1f} s   ", ("billed so far ", "dim"), f"{board.spent:.4f} CNY"
    )
    decision = Text.assemble(("decision now  ", "dim"), board.decision)
    title = "what happens, and why (newest first)"
    return Group(head, top, decision, Panel(story, title=title, title_align="left"))


def _side_by_side(left: RenderableType, right: RenderableType) -> Table:
    grid = Table.grid(expand=True, padding=(0, 1))
    grid.add_column(ratio=2)
    grid.add_column(ratio=3)
    grid.add_row(left, right)
    return grid


def _users(board: Board) -> Table:
    table = Table(box=None, expand=True)
    for name in ("user", "sent", "waiting", "done", "mean wait"):
        table.add_column(name, justify="left" if name == "user" else "right")
    for row in board.user_rows():
        wait = "" if row.mean_wait is None else f"{row.mean_wait:.1f} s"
        table.add_row(f"{row.name} {row.address}", str(row.sent), str(row.waiting), str(row.answered), wait)
    return table


def _servers(board: Board) -> Table:
    table = Table(box=None, expand=True)
    for name in ("server", "region", "type", "CNY/h", "phase", "tasks done"):
        table.add_column(name, justify="right" if name in ("CNY/h", "tasks done") else "left")
    for row in board.server_rows():
        region = f"{row.region.removeprefix('ap-')} {REGION_NAMES.get(row.region, '')}"
        phase = Text(row.phase, style=PHASE_STYLES.get(row.phase, "cyan"))
        table.add_row(row.name, region, row.bundle, f"{row.price_per_hour:g}", phase, str(row.served))
    return table
