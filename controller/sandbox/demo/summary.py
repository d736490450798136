"""The end of the demo: what was measured, as one JSON object or for people."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from controller.api.catalog import REGION_NAMES
from controller.api.times import rfc3339
from controller.sandbox.demo.evidence import Evidence, Launch, Server
from controller.sandbox.demo.rules import Finding


def as_json(evidence: Evidence, findings: Sequence[Finding], *, duration: float) -> dict[str, Any]:
    """Everything that was measured, and whether the rules held.

    Args:
        evidence: what was measured.
        findings: the rules, checked.
        duration: of the whole demo, seconds.
    """
    waits = {user: evidence.waits(user) for user in evidence.sent}
    failed = sum(bool(task.problem) for task in evidence.tasks)
    return {
        "ok": all(finding.ok for finding in findings),
        "served_order": evidence.served_order,
        "mean_wait_s": {user: round(sum(w) / len(w), 3) if w else None for user, w in waits.items()},
        "max_wait_s": {user: round(max(w), 3) if w else None for user, w in waits.items()},
        "launches": [_launch(launch) for launch in evidence.launches],
        "terminations": [_termination(server) for server in evidence.scaled_down],
        "peak_servers": evidence.peak_servers,
        "final_servers": evidence.final_servers,
        "cost_cny": round(evidence.cost, 6),
        "cost_if_dearest_cny": round(evidence.cost_if_dearest, 6),
        "tasks_ok": len(evidence.tasks) - failed,
        "tasks_failed": failed,
        "rules": [{"rule": f.rule, "ok": f.ok, "detail": f.detail} for f in findings],
        "duration_s": round(duration, 3),
    }


def _launch(launch: Launch) -> dict[str, Any]:
    return {
        "time": rfc3339(launch.at),
        "server": launch.server,
        "region": launch.region,
        "bundle": launch.bundle,
        "price_per_hour": launch.price_per_hour,
        "reason": launch.reason,
    }


def _termination(server: Server) -> dict[str, Any]:
    return {
        "time": rfc3339(server.terminate_asked or 0.0),
        "server": server.name,
        "region": server.region,
        "bundle": server.bundle,
        "price_per_hour": server.price_per_hour,
        "reason": server.end_reason,
    }


def print_summary(console: Console, evidence: Evidence, findings: Sequence[Finding], *, duration: float) -> None:
    """The summary for people."""
    console.print(*_parts(evidence, findings, duration=duration), sep="\n")


def _parts(evidence: Evidence, findings: Sequence[Finding], *, duration: float) -> list[RenderableType]:
    saved = 1 - evidence.cost / evidence.cost_if_dearest if evidence.cost_if_dearest else 0.0
    money = Text.assemble(
        ("\nMoney  ", "bold"),
        f"{evidence.cost:.4f} CNY billed by the simulated cloud; with the dearest type alone it would have been "
        f"{evidence.cost_if_dearest:.4f} CNY ({saved:.0%} saved)",
    )
    order = Text.assemble(("\nServed in this order  ", "bold"), " ".join(evidence.served_order))
    return [
        order,
        _section("Waits", _waits(evidence)),
        _section("Bought", _launches(evidence)),
        _section("Destroyed", _terminations(evidence)),
        money,
        _section("Rules", _rules(findings)),
        _verdict(evidence, findings, duration=duration),
    ]


def _section(title: str, table: Table) -> RenderableType:
    return Group(Text(f"\n{title}", style="bold"), table)


def _table(*columns: tuple[str, str]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for name, align in columns:
        table.add_column(name, justify="right" if align == "right" else "left", overflow="fold")
    return table


def _waits(evidence: Evidence) -> Table:
    table = _table(("user", ""), ("tasks", "right"), ("mean wait", "right"), ("longest wait", "right"))
    for user, count in evidence.sent.items():
        waits = evidence.waits(user)
        if waits:
            table.add_row(user, str(count), f"{sum(waits) / len(waits):.1f} s", f"{max(waits):.1f} s")
    return table


def _offer(region: str, bundle: str, price: float) -> tuple[str, str, str]:
    return f"{region} {REGION_NAMES.get(region, '')}", bundle, f"{price:g}"


def _launches(evidence: Evidence) -> Table:
    table = _table(("server", ""), ("region", ""), ("type", ""), ("CNY/h", "right"), ("why", ""))
    for one in evidence.launches:
        why, _, _ = one.reason.partition(" -> ")
        table.add_row(one.server, *_offer(one.region, one.bundle, one.price_per_hour), why)
    return table


def _terminations(evidence: Evidence) -> Table:
    columns = (("server", ""), ("region", ""), ("type", ""), ("CNY/h", "right"), ("billed", "right"), ("why", ""))
    table = _table(*columns)
    for one in evidence.scaled_down:
        why, _, _ = one.end_reason.partition(f": {one.name}")
        offer = _offer(one.region, one.bundle, one.price_per_hour)
        table.add_row(one.name, *offer, f"{one.billed_seconds:.0f} s", why)
    return table


def _rules(findings: Sequence[Finding]) -> Table:
    table = _table(("", ""), ("rule", ""), ("measured", ""))
    for finding in findings:
        mark = Text("✓", style="green") if finding.ok else Text("✗", style="bold red")
        table.add_row(mark, finding.rule, finding.detail)
    return table


def _verdict(evidence: Evidence, findings: Sequence[Finding], *, duration: float) -> Text:
    broken = sum(not finding.ok for finding in findings)
    if broken:
        return Text(f"\n{broken} of {len(findings)} rules were broken ({duration:.0f} s).", style="bold red")
    done = f"All {len(findings)} rules held: {len(evidence.tasks)} tasks, {evidence.peak_servers} servers at the peak"
    return Text(f"\n{done}, {evidence.final_servers} at the end, {duration:.0f} s.", style="bold green")
