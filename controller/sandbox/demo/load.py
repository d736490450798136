"""Real load: clients on addresses of their own that send tasks at once and keep what came back."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

import aiohttp

from controller.sandbox import png
from controller.sandbox.demo.evidence import TaskResult

#: What the tasks ask of the GPU servers; the path of Stable Diffusion WebUI's API.
TASK_PATH: Final = "/sdapi/v1/txt2img"
#: A task that is not answered by then has failed; all of them together take about half a minute.
TASK_TIMEOUT_SECONDS: Final = 100.0


@dataclass(slots=True)
class Progress:
    """How far one user's tasks are; read by the live view."""

    sent: int = 0
    answered: int = 0
    results: list[TaskResult] = field(default_factory=list)


class User:
    """One user of the service: everything it sends comes from its own address."""

    def __init__(self, name: str, address: str, url: str, on_result: Callable[[TaskResult], None]) -> None:
        """A user who has sent nothing yet.

        Args:
            name: `A`, say.
            address: loopback address that its connections come from.
            url: the dispatcher's data port.
            on_result: told of every task that ended.
        """
        self.name = name
        self.address = address
        self.progress = Progress()
        self._on_result = on_result
        self._tasks: list[asyncio.Task[None]] = []
        self._session = aiohttp.ClientSession(
            url,
            connector=aiohttp.TCPConnector(limit=0, local_addr=(address, 0)),
            timeout=aiohttp.ClientTimeout(total=TASK_TIMEOUT_SECONDS),
        )

    def send(self, seconds: Iterable[float]) -> None:
        """Send one more task for each of these GPU times, all at once."""
        for each in seconds:
            self.progress.sent += 1
            prompt = f"{self.name}, picture {self.progress.sent}"
            self._tasks.append(asyncio.create_task(self._task(prompt, each)))

    async def finish(self) -> None:
        """Wait until every task has ended, one way or the other."""
        await asyncio.gather(*self._tasks)

    async def close(self) -> None:
        """Give up what is still running, and the connections."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._session.close()

    async def _task(self, prompt: str, seconds: float) -> None:
        result = await self._answer(prompt, seconds)
        self.progress.answered += 1
        self.progress.results.append(result)
        self._on_result(result)

    async def _answer(self, prompt: str, seconds: float) -> TaskResult:
        clock = asyncio.get_running_loop().time
        began = clock()
        try:
            async with self._session.post(TASK_PATH, json={"prompt": prompt, "seconds": seconds}) as response:
                body = await response.read()
                headers = response.headers
                problem = _problem(response.status, body, prompt)
        except (aiohttp.ClientError, TimeoutError) as error:
            return TaskResult(self.name, 0, 0, 0.0, clock() - began, "", problem=repr(error))
        return TaskResult(
            user=self.name,
            number=int(headers.get("X-Haipool-User-Sequence", 0)),
            start_sequence=int(headers.get("X-Haipool-Start-Sequence", 0)),
            wait_seconds=float(headers.get("X-Haipool-Wait-Seconds", 0.0)),
            total_seconds=clock() - began,
            server=headers.get("X-Haipool-Server", ""),
            problem=problem,
        )


def _problem(status: int, body: bytes, prompt: str) -> str:
    """What is wrong with an answer; empty for the whole image that was asked for."""
    if status != 200:
        return f"HTTP {status}: {body[:200].decode('utf-8', 'replace')}"
    try:
        image = png.read(body)
    except png.InvalidPngError as error:
        return f"no whole PNG: {error}"
    drawn = image.text.get(png.PARAMETERS)
    return "" if drawn == prompt else f"the picture of another prompt: {drawn!r}"
