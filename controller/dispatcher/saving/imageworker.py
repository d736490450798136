"""The process that re-encodes images: decoders are the code that hostile images aim at, and the event loop's enemy.

It reads jobs from its standard input and writes what becomes of them to its standard output, one after the other, and
ends when there are none for a while. It may use so much memory and no more; what hangs is killed by who started it.
"""

import argparse
import os
import resource
import select
import sys
from typing import IO, Final, get_args

from controller.dispatcher.saving.imagejobs import HEAD, Format, Recipe
from controller.dispatcher.saving.images import reencode, reencode_json

#: A worker without a job ends after so many seconds.
IDLE_SECONDS: Final = 60.0
#: How much less urgent this is than the dispatcher itself.
NICENESS: Final = 10


def main(argv: list[str]) -> int:
    """Work until there is nothing to do."""
    parser = argparse.ArgumentParser()
    parser.add_argument("format", choices=get_args(Format))
    parser.add_argument("quality", type=int)
    parser.add_argument("max_pixels", type=int)
    parser.add_argument("memory", type=int)
    args = parser.parse_args(argv)
    os.nice(NICENESS)
    resource.setrlimit(resource.RLIMIT_AS, (args.memory, args.memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    work(Recipe(args.format, args.quality, args.max_pixels), sys.stdin.buffer, sys.stdout.buffer)
    return 0


def work(recipe: Recipe, jobs: IO[bytes], results: IO[bytes]) -> None:
    """Do jobs until there are none."""
    # A job is awaited only when the one before was answered, so nothing of it can be in the buffer already.
    while select.select([jobs], [], [], IDLE_SECONDS)[0]:
        head = jobs.read(HEAD.size)
        if len(head) < HEAD.size:
            return
        is_json, size = HEAD.unpack(head)
        body = jobs.read(size)
        if len(body) < size:
            return
        result = (reencode_json if is_json else reencode)(body, recipe)
        results.write(HEAD.pack(result is not None, len(result or b"")))
        results.write(result or b"")
        results.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
