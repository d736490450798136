"""The figures, held to their bars: as a table for people, as JSON for everything else."""

import importlib.metadata
import json
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from math import log10
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from controller import __version__


@dataclass(frozen=True)
class Line:
    """One figure in the table."""

    title: str
    unit: str = ""
    at_least: float | None = None
    at_most: float | None = None

    @property
    def bar(self) -> str:
        """The bar as text; empty where there is none."""
        if self.at_least is not None:
            return f">= {self.at_least:g}"
        return "" if self.at_most is None else f"<= {self.at_most:g}"

    def met(self, value: float) -> bool | None:
        """Whether the figure meets its bar; None where there is none."""
        if self.at_least is not None:
            return value >= self.at_least
        return None if self.at_most is None else value <= self.at_most


LINES: Final = {
    "task_throughput_ratio_to_bare_proxy": Line("tasks/s, ratio to the bare proxy", at_least=0.7),
    "task_cpu_ratio_to_bare_proxy": Line("CPU a task, bare proxy's to ours"),
    "task_throughput_ratio_to_nginx": Line("tasks/s, ratio to nginx"),
    "passthrough_throughput_ratio_to_bare_proxy": Line("pass-through/s, ratio to the bare proxy", at_least=0.85),
    "passthrough_cpu_ratio_to_bare_proxy": Line("CPU a request, bare proxy's to ours"),
    "passthrough_throughput_ratio_to_nginx": Line("pass-through/s, ratio to nginx"),
    "added_latency_p50_ms": Line("added latency of a task, p50", "ms", at_most=1.0),
    "added_latency_p99_ms": Line("added latency of a task, p99", "ms"),
    "passthrough_added_latency_p50_ms": Line("added latency of pass-through, p50", "ms"),
    "passthrough_added_latency_p99_ms": Line("added latency of pass-through, p99", "ms"),
    "pick_us_at_10_users": Line("queue and pick a task, 10 users", "us"),
    "pick_us_at_100_users": Line("queue and pick a task, 100 users", "us"),
    "pick_us_at_1000_users": Line("queue and pick a task, 1 000 users", "us"),
    "pick_us_at_10000_users": Line("queue and pick a task, 10 000 users", "us"),
    "pick_us_at_100000_users": Line("queue and pick a task, 100 000 users", "us", at_most=5.0),
    #: Logarithmic at worst: 10 000 times as many users may cost log(100 000) / log(10) times as much.
    "pick_growth": Line("growth from 10 to 100 000 users", "x", at_most=log10(100_000)),
    "settle_us_at_100000_users": Line("settle a task, 100 000 users", "us"),
    "pick_us_at_100000_users_in_seconds": Line("the same with fairness Seconds: queue and pick", "us"),
    "settle_us_at_100000_users_in_seconds": Line("the same with fairness Seconds: settle", "us"),
    "rss_mb_at_1000000_tasks": Line("memory with 1 000 000 waiting tasks", "MB", at_most=1500),
    "memory_store_acknowledged_per_second": Line("tasks that the memory store acknowledges", "/s"),
    "memory_store_lives_per_second": Line("tasks kept, claimed and ended in it", "/s"),
    "sqlite_store_acknowledged_per_second": Line("tasks that the SQLite store acknowledges", "/s"),
    "sqlite_store_lives_per_second": Line("tasks kept, claimed and ended in it", "/s"),
    "idle_rss_mb": Line("memory of an idle dispatcher, resident", "MB", at_most=70),
    "idle_pss_mb": Line("memory of an idle dispatcher, its own share", "MB"),
}

#: The operator's part has a file of its own. Figures by number of pools are objects.
OPERATOR_LINES: Final = {
    "cpu_cores": Line("CPU at rest", "cores", at_most=0.5),
    "cpu_cores_while_buying": Line("CPU while every pool buys a server", "cores"),
    "rss_mb": Line("memory, resident, at most", "MB", at_most=256),
    "rss_mb_steady": Line("memory at rest, resident", "MB"),
    "decision_p99_s": Line("a decision, p99", "s", at_most=1.0),
    "decision_p99_at_rest_s": Line("a decision at rest, p99", "s"),
    "decision_p99_while_buying_s": Line("a decision while all buy, p99", "s"),
    "trigger_to_purchase_p99_s": Line("trigger to RunInstances, p99", "s"),
    "trigger_to_purchase_p50_s": Line("trigger to RunInstances, p50", "s"),
    "trigger_to_purchase_over_interval_s": Line("p99 beyond one interval", "s", at_most=1.0),
    "api_calls_per_minute": Line("requests to the Kubernetes API a minute"),
    "cloud_calls_per_minute": Line("requests to the cloud a minute, by pools"),
    #: One round of prices of a region more or less in this minute is no growth.
    "cloud_calls_growth": Line("of the most pools to those of one", "x", at_most=1.1),
    "interval_s": Line("time between two decisions", "s"),
}


