"""Orders to the benchmark's helper programs: a JSON line in, a JSON line out."""

import asyncio
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import msgspec

from tests.bench.processes import BenchError

#: Does one order; its keyword arguments are the order's fields.
Handler = Callable[..., Any]


async def serve_orders(handlers: Mapping[str, Handler]) -> None:
    """Carry out orders from standard input until it ends. What a handler raises goes back as the answer."""
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        order = msgspec.json.decode(line)
        try:
            answer = {"ok": handlers[order.pop("do")](**order)}
        except (ValueError, LookupError, OSError) as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(msgspec.json.encode(answer).decode(), flush=True)


class Asked(Protocol):
    """What does orders, in this process or another."""

    @property
    def hello(self) -> Mapping[str, Any]:
        """Where it is."""

    def ask(self, do: str, **fields: Any) -> Any:
        """Give an order and wait for the answer."""


class Helper:
    """A helper program, seen from the benchmark."""

    def __init__(self, name: str, process: "subprocess.Popen[str]") -> None:
        self.name = name
        self._process = process
        self._hello: dict[str, Any] = self._answer()

    @property
    def hello(self) -> Mapping[str, Any]:
        """What it printed at its start."""
        return self._hello

    def ask(self, do: str, **fields: Any) -> Any:
        """Give an order and wait for the answer.

        Raises:
            BenchError: it cannot do it, or has ended.
        """
        assert self._process.stdin is not None
        self._process.stdin.write(msgspec.json.encode({"do": do, **fields}).decode() + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        answer = msgspec.json.decode(line) if line else {"error": "it has ended"}
        if "error" in answer:
            raise BenchError(f"{self.name}: {answer['error']}")
        return answer["ok"]


def say_hello(**facts: Any) -> None:
    """The first line of a helper program: it is ready, and where."""
    print(msgspec.json.encode({"ok": facts}).decode(), flush=True)
