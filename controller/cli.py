"""The `haipool` command.

A subcommand's module is imported only when it is called, so that `--help` answers at once and the dispatcher never
carries kopf or the cloud's SDK in memory. It is a module with DESCRIPTION, EPILOG, `add_arguments(parser)` and
`run(options) -> exit status`, which imports nothing heavy before `run` is called.
"""

import argparse
import importlib
import os
import shutil
import sys
from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol, cast

from controller import __version__
from controller.command import CommandError

#: Exit status after Ctrl-C: 128 + SIGINT, as shells report it.
INTERRUPTED: Final = 130


class Subcommand(Protocol):
    """What the module of a subcommand offers."""

    #: What `haipool COMMAND --help` says before and after the options.
    DESCRIPTION: str
    EPILOG: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the options."""

    def run(self, options: argparse.Namespace) -> int:
        """Do the work and return the exit status."""


class Entry(NamedTuple):
    """Where a subcommand lives and what it is for."""

    module: str
    summary: str


COMMANDS: Final = {
    "operator": Entry("controller.operator.main", "run the Kubernetes operator that buys and destroys GPU servers"),
    "dispatcher": Entry("controller.dispatcher.main", "run the fair task dispatcher of one pool"),
    "explain": Entry("controller.explain.main", "tell why a pool has the servers it has, and what it waits for"),
    "replay": Entry("controller.replay.main", "replay tasks against a pool's settings: cost and waits, in seconds"),
    "ship": Entry("controller.shipper.main", "send the record files to Tencent CLS"),
    "sandbox": Entry("controller.sandbox.main", "run everything on this machine, with a simulated cloud"),
    "demo": Entry("controller.sandbox.demo.main", "show the whole thing at work in under two minutes"),
}

_DESCRIPTION: Final = """\
Pools of Tencent Cloud HAI GPU servers on Kubernetes: the cheapest server in stock is bought first, the dearest is
destroyed first, and no user's flood of tasks delays the others."""

_EXAMPLES: Final = """\
examples:
  haipool demo                           watch a pool grow, serve three users fairly, and shrink again
  haipool demo --output json             the same, measured, as one JSON object
  haipool sandbox                        a local Kubernetes API, a simulated cloud, operator and dispatcher
  haipool replay pool.yaml --trace t.csv what those tasks would have cost, and how long they would have waited
  haipool operator                       in a cluster, or with KUBECONFIG and TENCENTCLOUD_SECRET_ID/_KEY
  haipool dispatcher --pool demo         serve the tasks of the pool `demo`
  haipool explain demo                   why it has the servers it has

`haipool COMMAND --help` explains one command."""


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Keeps the examples as written, and leaves room for the longest command beside its summary."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30, width=min(shutil.get_terminal_size().columns, 110))


def _parser(selected: str | None) -> tuple[argparse.ArgumentParser, Subcommand | None]:
    """The parser; only the selected subcommand is imported and declares its options."""
    parser = argparse.ArgumentParser("haipool", description=_DESCRIPTION, epilog=_EXAMPLES, formatter_class=_Formatter)
    parser.add_argument("--version", action="version", version=f"haipool {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, title="commands")
    module: Subcommand | None = None
    for name, entry in COMMANDS.items():
        if name != selected:
            commands.add_parser(name, help=entry.summary, add_help=False)
            continue
        module = cast("Subcommand", importlib.import_module(entry.module))
        subparser = commands.add_parser(name, help=entry.summary, formatter_class=_Formatter)
        subparser.description, subparser.epilog = module.DESCRIPTION, module.EPILOG
        module.add_arguments(subparser)
    return parser, module


def _selected(arguments: Sequence[str]) -> str | None:
    """The subcommand in the arguments: the first word that is no option."""
    return next((word for word in arguments if not word.startswith("-")), None)


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of the console script.

    Returns:
        0, or what the subcommand says; 1 for an expected failure, 2 for a wrong command line, 130 after Ctrl-C.
    """
    words = sys.argv[1:] if arguments is None else list(arguments)
    try:
        parser, module = _parser(_selected(words))
        options = parser.parse_args(words)
        if module is None:  # Only reached for words such as `--`, which argparse skips and the selection does not.
            parser.error("name a command first")
        return module.run(options)
    except CommandError as error:
        print(f"haipool: {error}", file=sys.stderr)
        return error.status
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of the output went away (`haipool ... | head`): nothing is left to say, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


if __name__ == "__main__":
    sys.exit(main())
