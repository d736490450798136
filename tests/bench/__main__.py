"""`make bench`, or `python -m tests.bench`: measures, prints a table, writes a JSON file."""

import argparse
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from tests.bench import memory, proxying, queueing, report, storing
from tests.bench.fleet import measuring as fleet
from tests.bench.processes import ROOT, BenchError

#: The last one is the operator's, and has a file of its own.
PARTS: Final = ("throughput", "latency", "queue", "memory", "stores", "idle", "operator")
#: A machine with more than this to do beside the benchmark makes absolute figures doubtful.
BUSY: Final = 0.5

_DESCRIPTION: Final = """\
Measures the dispatcher: a real `haipool dispatcher` process, with records and metrics on, against a bare aiohttp+uvloop
reverse proxy and, where it is installed, nginx. All of them run at once, and get the same requests in short rounds that
take turns, so that a machine that is slow for a while is slow for all of them. Trust the ratios, not the requests/s.

Then the operator: a real `haipool operator` process on a core of its own, with 100 pools and 1000 instances in the
sandbox's Kubernetes API and simulated cloud."""

_EPILOG: Final = """\
parts:
  throughput  tasks and pass-through requests over 32 connections; the proxy under test has a core of its own
  latency     the same over one connection, less what the server takes without a proxy between
  queue       microseconds to queue and pick a task with 10 to 100 000 users
  memory      a scheduler that holds 1 000 000 tasks (takes 1.3 GB)
  stores      asynchronous tasks that the stores acknowledge a second; SQLite on the disk under build/
  idle        a dispatcher that does nothing
  operator    CPU, memory and calls of an operator at rest, and how soon it buys (takes three to four minutes)

examples:
  make bench                                   everything, five minutes on two cores
  make bench ARGS=--quick                      a first impression in half a minute
  make bench ARGS='--only throughput'          one part
  make bench ARGS='--only operator --output json' | jq .cpu_cores
  make bench ARGS='--rounds 40 --requests 1000 --only throughput,latency'
  make bench ARGS='--output json' | jq .task_throughput_ratio_to_bare_proxy

It needs Linux, and two cores for figures that mean something. nginx is found on PATH or in /usr/sbin. An answer that is
not as expected, or a count that does not fit, ends it with status 1; a bar that is missed does not."""


def _positive(text: str) -> int:
    number = int(text) if text.isdigit() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1")
    return number


def _parts(text: str) -> list[str]:
    parts = text.split(",")
    for part in parts:
        if part not in PARTS:
            raise argparse.ArgumentTypeError(f"{part!r} is none of {', '.join(PARTS)}")
    return parts


def _pools(text: str) -> tuple[int, ...]:
    return tuple(_positive(number) for number in text.split(","))


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("make bench", description=_DESCRIPTION, epilog=_EPILOG, formatter_class=formatter)
    parser.add_argument("--quick", action="store_true", help="little of everything: a first impression")
    parser.add_argument("--rounds", type=_positive, metavar="N", help="rounds of each proxy (default: 15; quick: 3)")
    parser.add_argument(
        "--requests", type=_positive, metavar="N", help="requests of a round (default: 3000; quick: 600)"
    )
    parser.add_argument("--tasks", type=_positive, metavar="N", help="waiting tasks (default: 1000000; quick: 100000)")
    parser.add_argument("--only", type=_parts, metavar="PART,...", default=list(PARTS), help="parts, see below")
    parser.add_argument("--output", choices=("table", "json"), default="table", help="what to print (%(default)s)")
    parser.add_argument(
        "--file", type=Path, default=ROOT / "build/bench/dispatcher.json", help="where the JSON goes (%(default)s)"
    )
    _add_operator(parser.add_argument_group("the operator's part"))
    options = parser.parse_args(arguments)
    options.rounds = options.rounds or (3 if options.quick else 15)
    options.requests = options.requests or (600 if options.quick else 3000)
    options.tasks = options.tasks or (100_000 if options.quick else 1_000_000)
    options.instances = options.instances or (100 if options.quick else 1000)
    options.seconds = options.seconds or (15 if options.quick else 60)
    return options


