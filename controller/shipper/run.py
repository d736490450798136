"""The process of `haipool ship`: signals, metrics, and the loop."""

import argparse
import asyncio
import contextlib
import logging
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from prometheus_client import CollectorRegistry, start_http_server

from controller.api.records import Records
from controller.cloud.errors import CloudError
from controller.cloud.tencent import Settings, SettingsError
from controller.cloud.tencent.cls import ClsTopic
from controller.command import CommandError
from controller.records.writer import RecordWriter
from controller.shipper.metrics import ShipperCollector
from controller.shipper.offsets import Offsets
from controller.shipper.ship import Shipper
from controller.shipper.telltale import Telltale

logger = logging.getLogger(__name__)

#: Of its own alerts only: what is kept for how long is for the process to say that writes the folder.
KEEP_ALL: Final = Records(retention_days=3650, max_bytes=1099511627776)
#: Time between two looks at whether there is something to tell.
LOOK_SECONDS: Final = 1.0


def run_shipper(args: argparse.Namespace) -> int:
    """Run until SIGTERM or SIGINT, or once.

    Raises:
        CommandError: the folder, the credentials or the topic are not there.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    folder: Path = args.logs
    if not folder.is_dir():
        raise CommandError(f"--logs {folder}: there is no such folder")
    try:
        settings = Settings.from_environment()
        offsets = Offsets(folder, f"{args.region}/{args.topic}")
        return asyncio.run(_run(args, settings, offsets))
    except SettingsError as error:
        raise CommandError(str(error)) from error


async def _run(args: argparse.Namespace, settings: Settings, offsets: Offsets) -> int:
    topic = ClsTopic(settings, region=args.region, topic=args.topic)
    shipper = Shipper(args.logs, topic, offsets, pod=args.pod or socket.gethostname())
    try:
        if args.once:
            return await _once(shipper)
        with _alerts(args.logs) as writer, _metrics(args.metrics_port, shipper):
            await _until_stopped(args, shipper, Telltale(writer))
    finally:
        await topic.close()
    return 0


async def _once(shipper: Shipper) -> int:
    try:
        await shipper.round()
    except (CloudError, OSError) as error:
        raise CommandError(f"{shipper.tally.shipped} records are shipped, then: {error}") from error
    dropped = sum(shipper.tally.dropped.values())
    print(f"{shipper.tally.shipped} records are shipped, {dropped} cannot be")
    return 1 if dropped else 0


async def _until_stopped(args: argparse.Namespace, shipper: Shipper, telltale: Telltale) -> None:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    logger.info("%s is shipped to topic %s in %s", args.logs, args.topic, args.region)
    telling = asyncio.create_task(_tell(telltale, shipper))
    try:
        await shipper.run(stop, interval=args.interval, grace=args.grace)
    finally:
        telling.cancel()
        await asyncio.gather(telling, return_exceptions=True)
        telltale.look(shipper.tally, now=time.time())


async def _tell(telltale: Telltale, shipper: Shipper) -> None:
    while True:
        telltale.look(shipper.tally, now=time.time())
        await asyncio.sleep(LOOK_SECONDS)


@contextlib.contextmanager
def _alerts(folder: Path) -> Iterator[RecordWriter]:
    writer = RecordWriter(folder, types=("alerts",))
    writer.start(KEEP_ALL)
    try:
        yield writer
    finally:
        writer.close(5.0)


@contextlib.contextmanager
def _metrics(port: int, shipper: Shipper) -> Iterator[None]:
    if not port:
        yield
        return
    registry = CollectorRegistry()
    registry.register(ShipperCollector(shipper.tally))
    server, thread = start_http_server(port, addr="0.0.0.0", registry=registry)
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
