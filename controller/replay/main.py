"""`haipool replay`: arguments, files, progress. Heavy imports wait until the command is called."""

import argparse
from pathlib import Path

DESCRIPTION = """\
Replays tasks against a pool's settings under a virtual clock: the operator's own decisions and the dispatcher's own
fair queue, over a month of tasks in seconds. Shows what it would have cost and how long people would have waited.
Nothing is bought, no cluster is asked, and the pool's file is all that is read besides the tasks.

Tasks come from --trace, a CSV file with the columns arrival_s (seconds since the start), user and service_s (seconds of
work on a server of speed 1), or are made up by --generate. The pool starts with its minimum Ready. CPU is the share of
busy slots, servers do not fail, and prices are samples unless --price or the pool's gpuTypes name others."""
EPILOG = """\
examples:
  haipool replay pool.yaml --trace tasks.csv
  haipool replay pool.yaml --trace tasks.csv --load 20                twenty times as many tasks
  haipool replay pool.yaml --trace tasks.csv --set scaling.up.step=3  with another setting
  haipool replay pool.yaml --trace tasks.csv --versus scaling.up.step=3 --versus replicas.min=2
                                                                      as it is, and two others beside it
  haipool replay pool.yaml --trace requests.csv --format azure        a public trace of an LLM service
  haipool replay pool.yaml --generate bursts --rate 0.02 --hours 48   tasks made up
  haipool replay pool.yaml --trace tasks.csv --output json | jq '.runs[0].cost_cny'
"""
#: Names in controller.replay.loads, kept here so that `--help` imports nothing.
SHAPES = ("poisson", "diurnal", "bursts", "heavy-user")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `haipool replay`."""
    parser.add_argument("pool", type=Path, metavar="POOL.yaml", help="file with the GpuPool")
    _tasks(parser.add_argument_group("tasks"))
    _model(parser.add_argument_group("tasks made up, and tokens"))
    _what_if(parser.add_argument_group("pool and cloud"))
    parser.add_argument(
        "--output", "-o", choices=("text", "json"), default="text", help="form of the result (default: %(default)s)"
    )


def _tasks(group: "argparse._ArgumentGroup") -> None:
    source = group.add_mutually_exclusive_group(required=True)
    source.add_argument("--trace", type=Path, metavar="FILE", help="CSV file with the tasks")
    source.add_argument("--generate", choices=SHAPES, metavar="SHAPE", help=f"make tasks up: {', '.join(SHAPES)}")
    group.add_argument(
        "--format",
        choices=("haipool", "azure"),
        default="haipool",
        help="of the trace; azure: TIMESTAMP, ContextTokens, GeneratedTokens (default: %(default)s)",
    )
    group.add_argument(
        "--load",
        type=_above_zero,
        default=1.0,
        metavar="N",
        help="that many times as many tasks; copies belong to users of their own, and come up to a minute later",
    )
    group.add_argument("--seed", type=int, default=1, metavar="N", help="of all chance (default: %(default)s)")


def _model(group: "argparse._ArgumentGroup") -> None:
    group.add_argument("--rate", type=_above_zero, default=0.02, metavar="R", help="tasks per second (%(default)g)")
    group.add_argument("--hours", type=_above_zero, default=24.0, metavar="H", help="how long (%(default)g)")
    group.add_argument(
        "--service-seconds", type=_above_zero, default=30.0, metavar="S", help="mean work of a task (%(default)g)"
    )
    group.add_argument(
        "--users", type=_count, default=20, metavar="N", help="users of made-up and azure tasks (%(default)d)"
    )
    group.add_argument(
        "--seconds-per-context-token", type=_not_negative, default=0.0002, metavar="S", help="azure (%(default)g)"
    )
    group.add_argument(
        "--seconds-per-generated-token", type=_not_negative, default=0.02, metavar="S", help="azure (%(default)g)"
    )


def _what_if(group: "argparse._ArgumentGroup") -> None:
    group.add_argument(
        "--set", type=_setting, action="append", default=[], metavar="PATH=VALUE", help="change a field of spec"
    )
    group.add_argument(
        "--versus",
        type=_setting,
        action="append",
        default=[],
        metavar="PATH=VALUE",
        help="a further run with this changed too, shown beside the first; repeat for more",
    )
    group.add_argument(
        "--deploy-seconds",
        type=_not_negative,
        default=180.0,
        metavar="S",
        help="from purchase to Ready (default: %(default)g)",
    )
    group.add_argument("--price", type=_price, action="append", default=[], metavar="BUNDLE=CNY", help="price per hour")
    group.add_argument(
        "--stock", type=_stock, action="append", default=[], metavar="BUNDLE=N", help="sold out at N servers"
    )


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
    if not abs(value) <= 1e12:
        raise argparse.ArgumentTypeError(f"{text} is not a number that can be meant")
    return value


def _above_zero(text: str) -> float:
    value = _number(text)
    if value <= 0:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return value


def _not_negative(text: str) -> float:
    value = _number(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text} is below 0")
    return value


def _count(text: str) -> int:
    value = _number(text)
    if value < 1 or value != int(value):
        raise argparse.ArgumentTypeError(f"{text} is not a whole number above 0")
    return int(value)


def _setting(text: str) -> tuple[str, str]:
    path, equals, value = text.partition("=")
    if not (path and equals):
        raise argparse.ArgumentTypeError(f"{text!r}: write PATH=VALUE, scaling.up.step=2 say")
    return path.strip(), value


def _price(text: str) -> tuple[str, float]:
    bundle, value = _of_bundle(text)
    return bundle, _above_zero(value)


def _stock(text: str) -> tuple[str, int]:
    bundle, value = _of_bundle(text)
    return bundle, int(_not_negative(value))


def _of_bundle(text: str) -> tuple[str, str]:
    from controller.api.catalog import BUNDLES  # noqa: PLC0415 - `--help` need not read the kinds

    bundle, _, value = text.partition("=")
    if bundle not in BUNDLES:
        raise argparse.ArgumentTypeError(f"{bundle!r} is none of {', '.join(BUNDLES)}")
    return bundle, value


def run(options: argparse.Namespace) -> int:
    """Replay and print; returns the exit status."""
    from controller.replay.command import replay  # noqa: PLC0415 - imported only when called

    return replay(options)
