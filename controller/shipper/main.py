"""`haipool ship`: arguments. Heavy imports wait until the command is called."""

import argparse
import re
from pathlib import Path

DESCRIPTION = "Sends the record files of a folder to Tencent CLS (日志服务), at least once, and remembers how far."
EPILOG = """\
environment:
  TENCENTCLOUD_SECRET_ID, TENCENTCLOUD_SECRET_KEY   credentials that may cls:UploadLog on the topic (see docs/cloud.md)

examples:
  haipool ship --logs /logs --region ap-guangzhou --topic 5cd3a17e-fb0b-418c-afd7-77b365397426
  haipool ship --logs /logs --region ap-guangzhou --topic ... --once      what is there now, then end

Beside dispatcher and operator it runs as a sidecar: see manifests/cls. How far each file is shipped stands in
.cls-offsets.json in the folder; without it everything is shipped from the start."""

_REGION = re.compile(r"[a-z]{2,}(-[a-z0-9]+)+")
_TOPIC = re.compile(r"[0-9A-Za-z][0-9A-Za-z-]{0,127}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `haipool ship`."""
    parser.add_argument("--logs", required=True, type=Path, metavar="DIR", help="folder with the record files")
    parser.add_argument("--region", required=True, type=_region, help="region of the topic, such as ap-guangzhou")
    parser.add_argument("--topic", required=True, type=_topic, metavar="ID", help="TopicId, not its name")
    parser.add_argument("--pod", help="the source that CLS shows (default: the name of this host)")
    parser.add_argument(
        "--interval",
        type=_positive,
        default=5.0,
        metavar="SECONDS",
        help="time between two looks at the folder (default: %(default)s)",
    )
    parser.add_argument(
        "--grace",
        type=_positive,
        default=20.0,
        metavar="SECONDS",
        help="time to ship what is left when told to end (default: %(default)s)",
    )
    parser.add_argument("--once", action="store_true", help="ship what is there now, and end")
    parser.add_argument("--metrics-port", type=_port, default=9092, help="(default: %(default)s; 0: none)")


def _positive(text: str) -> float:
    value = float(text)
    if not value > 0:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return value


def _port(text: str) -> int:
    value = int(text)
    if not 0 <= value <= 65535:
        raise argparse.ArgumentTypeError(f"{text} is not a port (0 to 65535)")
    return value


def _region(text: str) -> str:
    if not _REGION.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no region; write it as in ap-guangzhou")
    return text


def _topic(text: str) -> str:
    if not _TOPIC.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no TopicId; the CLS console shows it beside the topic's name")
    return text


def run(args: argparse.Namespace) -> int:
    """Ship until a signal ends it; returns the exit status."""
    from controller.shipper.run import run_shipper  # noqa: PLC0415 - the SDK is imported only here

    return run_shipper(args)
