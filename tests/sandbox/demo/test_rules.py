"""The checks of the demo: a run that keeps every rule, and for each rule runs that break just that one."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from controller.sandbox.demo.evidence import Evidence, OfferSeen
from controller.sandbox.demo.rules import RULES, check

XL_BEIJING = OfferSeen("ap-beijing", "XL", 0.88)
XL_NANJING = OfferSeen("ap-nanjing", "XL", 0.88)
BIG_SHANGHAI = OfferSeen("ap-shanghai", "3XL", 2.41)


def broken(evidence: Evidence) -> list[str]:
    return [finding.rule for finding in check(evidence) if not finding.ok]


def with_task(good: Evidence, place: int, **changes: object) -> Evidence:
    tasks = list(good.tasks)
    tasks[place - 1] = replace(tasks[place - 1], **changes)  # type: ignore[arg-type]
    return replace(good, tasks=tuple(tasks))


def with_server(good: Evidence, index: int, **changes: object) -> Evidence:
    servers = list(good.servers)
    servers[index] = replace(servers[index], **changes)  # type: ignore[arg-type]
    return replace(good, servers=tuple(servers))


def with_launch(good: Evidence, index: int, **changes: object) -> Evidence:
    launches = list(good.launches)
    launches[index] = replace(launches[index], **changes)  # type: ignore[arg-type]
    return replace(good, launches=tuple(launches))


def test_a_run_that_keeps_the_rules_breaks_none_and_tells_all(good: Evidence) -> None:
    findings = check(good)
    assert [finding.rule for finding in findings] == list(RULES)
    assert broken(good) == []
    assert all(finding.detail for finding in findings)


def _swapped(good: Evidence) -> Evidence:
    tasks = [replace(t, start_sequence={2: 3, 3: 2}.get(t.start_sequence, t.start_sequence)) for t in good.tasks]
    return replace(good, tasks=tuple(tasks))


CASES: list[tuple[str, Callable[[Evidence], Evidence], str]] = [
    ("served round-robin", _swapped, "place 2 was C1, not B1"),
    ("served round-robin", lambda good: with_task(good, 7, start_sequence=0), "6 tasks were started, not 7"),
    (
        "every task served",
        lambda good: with_task(good, 4, problem="HTTP 503: no server"),
        "1 of 7 failed, first A2: HTTP 503",
    ),
    ("every task served", lambda good: with_server(good, 0, served=4), "7 were sent, 7 answered, 8 computed"),
    ("nobody waits", lambda good: with_task(good, 2, wait_seconds=50.0), "B waited as long as C"),
    (
        "no server takes more",
        lambda good: with_server(good, 1, max_in_flight=2),
        "demo-2 had 2 tasks at once with 1 slots",
    ),
    (
        "always buys",
        lambda good: with_launch(good, 2, in_stock=(XL_NANJING, BIG_SHANGHAI)),
        "while XL in ap-nanjing was in stock",
    ),
    (
        "always buys",
        lambda good: with_launch(good, 1, in_stock=(XL_BEIJING, XL_NANJING)),
        "while XL in ap-beijing was in stock",
    ),
    ("always buys", lambda good: with_launch(good, 0, in_stock=()), "demo-1 was bought while nothing was in stock"),
    ("sold out means", lambda good: replace(good, drought=None), "no region was run out"),
    ("sold out means", lambda good: replace(good, drought=("ap-nanjing", 5.0)), "something was bought in ap-nanjing"),
    ("sold out means", lambda good: replace(good, drought=("ap-nanjing", 25.0)), "nothing was bought any more"),
    (
        "destroys the dearest",
        lambda good: with_server(good, 1, terminate_asked=50.0, gone=51.0),
        "demo-2 (0.88 CNY/h) went",
    ),
    ("keeps each server", lambda good: with_server(good, 2, ready=50.0), "demo-3 was destroyed after 10.0 s"),
    ("keeps each server", lambda good: with_server(good, 2, ready=None), "demo-3 was destroyed before it served"),
    ("returns to the minimum", lambda good: replace(good, min_replicas=2), "1 servers are left, the minimum is 2"),
    ("returns to the minimum", lambda good: replace(good, min_replicas=0), "1 servers are left, the minimum is 0"),
    ("no instance without", lambda good: replace(good, unowned=("hp1-x",)), "no GpuInstance stands for hp1-x"),
    ("no instance without", lambda good: with_server(good, 2, gone=None), "still billed although destroyed: demo-3"),
    ("money agrees", lambda good: replace(good, pool_spend=0.0), "apart by more than"),
    ("money agrees", lambda good: replace(good, pool_spend=good.pool_spend * 2), "apart by more than"),
    ("every decision", lambda good: with_launch(good, 1, reason=""), "no reason given for demo-2"),
    ("every decision", lambda good: with_server(good, 2, end_reason=""), "no reason given for demo-3"),
]


@pytest.mark.parametrize(("rule", "broken_by", "told"), CASES, ids=[f"{rule}-{told}" for rule, _, told in CASES])
def test_each_rule_is_broken_by_what_breaks_it_and_by_nothing_else(
    good: Evidence, rule: str, broken_by: Callable[[Evidence], Evidence], told: str
) -> None:
    findings = [finding for finding in check(broken_by(good)) if not finding.ok]
    assert [finding.rule[: len(rule)] for finding in findings] == [rule]
    assert told in findings[0].detail


def test_every_rule_has_a_run_that_breaks_it() -> None:
    assert {rule for rule in RULES if any(rule.startswith(case) for case, _, _ in CASES)} == set(RULES)


def test_a_run_in_which_nothing_happened_keeps_no_rule_by_accident(good: Evidence) -> None:
    """Nothing measured must not read as nothing wrong: all that needs an event to hold is broken."""
    nothing = replace(good, tasks=(), launches=(), refusals=(), servers=(), drought=None, unowned=(), pool_spend=0.0)
    assert len(broken(nothing)) >= 8


def test_figures_of_the_evidence(good: Evidence) -> None:
    assert good.served_order == ["A1", "B1", "C1", "A2", "C2", "A3", "A4"]
    assert good.peak_servers == 3
    assert good.final_servers == 1
    assert [one.name for one in good.scaled_down] == ["demo-3", "demo-2"]
    assert good.cost == pytest.approx((100 * 0.88 + 71 * 0.88 + 41 * 2.41) / 3600)
    assert good.cost_if_dearest == pytest.approx((100 + 71 + 41) * 6.60 / 3600)
    assert good.waits("C") == [3.0, 5.0]
