"""`haipool dispatcher`: arguments, logging, and the run itself."""

import argparse

DESCRIPTION = "Queues tasks fairly and proxies them to the servers of one GpuPool."
EPILOG = """\
ports:
  data   takes everything clients send; tasks wait in the fair queue, all else passes through
  admin  /metrics, /-/healthy, /-/ready, /-/queue; for the cluster only

examples:
  haipool dispatcher --pool demo                                   servers from the Kubernetes API
  haipool dispatcher --pool demo --servers-file servers.yaml       servers from a file, without Kubernetes
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `haipool dispatcher`."""
    parser.add_argument("--pool", required=True, help="name of the GpuPool to serve")
    parser.add_argument("--namespace", "-n", help="its namespace (default: the context's or the pod's)")
    parser.add_argument("--kubeconfig", help="default: $KUBECONFIG, the service account, ~/.kube/config")
    parser.add_argument("--servers-file", metavar="FILE", help="YAML: `servers`, optionally `spec`; no Kubernetes")
    parser.add_argument("--api-keys", metavar="FILE", help="lines NAME: SHA256 of the keys that tell users apart")
    parser.add_argument("--host", default="0.0.0.0", help="address of the data port (default: all)")
    parser.add_argument("--port", type=int, default=8080, help="data port (default: %(default)s; 0: any)")
    parser.add_argument("--admin-host", default="0.0.0.0", help="address of the admin port (default: all)")
    parser.add_argument("--admin-port", type=int, default=9090, help="admin port (default: %(default)s; 0: any)")
    parser.add_argument(
        "--admin-token-file", metavar="FILE", help="bearer token that the admin port asks for, probes excepted"
    )
    parser.add_argument("--data", metavar="DIR", help="folder for tasks and bodies; it belongs to one dispatcher only")
    parser.add_argument(
        "--store",
        choices=("memory", "sqlite"),
        help="where asynchronous tasks are kept; memory: there are none (default: sqlite with --data, else memory)",
    )
    parser.add_argument(
        "--spool", metavar="DIR", help="folder for bodies on their way (default: in --data, else the system's)"
    )
    parser.add_argument("--logs", metavar="DIR", help="folder for the records of tasks (default: none are written)")
    parser.add_argument(
        "--record-key", metavar="FILE", help="key that hashes addresses in records (default: one kept in --logs)"
    )
    parser.add_argument(
        "--grace", type=float, default=600.0, metavar="SECONDS", help="time for running tasks at the end (%(default)s)"
    )
    parser.add_argument("--verbose", "-v", action="store_true", help="debug messages too")


def run(args: argparse.Namespace) -> int:
    """Run until a signal ends it; returns the exit status."""
    from controller.dispatcher.run import run_dispatcher  # noqa: PLC0415 - aiohttp is imported only here

    return run_dispatcher(args)
