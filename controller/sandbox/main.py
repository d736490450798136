"""`haipool sandbox`: everything on this machine until Ctrl-C. Heavy imports wait until the command is called."""

import argparse
from pathlib import Path

DESCRIPTION = """\
Starts, on loopback addresses: a small Kubernetes API, a simulated Tencent Cloud that sells GPU servers, a real HTTP
server for each that is bought, and in front of them the real operator and the real dispatcher. Keeps them up until
Ctrl-C. Nothing leaves this machine and nothing costs money."""
EPILOG = """\
examples:
  haipool sandbox                                  free ports; prints how to use it
  haipool sandbox --port-base 18000 --dir ./box    the same ports and the same kubeconfig every time
  haipool sandbox --deploy-seconds 120             deployments as slow as the real ones
  haipool sandbox --speed 3XL=2                    3XL servers work twice as fast
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `haipool sandbox`."""
    parser.add_argument("--pool", default="demo", help="pool that the dispatcher serves (default: %(default)s)")
    parser.add_argument(
        "--port-base", type=_port, metavar="PORT", help="use the five ports from this one on (default: free ports)"
    )
    parser.add_argument(
        "--dir", type=Path, metavar="DIR", help="folder for kubeconfig, logs and records (default: a temporary one)"
    )
    parser.add_argument(
        "--server-port", type=_port, default=7860, metavar="PORT", help="port of the GPU servers (default: %(default)s)"
    )
    parser.add_argument(
        "--deploy-seconds",
        type=_seconds,
        default=3.0,
        metavar="S",
        help="from purchase to running; the real cloud takes minutes (default: %(default)g)",
    )
    parser.add_argument(
        "--task-seconds",
        type=_seconds,
        default=1.0,
        metavar="S",
        help="GPU time of a task whose body names no `seconds` (default: %(default)g)",
    )
    parser.add_argument(
        "--speed",
        type=_speed,
        action="append",
        default=[],
        metavar="BUNDLE=FACTOR",
        help="speed of a GPU type relative to the others; repeat for more (default: 1 for all)",
    )


def _port(text: str) -> int:
    value = int(text)
    if not 1024 <= value <= 65530:
        raise argparse.ArgumentTypeError(f"{text} is not a port from 1024 to 65530")
    return value


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 3600:
        raise argparse.ArgumentTypeError(f"{text} is not a number of seconds from 0 to 3600")
    return value


def _speed(text: str) -> tuple[str, float]:
    from controller.api.catalog import BUNDLES  # noqa: PLC0415 - `--help` need not read the kinds

    bundle, _, factor = text.partition("=")
    if bundle not in BUNDLES:
        raise argparse.ArgumentTypeError(f"{bundle!r} is none of {', '.join(BUNDLES)}")
    try:
        value = float(factor)
    except ValueError:
        value = 0.0
    if not 0 < value <= 1000:
        raise argparse.ArgumentTypeError(f"{text!r}: write BUNDLE=FACTOR with a factor above 0, {bundle}=2 say")
    return bundle, value


def run(options: argparse.Namespace) -> int:
    """Run until a signal or until a process of it ends; returns the exit status."""
    from controller.sandbox.extras import need_sandbox_extra  # noqa: PLC0415 - imported only when called

    need_sandbox_extra()
    from controller.sandbox.keep import run_sandbox  # noqa: PLC0415 - imported only when called

    return run_sandbox(options)