def _add_operator(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--pools", type=_pools, metavar="N,...", default=(1, 10, 100), help="numbers of pools (default: 1,10,100)"
    )
    group.add_argument(
        "--instances", type=_positive, metavar="N", help="instances, shared among them (default: 1000; quick: 100)"
    )
    group.add_argument(
        "--interval", type=_positive, metavar="S", default=10, help="scaling.intervalSeconds (default: %(default)s)"
    )
    group.add_argument("--seconds", type=_positive, metavar="S", help="time at rest (default: 60; quick: 15)")
    group.add_argument(
        "--operator-file",
        type=Path,
        default=ROOT / "build/bench/operator.json",
        help="where the JSON goes (%(default)s)",
    )


def measure(options: argparse.Namespace, tell: Callable[[str], None]) -> tuple[dict[str, float], dict[str, Any]]:
    """Measure the dispatcher's parts that are asked for.

    Raises:
        BenchError: something did not answer as it should.
        subprocess.CalledProcessError: a part ended with an error.
    """
    figures: dict[str, float] = {}
    raw: dict[str, Any] = {}
    proxied = [part for part in options.only if part in ("throughput", "latency")]
    if proxied:
        plan = proxying.Plan(options.rounds, options.requests, max(1, options.requests // 10))
        figures, raw = proxying.measure(plan, proxied, tell)
    if "queue" in options.only:
        found, raw["queue"] = queueing.measure(queueing.SIZES, min(2000, options.requests), tell)
        figures |= found
    if "memory" in options.only:
        found, raw["memory"] = memory.measure_queued(options.tasks, tell)
        figures |= found
    if "stores" in options.only:
        found, raw["stores"] = storing.measure(options.requests, tell)
        figures |= found
    if "idle" in options.only:
        found, raw["idle"] = memory.measure_idle(tell)
        figures |= found
    return figures, raw


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point.

    Returns:
        0, whether the bars are met or not; 1 if something could not be measured.
    """
    options = _options(arguments)
    progress = Console(stderr=True)
    if os.getloadavg()[0] > BUSY * len(os.sched_getaffinity(0)):
        progress.print("The machine is busy with something else: trust the ratios only.", style="yellow")
    try:
        with progress.status("starting") as status:
            results = list(_results(options, status.update))
    except BenchError as error:
        progress.print(f"bench: {error}", style="red", markup=False)
        return 1
    except subprocess.CalledProcessError as error:
        progress.print(f"bench: {error}\n{error.stderr.decode()}", style="red", markup=False)
        return 1
    for result in results:
        text = report.as_json(result.figures, result.raw, result.settings)
        result.file.parent.mkdir(parents=True, exist_ok=True)
        result.file.write_text(text + "\n")
        if options.output == "json":
            print(text)
            continue
        result.show()
        progress.print(f"Everything is in {result.file}", soft_wrap=True)
    return 0


@dataclass(frozen=True)
class Result:
    """What was measured of one program."""

    figures: Mapping[str, Any]
    raw: Mapping[str, Any]
    settings: Mapping[str, Any]
    file: Path
    show: Callable[[], None]


def _results(options: argparse.Namespace, tell: Callable[[str], None]) -> Iterator[Result]:
    """Measure what is asked for: the dispatcher's parts, then the operator's."""
    if set(options.only) - {"operator"}:
        figures, raw = measure(options, tell)
        settings = {name: getattr(options, name) for name in ("rounds", "requests", "tasks", "only")}
        yield Result(figures, raw, settings, options.file, partial(report.show, figures, raw, Console()))
    if "operator" in options.only:
        plan = fleet.Plan(options.pools, options.instances, options.interval, float(options.seconds))
        found, about = fleet.measure(plan, tell)
        show = partial(report.show_operator, found, Console())
        yield Result(found, about, asdict(plan), options.operator_file, show)


if __name__ == "__main__":
    sys.exit(main())
