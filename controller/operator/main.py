"""`haipool operator`: arguments, logging, and the run itself. Heavy imports wait until the command is called."""

import argparse
from ipaddress import IPv4Network, IPv6Network, ip_network

DESCRIPTION = "Buys and destroys HAI instances for every GpuPool, by the scaling rules."
EPILOG = """\
environment:
  TENCENTCLOUD_SECRET_ID, TENCENTCLOUD_SECRET_KEY   credentials (see docs/cloud.md for workload identity and roles)
  KUBECONFIG                                        outside a cluster; inside, the service account is used

examples:
  haipool operator                                  all namespaces
  haipool operator --namespace haipool-system       one namespace
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `haipool operator`."""
    parser.add_argument("--namespace", "-n", help="serve only this namespace (default: all)")
    parser.add_argument(
        "--cloud-interval",
        type=_positive,
        default=5.0,
        metavar="SECONDS",
        help="time for which one listing of a region serves all pools (default: %(default)s)",
    )
    parser.add_argument(
        "--leak-audit",
        choices=("report", "delete"),
        default="report",
        help="what becomes of instances with haipool's mark that no GpuInstance owns and no pool takes over: "
        "reported, or also destroyed (default: %(default)s)",
    )
    parser.add_argument(
        "--leak-audit-interval",
        type=_positive,
        default=60.0,
        metavar="SECONDS",
        help="time between two looks for such instances (default: %(default)s)",
    )
    parser.add_argument(
        "--no-lease",
        action="store_true",
        help="decide without holding the Lease haipool-operator; only where nothing else can start a second operator",
    )
    parser.add_argument(
        "--billing-reconciliation",
        choices=("on", "off"),
        default="on",
        help="compare each pool's ledger with Tencent's bill once a day (default: %(default)s)",
    )
    parser.add_argument(
        "--dispatcher-url",
        metavar="URL",
        help="metrics URL for pools that name none in spec.metrics (default: the Service POOL-dispatcher-headless)",
    )
    parser.add_argument(
        "--logs", metavar="DIR", help="folder for the records of servers, costs and alerts (default: none are written)"
    )
    parser.add_argument(
        "--allow-webhooks-to",
        type=_network,
        action="append",
        default=[],
        metavar="NETWORK",
        help="notifications may also go to this network, as in 10.1.2.0/24, and over plain http there (may be "
        "repeated; default: to public addresses only)",
    )
    parser.add_argument(
        "--liveness-port", type=_port, default=8081, help="port of /healthz (default: %(default)s; 0: none)"
    )
    parser.add_argument(
        "--metrics-port", type=_port, default=9091, help="port of /metrics (default: %(default)s; 0: none)"
    )
    parser.add_argument("--log-format", choices=("plain", "json"), default="plain", help="(default: %(default)s)")
    parser.add_argument("--verbose", "-v", action="store_true", help="debug messages too")


def _positive(text: str) -> float:
    value = float(text)
    if not value > 0:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return value


def _network(text: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{error}; a network looks like 10.1.2.0/24") from None


def _port(text: str) -> int:
    value = int(text)
    if not 0 <= value <= 65535:
        raise argparse.ArgumentTypeError(f"{text} is not a port (0 to 65535)")
    return value


def run(args: argparse.Namespace) -> int:
    """Run until a signal ends it; returns the exit status."""
    from controller.operator.run import run_operator  # noqa: PLC0415 - kopf and the SDK are imported only here

    return run_operator(args)
