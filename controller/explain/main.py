"""`haipool explain`: arguments and the run itself. Heavy imports wait until the command is called."""

import argparse
import re
from typing import Final

DESCRIPTION = """\
Tells why a pool has the servers it has: what it wants, what it waits for, why it does not grow or shrink, what it
costs, and what it did. Reads the Kubernetes API only, with the rights of the role `view`."""
EPILOG = """\
examples:
  haipool explain sd                          the pool `sd` in the namespace of the current context
  haipool explain sd -n images --since 1h     only the last hour of its history
  haipool explain sd --output json            the same as one JSON object
"""

_UNITS: Final = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `haipool explain`."""
    parser.add_argument("pool", metavar="POOL", help="name of the GpuPool")
    parser.add_argument("--namespace", "-n", help="its namespace (default: that of the current context)")
    parser.add_argument("--kubeconfig", metavar="FILE", help="default: $KUBECONFIG, the pod's account, ~/.kube/config")
    parser.add_argument(
        "--since", type=_duration, default=86400.0, metavar="TIME", help="length of the history: 30m, 1h, 2d (24h)"
    )
    parser.add_argument("--output", "-o", choices=("text", "json"), default="text", help="(default: %(default)s)")


def _duration(text: str) -> float:
    parts = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text)
    if parts is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no length of time; write 90s, 30m, 1h or 2d")
    return float(parts[1]) * _UNITS[parts[2]]


def run(args: argparse.Namespace) -> int:
    """Explain one pool; returns the exit status."""
    from controller.explain.run import explain  # noqa: PLC0415 - the client and the kinds are imported only here

    return explain(args)
