"""The Kubernetes API of the fleet: the sandbox's, with haipool's kinds.

A program of its own: writes a kubeconfig, and ends when its standard input does.
"""

import sys
from pathlib import Path

import uvloop

from controller.sandbox import shipped
from controller.sandbox.kubeapi.server import LocalKubernetes
from tests.bench.fleet.orders import say_hello, serve_orders


async def serve(kubeconfig: Path) -> None:
    """Serve until standard input ends."""
    kubernetes = LocalKubernetes()
    kubernetes.install(shipped.definitions())
    url = await kubernetes.start()
    kubernetes.write_kubeconfig(kubeconfig)
    say_hello(url=url)
    await serve_orders({"counts": lambda: {" ".join(what): n for what, n in kubernetes.counts().items()}})
    await kubernetes.stop()


if __name__ == "__main__":
    uvloop.run(serve(Path(sys.argv[1])))
