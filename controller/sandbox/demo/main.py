"""`haipool demo`: arguments and the run itself. Heavy imports wait until the command is called."""

import argparse
from pathlib import Path

DESCRIPTION = """\
Starts a sandbox (see `haipool sandbox`), applies the samples, and sends real tasks from three clients at once: A sends
100, B 10, C 20. You see the queue take turns, the pool buy the cheapest servers in stock, a region run out of stock,
and the dearest servers go first when the load is over. Takes about a minute and a half. Exit status 0 only if all
rules held."""
EPILOG = """\
examples:
  haipool demo
  haipool demo --output json > demo.json     figures as one JSON object; progress goes to stderr
  haipool demo --keep                        leaves the sandbox up afterwards, for kubectl
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `haipool demo`."""
    parser.add_argument(
        "--output", "-o", choices=("text", "json"), default="text", help="form of the summary (default: %(default)s)"
    )
    parser.add_argument("--keep", action="store_true", help="leave the sandbox up until Ctrl-C")
    parser.add_argument(
        "--seed", type=int, default=1, metavar="N", help="of the tasks' GPU times (default: %(default)s)"
    )
    parser.add_argument(
        "--dir", type=Path, metavar="DIR", help="folder for kubeconfig, logs and records (default: a temporary one)"
    )


def run(options: argparse.Namespace) -> int:
    """Tell the story; returns 0 only if all rules held."""
    from controller.sandbox.extras import need_sandbox_extra  # noqa: PLC0415 - imported only when called

    need_sandbox_extra()
    from controller.sandbox.demo.run import run_demo  # noqa: PLC0415 - imported only when called

    return run_demo(options)
