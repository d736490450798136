"""A fleet that runs: the helper programs, the real operator, and what can be read of them at a moment."""

import asyncio
import os
import re
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

from controller.api.names import parse_instance_name
from controller.sandbox.cloudsim import SANDBOX_KEY
from controller.sandbox.loopback import free_port
from tests.bench.fleet.orders import Helper
from tests.bench.fleet.seed import Pool, Size, plant
from tests.bench.processes import BenchError, Processes, cpu_seconds

#: The operator must have decided on every pool by then, seconds.
START_SECONDS: Final = 180.0


@dataclass(frozen=True)
class Moment:
    """Counters of one operator at one time."""

    at: float
    cpu: float
    #: Requests to the Kubernetes API, `METHOD plural`.
    api: Counter[str]
    #: Requests to the cloud by action.
    cloud: Counter[str]
    #: Decisions by upper bound of their seconds.
    decisions: dict[float, float]


class Fleet:
    """One fleet and its operator."""

    def __init__(self, processes: Processes, size: Size, template: Path) -> None:
        self.size = size
        self._processes = processes
        self._folder = processes.folder / f"{size.pools}-pools"
        self._folder.mkdir()
        on = processes.other_cores
        kubeconfig = self._folder / "kubeconfig"
        self._cluster = Helper("cluster", processes.module("fleet.cluster", str(kubeconfig), on=on))
        self._account = Helper("account", processes.module("fleet.account", on=on))
        self.pages = Helper("pages", processes.module("fleet.pages", str(template), on=on))
        self._metrics_port = free_port()
        self.log = self._folder / "operator.log"
        self.pools: list[Pool] = []
        self.pid = 0

    def plant(self) -> None:
        """Write the pools, presets and instances."""
        url = self._cluster.hello["url"]
        self.pools = asyncio.run(plant(url, self._account, self.pages, self.size, time.time()))

    def start_operator(self) -> None:
        """Start the operator as users do, with its own defaults."""
        command = [sys.executable, "-m", "controller.cli", "operator", "--liveness-port", "0"]
        command += ["--metrics-port", str(self._metrics_port)]
        env = {
            **os.environ,
            "KUBECONFIG": str(self._folder / "kubeconfig"),
            "HAIPOOL_CLOUD_ENDPOINT": self._account.hello["url"],
            "TENCENTCLOUD_SECRET_ID": SANDBOX_KEY.secret_id,
            "TENCENTCLOUD_SECRET_KEY": SANDBOX_KEY.secret_key,
        }
        with self.log.open("w") as log:
            on = self._processes.proxy_cores
            self._operator = self._processes.start(command, on=on, env=env, stdout=log, stderr=log)
        self.pid = self._operator.pid

    def await_decisions(self) -> None:
        """Wait until every pool was decided on.

        Raises:
            BenchError: it takes too long, or the operator has ended.
        """
        deadline = time.monotonic() + START_SECONDS
        while self._decided() < self.size.pools:
            if self._operator.poll() is not None or time.monotonic() > deadline:
                tail = self.log.read_text()[-3000:]
                raise BenchError(f"the operator does not decide on all of {self.size.pools} pools:\n{tail}")
            time.sleep(0.2)

    def _decided(self) -> int:
        """Pools with at least one decision."""
        try:
            found = self._metrics()
        except OSError:
            return 0
        return len(set(re.findall(r'haipool_decisions_total\{[^}]*namespace="([^"]+)"', found)))

    def _metrics(self) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self._metrics_port}/metrics", timeout=10) as answer:
            return str(answer.read().decode())

    def moment(self) -> Moment:
        """The counters now."""
        decisions = {
            float(sample.labels["le"]): sample.value
            for family in text_string_to_metric_families(self._metrics())
            for sample in family.samples
            if sample.name == "haipool_decision_seconds_bucket"
        }
        api, cloud = Counter(self._cluster.ask("counts")), Counter(self._account.ask("counts"))
        return Moment(time.time(), cpu_seconds(self.pid), api, cloud, decisions)

    def rss_mb(self) -> tuple[float, float]:
        """Resident memory of the operator, now and at most, MB (10^6 bytes)."""
        text = Path(f"/proc/{self.pid}/status").read_text()
        found = dict(re.findall(r"^(VmRSS|VmHWM):\s+(\d+) kB$", text, re.MULTILINE))
        return int(found["VmRSS"]) * 1024 / 1e6, int(found["VmHWM"]) * 1024 / 1e6

    def first_purchases(self) -> dict[str, float]:
        """Unix seconds of the first RunInstances of each pool that bought, by its page."""
        first: dict[str, float] = {}
        pages: Mapping[str, str] = {pool.uid[:8]: pool.page for pool in self.pools}
        for at, name, _outcome in self._account.ask("purchases"):
            mark = parse_instance_name(name)
            if mark is not None and mark.pool in pages:
                first.setdefault(pages[mark.pool], at)
        return first

    def purchases(self) -> int:
        """RunInstances so far."""
        return len(self._account.ask("purchases"))


def percentile(decisions: Mapping[float, float], share: float) -> float:
    """A quantile of a histogram's buckets, linear inside the bucket; its lower end in the last, open one.

    Args:
        decisions: observations up to each upper bound, cumulative.
        share: 0 to 1.
    """
    bounds = sorted(decisions)
    wanted, below, lower = decisions[bounds[-1]] * share, 0.0, 0.0
    for bound in bounds:
        count = decisions[bound]
        if count >= wanted and count > below:
            return lower if bound == float("inf") else lower + (bound - lower) * (wanted - below) / (count - below)
        below, lower = count, bound
    return lower
