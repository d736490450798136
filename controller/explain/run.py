"""Read, put together, print."""

import argparse
import asyncio
import shutil
import time

import msgspec

from controller.api.model import InvalidObjectError
from controller.command import CommandError
from controller.explain.explanation import explanation
from controller.explain.gather import NoSuchPoolError, gather
from controller.explain.text import render
from controller.kube.client import KubeError
from controller.kube.connect import ConnectError, load


def explain(args: argparse.Namespace) -> int:
    """Explain one pool.

    Raises:
        CommandError: the API cannot be reached or read, or has no such pool.
    """
    try:
        facts = asyncio.run(gather(load(args.kubeconfig), args.pool, args.namespace))
    except (ConnectError, KubeError, NoSuchPoolError) as error:
        raise CommandError(str(error)) from error
    except InvalidObjectError as error:
        raise CommandError(f"{error}: it was written by another version of haipool") from error
    told = explanation(facts, now=time.time(), since_seconds=args.since)
    if args.output == "json":
        # Unlike in objects, what is not known stands here as null: readers find every field.
        print(msgspec.json.format(msgspec.json.encode(told), indent=2).decode())
    else:
        print(render(told, width=shutil.get_terminal_size().columns))
    return 0
