"""The end of tasks whose server answers before it has done the work (`completion: Poll`).

The answer names an id. The slot stays taken until the server's own account of that id shows the end, so that the server
never has more of this dispatcher's work than it has slots, whatever queue it keeps itself.
"""

import asyncio
import json
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple
from urllib.parse import quote

import aiohttp
from multidict import CIMultiDict

from controller.api.queue import Poll
from controller.dispatcher.connections import Connections
from controller.dispatcher.servers import Server
from controller.dispatcher.upstream import Reply

#: Of an answer, only so much is read for the id of its task.
ANSWER_BYTES: Final = 1024 * 1024
#: A server's account of its tasks may hold their inputs, images included.
ACCOUNT_BYTES: Final = 64 * 1024 * 1024
#: A look that takes longer has failed; a server that is loading a model may be silent for a while.
LOOK_SECONDS: Final = 15.0
LONGEST_ID: Final = 256
#: Tasks of which is known where they ran.
PLACES: Final = 50_000
#: What of a task's request is said again when asking after it: the server may insist on knowing who asks.
ABOUT_WHO: Final = ("Authorization", "Cookie", "X-Api-Key")


class End(NamedTuple):
    """How a polled task ended."""

    status: Literal["success", "failed", "cancelled"]
    reason: str | None = None


class LookError(Exception):
    """The server's account could not be had, this time."""


# --- reading, without I/O ---------------------------------------------------------------------------------------------


def task_id(poll: Poll, answer: bytes) -> str | None:
    """The id that an answer gives its task; None if it gives none, so there is nothing to wait for."""
    try:
        found = pointed(json.loads(answer), poll.id_pointer)
    except (ValueError, KeyError):
        return None
    if isinstance(found, bool) or not isinstance(found, str | int):
        return None
    return str(found) if 0 < len(str(found)) <= LONGEST_ID else None


def pointed(document: Any, pointer: str, name: str = "") -> Any:
    """What a JSON pointer (RFC 6901) points at.

    Args:
        document: parsed JSON.
        pointer: the pointer; `{id}` in it stands for `name`, whatever characters that has.
        name: the id.

    Raises:
        KeyError: there is nothing.
    """
    for token in pointer.split("/")[1:]:
        key = token.replace("~1", "/").replace("~0", "~").replace("{id}", name)
        if isinstance(document, dict):
            document = document[key]
        elif isinstance(document, list) and key.isascii() and key.isdigit() and int(key) < len(document):
            document = document[int(key)]
        else:
            raise KeyError(key)
    return document


def ended(poll: Poll, name: str, account: Any) -> End | None:
    """How a task ended, by the server's account; None if that does not show an end."""
    try:
        if pointed(account, poll.done_pointer, name) is None:
            return None
    except KeyError:
        return None
    if poll.failed_pointer is None:
        return End("success")
    try:
        outcome = pointed(account, poll.failed_pointer, name)
    except KeyError:
        return End("success")
    text = outcome if isinstance(outcome, str) else json.dumps(outcome)
    return End("failed", f"the server reports {text[:100]}") if text in poll.failed_values else End("success")


def mentions(document: Any, name: str) -> bool:
    """Whether an id stands anywhere in a document, as a value or as a key."""
    todo = [document]
    while todo:
        item = todo.pop()
        if isinstance(item, dict):
            todo += [*item.keys(), *item.values()]
        elif isinstance(item, list):
            todo += item
        elif isinstance(item, str | int) and str(item) == name:
            return True
    return False


# --- looking ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Watch:
    """A task that a server has taken, and how to see its end."""

    connections: Connections
    server: Server
    poll: Poll
    name: str
    #: Of the looks' requests.
    headers: CIMultiDict[str]
    #: Looks may fail for so long in a row.
    patience_seconds: float

    async def end(self, clock: Callable[[], float]) -> End:
        """Wait for the end; the caller limits the time."""
        good = clock()
        while True:
            await asyncio.sleep(self.poll.interval_seconds)
            try:
                end = await self._look()
            except LookError as error:
                if clock() - good >= self.patience_seconds:
                    return End("failed", f"{self.server.spec.name} took the task, then could not be asked: {error}")
                continue
            if end is not None:
                return end
            good = clock()

    async def _look(self) -> End | None:
        end = await self._account()
        if end is not None or self.poll.pending_path is None:
            return end
        if mentions(await self._get(self.poll.pending_path), self.name):
            return None
        # It may have ended between the two looks.
        return await self._account() or End("cancelled", "the server has it no more: it was cancelled there")

    async def _account(self) -> End | None:
        return ended(self.poll, self.name, await self._get(self.poll.path))

    async def _get(self, path: str) -> Any:
        """The JSON at a path of the server.

        Raises:
            LookError: there is none.
        """
        target = path.replace("{id}", quote(self.name, safe=""))
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                answer = await self.connections.request(
                    "GET", self.server.spec.address, target, self.headers, repeatable=True
                )
                async with answer:
                    if answer.status != 200:
                        raise LookError(f"GET {path} was answered with status {answer.status}")
                    return json.loads(await _whole(answer))
        except (aiohttp.ClientError, OSError, ValueError) as error:  # TimeoutError is an OSError
            raise LookError(f"GET {path}: {error or type(error).__name__}") from error


async def _whole(answer: Reply) -> bytes:
    body = bytearray()
    async for chunk in answer.content.iter_any():
        body += chunk
        if len(body) > ACCOUNT_BYTES:
            raise LookError(f"the account has more than {ACCOUNT_BYTES} bytes")
    return bytes(body)


class Overheard:
    """A server's answer of which a copy is kept while it passes. Has of an answer what sinks look at."""

    def __init__(self, upstream: Reply, copy: bytearray) -> None:
        self.status, self.reason, self.headers = upstream.status, upstream.reason, upstream.headers
        self.content = _Copied(upstream.content, copy)


class _Copied:
    """A body that is kept while it is read, as far as an id may be in it."""

    def __init__(self, content: aiohttp.StreamReader, copy: bytearray) -> None:
        self._content = content
        self._copy = copy

    async def readany(self) -> bytes:
        chunk = await self._content.readany()
        if len(self._copy) < ANSWER_BYTES:
            self._copy += chunk
        return chunk

    def at_eof(self) -> bool:
        return self._content.at_eof()

    @property
    def total_bytes(self) -> int:
        return self._content.total_bytes


class Places:
    """At which server each polled task ran: whoever asks after one is led there. Bounded; the oldest are forgotten."""

    def __init__(self, limit: int = PLACES) -> None:
        self._limit = limit
        self._servers: OrderedDict[str, Server] = OrderedDict()

    def __len__(self) -> int:
        return len(self._servers)

    def put(self, name: str, server: Server) -> None:
        """This task is at this server."""
        self._servers[name] = server
        self._servers.move_to_end(name)
        if len(self._servers) > self._limit:
            self._servers.popitem(last=False)

    def get(self, name: str) -> Server | None:
        """Where this task is; None if that is not known."""
        return self._servers.get(name)
