"""What `haipool replay` does once its arguments are read: the only part that touches files, terminal and real time."""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from controller.api.gpupool import GpuPool
from controller.command import CommandError
from controller.replay.engine import Market, Progress, Replay
from controller.replay.loads import SHAPES, Load
from controller.replay.outcome import Outcome, outcome
from controller.replay.poolfile import PoolFileError, load_pool, offers_of
from controller.replay.show import as_json, table
from controller.replay.trace import TokenModel, Trace, TraceError, multiplied, read_azure_trace, read_trace

#: A run that takes longer than this says how far it is, and again after each such time.
PROGRESS_SECONDS: Final = 2.0


def replay(options: argparse.Namespace) -> int:
    """Replay the tasks under each variant of the pool, print the outcome."""
    variants = _variants(options)
    trace = _trace(options)
    runs = []
    for name, pool in variants:
        runs.append((name, _run(pool, trace, options, name)))
    settings = _settings(options, variants[0][1])
    print(as_json(settings, runs) if options.output == "json" else f"{_title(settings)}\n\n{table(runs)}")
    return 0


def _variants(options: argparse.Namespace) -> list[tuple[str, GpuPool]]:
    """The pool as it is with `--set`, and once more for each `--versus`."""
    text = _read(options.pool)
    lists: list[list[tuple[str, str]]] = [options.set, *([*options.set, other] for other in options.versus)]
    try:
        pools = [load_pool(text, changes) for changes in lists]
    except PoolFileError as error:
        raise CommandError(f"{options.pool}: {error}") from error
    for pool in pools:
        _check_deployment(pool, options.deploy_seconds)
    names = [pools[0].metadata.name, *("=".join(other) for other in options.versus)]
    return list(zip(names, pools, strict=True))


def _check_deployment(pool: GpuPool, seconds: float) -> None:
    limit = pool.spec.server.startup_timeout_seconds
    if seconds > limit:
        raise CommandError(
            f"--deploy-seconds {seconds:g}: the pool gives a server up after server.startupTimeoutSeconds, {limit}; "
            "raise that with --set"
        )


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{path}: {error.strerror if isinstance(error, OSError) else error}") from error


def _trace(options: argparse.Namespace) -> Trace:
    if options.generate is not None:
        load = Load(
            seconds=options.hours * 3600.0,
            rate=options.rate * options.load,
            service=options.service_seconds,
            users=max(1, round(options.users * options.load)),
            seed=options.seed,
        )
        trace = SHAPES[options.generate](load)
    else:
        trace = multiplied(_read_trace(options), options.load, seed=options.seed)
    if not len(trace):
        raise CommandError(f"{options.trace or options.generate}: no tasks")
    return trace


def _read_trace(options: argparse.Namespace) -> Trace:
    try:
        with options.trace.open(encoding="utf-8", newline="") as lines:
            if options.format == "haipool":
                return read_trace(lines)
            model = TokenModel(options.seconds_per_context_token, options.seconds_per_generated_token)
            return read_azure_trace(lines, model, users=options.users, seed=options.seed)
    except TraceError as error:
        raise CommandError(f"{options.trace}: {error}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{options.trace}: {error.strerror if isinstance(error, OSError) else error}") from error


def _run(pool: GpuPool, trace: Trace, options: argparse.Namespace, name: str) -> Outcome:
    offers = offers_of(pool.spec, dict(options.price))
    market = Market(offers, options.deploy_seconds, tuple(options.stock))
    return outcome(Replay(pool.spec, trace, market).run(_progress(len(trace), name)))


def _progress(tasks: int, name: str, clock: Callable[[], float] = time.monotonic) -> Progress:
    """Says on stderr how far a long run is."""
    said = clock()

    def say(task: int, at: float) -> None:
        nonlocal said
        if clock() - said >= PROGRESS_SECONDS:
            said = clock()
            print(f"{name}: {100 * task // tasks} % of {tasks:,} tasks, hour {at / 3600:,.1f}", file=sys.stderr)

    return say


def _settings(options: argparse.Namespace, pool: GpuPool) -> dict[str, Any]:
    return {
        "pool": pool.metadata.name,
        "tasks_from": options.generate or str(options.trace),
        "load": options.load,
        "set": ["=".join(change) for change in options.set],
        "deploy_seconds": options.deploy_seconds,
        "offers": {o.bundle: o.price_per_hour for o in offers_of(pool.spec, dict(options.price))},
        "seed": options.seed,
    }


def _title(settings: dict[str, Any]) -> str:
    changes: Sequence[str] = settings["set"]
    parts = [f"pool {settings['pool']}", f"tasks: {settings['tasks_from']}"]
    if settings["load"] != 1:
        parts.append(f"{settings['load']:g} times")
    return ", ".join([*parts, *changes])
