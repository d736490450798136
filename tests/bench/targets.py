"""What is compared: a real `haipool dispatcher`, the bare proxy, nginx, and the origin behind all of them."""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from tests.bench.load import Order, Outcome
from tests.bench.processes import BenchError, Processes

#: The benchmark's pool has more slots than there are connections: the queue's own cost is measured, and no wait in it.
SERVERS: Final = 4
SLOTS_EACH: Final = 16
#: A process must have opened its ports by then, seconds.
START_SECONDS: Final = 30.0

_NGINX: Final = """\
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log stderr error;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  keepalive_requests 1000000000;
  upstream origin {{
    server 127.0.0.1:{origin};
    keepalive 64;
    keepalive_requests 1000000000;
  }}
  server {{
    listen 127.0.0.1:{port} backlog=1024;
    location / {{
      proxy_pass http://origin;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    }}
  }}
}}
"""

T = TypeVar("T")


@dataclass(frozen=True)
class Target:
    """What requests are sent to."""

    name: str
    port: int
    pid: int


@dataclass(frozen=True)
class Dispatcher(Target):
    """A running `haipool dispatcher`."""

    admin_port: int
    #: Folder of its records.
    logs: Path

    def metrics(self) -> str:
        """Its metrics page."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin_port}/metrics", timeout=10) as answer:
            return str(answer.read().decode())

    def records(self) -> int:
        """Task records that it has written so far."""
        return sum(file.read_bytes().count(b"\n") for file in self.logs.rglob("task_processing_*.log"))


def start_origin(processes: Processes) -> Target:
    """Start the server behind all proxies."""
    process = processes.module("origin", on=processes.other_cores)
    return Target("direct", _said_port(process), process.pid)


def start_bare(processes: Processes, origin: Target) -> Target:
    """Start the reference proxy."""
    process = processes.module("bareproxy", str(origin.port), on=processes.proxy_cores)
    return Target("bare", _said_port(process), process.pid)


def start_nginx(processes: Processes, origin: Target) -> Target | None:
    """Start nginx; None where it is not installed."""
    program = shutil.which("nginx", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
    if program is None:
        return None
    folder = processes.folder / "nginx"
    folder.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config = folder / "nginx.conf"
    config.write_text(_NGINX.format(folder=folder, origin=origin.port, port=port))
    command = [program, "-e", "stderr", "-p", str(folder), "-c", str(config)]
    process = processes.start(command, on=processes.proxy_cores)

    def listening() -> bool | None:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            return None
        return True

    _until(listening, process, lambda: "nginx does not start")
    return Target("nginx", port, process.pid)


def start_dispatcher(processes: Processes, origin: Target) -> Dispatcher:
    """Start a dispatcher whose pool has its servers at the origin."""
    folder = processes.folder / "dispatcher"
    folder.mkdir()
    file, log, logs = folder / "servers.yaml", folder / "stderr", folder / "logs"
    names = [f"gpu-{number}" for number in range(1, SERVERS + 1)]
    servers = [{"name": n, "address": f"http://127.0.0.1:{origin.port}", "slots": SLOTS_EACH} for n in names]
    spec = {"queue": {"maxTasksPerUser": 100000, "maxTasks": 1000000}}
    # JSON is YAML.
    file.write_bytes(msgspec.json.encode({"servers": servers, "spec": spec}))
    command = [sys.executable, "-m", "controller.cli", "dispatcher"]
    command += ["--pool", "bench", "--servers-file", str(file), "--spool", str(folder), "--logs", str(logs)]
    command += ["--host", "127.0.0.1", "--port", "0", "--admin-host", "127.0.0.1", "--admin-port", "0"]
    with log.open("w") as stderr:
        process = processes.start(command, on=processes.proxy_cores, stderr=stderr)

    def ports() -> dict[str, int] | None:
        found = re.findall(r"(admin|data) port: \S+:(\d+)$", log.read_text(), re.MULTILINE)
        return {name: int(port) for name, port in found} if len(found) == 2 else None

    port = _until(ports, process, log.read_text)
    return Dispatcher("dispatcher", port["data"], process.pid, port["admin"], logs)


def _said_port(process: "subprocess.Popen[str]") -> int:
    """The port that one of our own programs prints first."""
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise BenchError(f"{process.args!r} ended at its start")
    return int(line)


def _until(look: Callable[[], T | None], process: "subprocess.Popen[str]", why: Callable[[], str]) -> T:
    """Look until there is something."""
    deadline = time.monotonic() + START_SECONDS
    while (found := look()) is None:
        if process.poll() is not None or time.monotonic() > deadline:
            raise BenchError(f"{process.args!r} did not open its ports:\n{why()}")
        time.sleep(0.02)
    return found


class Load:
    """The clients."""

    def __init__(self, processes: Processes) -> None:
        self._process = processes.module("load", on=processes.other_cores)

    def drive(self, target: Target, kind: str, *, connections: int, requests: int, warmup: int) -> Outcome:
        """Send so many requests.

        Raises:
            BenchError: an answer was not as expected.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        order = Order(target.port, kind, connections, requests, warmup)
        self._process.stdin.write(msgspec.json.encode(order).decode() + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        outcome = msgspec.json.decode(line, type=Outcome) if line else Outcome(error="the load generator ended")
        if outcome.error:
            raise BenchError(f"{target.name}, {kind}: {outcome.error}")
        return outcome