def as_json(figures: Mapping[str, Any], raw: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    """Everything that was measured, the figures at the top level."""
    bars = {
        name: {"bar": line.bar, "met": line.met(figures[name])}
        for name, line in (LINES | OPERATOR_LINES).items()
        if name in figures and line.bar
    }
    now = datetime.now(UTC).isoformat(timespec="seconds")
    about = {"measured_at": now, "settings": settings, "machine": machine(), "versions": versions()}
    return json.dumps({**figures, "bars": bars, **about, "raw": raw}, indent=2)


def show(figures: Mapping[str, float], raw: Mapping[str, Any], console: Console) -> None:
    """Print the tables."""
    if "throughput" in raw:
        console.print(_proxies(raw["throughput"]))
    console.print(_figures("the dispatcher against its bars", figures, LINES))


def show_operator(figures: Mapping[str, Any], console: Console) -> None:
    """Print the operator's table."""
    console.print(_figures("the operator against its bars", figures, OPERATOR_LINES))


def _figures(title: str, figures: Mapping[str, Any], lines: Mapping[str, Line]) -> Table:
    table = Table(title=title, title_justify="left", header_style="")
    for column, justify in (("figure", "left"), ("measured", "right"), ("bar", "right"), ("", "left")):
        table.add_column(column, justify="right" if justify == "right" else "left")
    for name, value in figures.items():
        line = lines.get(name, Line(name.replace("_", " ")))
        if isinstance(value, Mapping):
            told = ", ".join(f"{key}: {_number(each)}" for key, each in value.items())
            table.add_row(line.title, told, line.bar, "")
            continue
        table.add_row(line.title, f"{_number(value)} {line.unit}".strip(), line.bar, _verdict(line.met(value)))
    return table


def _verdict(met: bool | None) -> str:
    return "" if met is None else "[green]met[/]" if met else "[red]missed[/]"


def _number(value: float) -> str:
    return f"{value:.3f}" if value < 10 else f"{value:.1f}"


def _proxies(raw: Mapping[str, Any]) -> Table:
    """Requests a second and CPU time of every proxy."""
    table = Table(title="medians of the rounds", title_justify="left", header_style="")
    for column in ("requests", "proxy"):
        table.add_column(column)
    for column in ("per second", "p50 ms", "p99 ms", "CPU us each"):
        table.add_column(column, justify="right")
    for kind, title in (("task", "tasks"), ("pass", "pass-through")):
        for proxy, kinds in raw.items():
            median = {field: spread["median"] for field, spread in kinds[kind].items()}
            cells = (f"{median['per_second']:.0f}", f"{median['p50_ms']:.2f}", f"{median['p99_ms']:.2f}")
            table.add_row(title, proxy, *cells, f"{median['cpu_us']:.0f}")
    return table


def machine() -> dict[str, Any]:
    """What this ran on."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "processor": _first(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text()) or platform.machine(),
        "memory_mb": int(_first(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text()) or 0) * 1024 // 1_000_000,
        "kernel": platform.release(),
        "load_average": os.getloadavg()[0],
    }


def versions() -> dict[str, str]:
    """Of everything that was measured."""
    found = {name: importlib.metadata.version(name) for name in ("aiohttp", "uvloop", "msgspec", "multidict")}
    found |= {"haipool": __version__, "python": platform.python_version()}
    nginx = shutil.which("nginx", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
    if nginx:
        said = subprocess.run([nginx, "-v"], capture_output=True, text=True, check=True).stderr
        found["nginx"] = _first(r"nginx/(\S+)", said) or said
    return found


def _first(pattern: str, text: str) -> str | None:
    match = re.search(pattern, text)
    return match[1] if match else None
