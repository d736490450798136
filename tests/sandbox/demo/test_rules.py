"""The checks of the demo: a run that keeps every rule, and for each rule runs that break just that one."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from controller.sandbox.demo.evidence import Evidence, Launch, OfferSeen, Refusal, Server, TaskResult
from controller.sandbox.demo.rules import RULES, check

SENT = {"A": 4, "B": 1, "C": 2}
ORDER = ["A1", "B1", "C1", "A2", "C2", "A3", "A4"]

XL_BEIJING = OfferSeen("ap-beijing", "XL", 0.88)
XL_NANJING = OfferSeen("ap-nanjing", "XL", 0.88)
BIG_SHANGHAI = OfferSeen("ap-shanghai", "3XL", 2.41)


def task(label: str, place: int) -> TaskResult:
    """A task that started at that place and waited that long."""
    return TaskResult(label[0], int(label[1:]), place, wait_seconds=float(place), total_seconds=place + 1.0, server="s")


def launch(server: str, at: float, offer: OfferSeen, *in_stock: OfferSeen) -> Launch:
    return Launch(at, server, offer.region, offer.bundle, offer.price_per_hour, "LongQueue: 16 > 15", in_stock)


def server(name: str, offer: OfferSeen, bought: float, *, destroyed: float | None, served: int) -> Server:
    """Ready after 5 s, gone 1 s after it was destroyed, billed all the while."""
    seconds = (100.0 if destroyed is None else destroyed + 1.0) - bought
    return Server(
        name=name,
        instance_id=f"hai-{name}",
        region=offer.region,
        bundle=offer.bundle,
        price_per_hour=offer.price_per_hour,
        bought=bought,
        ready=bought + 5.0,
        terminate_asked=destroyed,
        gone=None if destroyed is None else destroyed + 1.0,
        billed_seconds=seconds,
        cost=offer.price_per_hour * seconds / 3600,
        end_reason="" if destroyed is None else "LowLoad: low for 6 s",
        max_in_flight=1,
        slots=1,
        served=served,
    )


SERVERS = (
    server("demo-1", XL_BEIJING, 0.0, destroyed=None, served=3),
    server("demo-2", XL_NANJING, 10.0, destroyed=80.0, served=2),
    server("demo-3", BIG_SHANGHAI, 20.0, destroyed=60.0, served=2),
)

GOOD = Evidence(
    sent=SENT,
    tasks=tuple(task(label, place) for place, label in enumerate(ORDER, start=1)),
    launches=(
        launch("demo-1", 0.0, XL_BEIJING, XL_NANJING, XL_BEIJING, BIG_SHANGHAI),
        launch("demo-2", 10.0, XL_NANJING, XL_NANJING, BIG_SHANGHAI),
        launch("demo-3", 20.0, BIG_SHANGHAI, BIG_SHANGHAI),
    ),
    refusals=(Refusal(19.0, "ap-nanjing", "XL"),),
    servers=SERVERS,
    drought=("ap-nanjing", 15.0),
    min_replicas=1,
    min_lifetime_seconds=10.0,
    unowned=(),
    pool_spend=sum(one.cost for one in SERVERS) + 0.001,
    prices=(0.88, 2.41, 6.60),
)


def broken(evidence: Evidence) -> list[str]:
    return [finding.rule for finding in check(evidence) if not finding.ok]


def with_task(place: int, **changes: object) -> Evidence:
    tasks = list(GOOD.tasks)
    tasks[place - 1] = replace(tasks[place - 1], **changes)  # type: ignore[arg-type]
    return replace(GOOD, tasks=tuple(tasks))


def with_server(index: int, **changes: object) -> Evidence:
    servers = list(GOOD.servers)
    servers[index] = replace(servers[index], **changes)  # type: ignore[arg-type]
    return replace(GOOD, servers=tuple(servers))


def with_launch(index: int, **changes: object) -> Evidence:
    launches = list(GOOD.launches)
    launches[index] = replace(launches[index], **changes)  # type: ignore[arg-type]
    return replace(GOOD, launches=tuple(launches))


def test_a_run_that_keeps_the_rules_breaks_none_and_tells_all() -> None:
    findings = check(GOOD)
    assert [finding.rule for finding in findings] == list(RULES)
    assert broken(GOOD) == []
    assert all(finding.detail for finding in findings)


def _swapped() -> Evidence:
    tasks = [replace(t, start_sequence={2: 3, 3: 2}.get(t.start_sequence, t.start_sequence)) for t in GOOD.tasks]
    return replace(GOOD, tasks=tuple(tasks))


CASES: list[tuple[str, Callable[[], Evidence], str]] = [
    ("served round-robin", _swapped, "place 2 was C1, not B1"),
    ("served round-robin", lambda: with_task(7, start_sequence=0), "6 tasks were started, not 7"),
    ("every task served", lambda: with_task(4, problem="HTTP 503: no server"), "1 of 7 failed, first A2: HTTP 503"),
    ("every task served", lambda: with_server(0, served=4), "7 were sent, 7 answered, 8 computed"),
    ("nobody waits", lambda: with_task(2, wait_seconds=50.0), "B waited as long as C"),
    ("no server takes more", lambda: with_server(1, max_in_flight=2), "demo-2 had 2 tasks at once with 1 slots"),
    ("always buys", lambda: with_launch(2, in_stock=(XL_NANJING, BIG_SHANGHAI)), "while XL in ap-nanjing was in stock"),
    ("always buys", lambda: with_launch(1, in_stock=(XL_BEIJING, XL_NANJING)), "while XL in ap-beijing was in stock"),
    ("always buys", lambda: with_launch(0, in_stock=()), "demo-1 was bought while nothing was in stock"),
    ("sold out means", lambda: replace(GOOD, drought=None), "no region was run out"),
    ("sold out means", lambda: replace(GOOD, drought=("ap-nanjing", 5.0)), "something was bought in ap-nanjing"),
    ("sold out means", lambda: replace(GOOD, drought=("ap-nanjing", 25.0)), "nothing was bought any more"),
    ("destroys the dearest", lambda: with_server(1, terminate_asked=50.0, gone=51.0), "demo-2 (0.88 CNY/h) went"),
    ("keeps each server", lambda: with_server(2, ready=50.0), "demo-3 was destroyed after 10.0 s"),
    ("keeps each server", lambda: with_server(2, ready=None), "demo-3 was destroyed before it served"),
    ("returns to the minimum", lambda: replace(GOOD, min_replicas=2), "1 servers are left, the minimum is 2"),
    ("returns to the minimum", lambda: replace(GOOD, min_replicas=0), "1 servers are left, the minimum is 0"),
    ("no instance without", lambda: replace(GOOD, unowned=("hp1-x",)), "no GpuInstance stands for hp1-x"),
    ("no instance without", lambda: with_server(2, gone=None), "still billed although destroyed: demo-3"),
    ("money agrees", lambda: replace(GOOD, pool_spend=0.0), "apart by more than"),
    ("money agrees", lambda: replace(GOOD, pool_spend=GOOD.pool_spend * 2), "apart by more than"),
    ("every decision", lambda: with_launch(1, reason=""), "no reason given for demo-2"),
    ("every decision", lambda: with_server(2, end_reason=""), "no reason given for demo-3"),
]


@pytest.mark.parametrize(("rule", "evidence", "told"), CASES, ids=[f"{rule}-{told}" for rule, _, told in CASES])
def test_each_rule_is_broken_by_what_breaks_it_and_by_nothing_else(
    rule: str, evidence: Callable[[], Evidence], told: str
) -> None:
    findings = [finding for finding in check(evidence()) if not finding.ok]
    assert [finding.rule[: len(rule)] for finding in findings] == [rule]
    assert told in findings[0].detail


def test_every_rule_has_a_run_that_breaks_it() -> None:
    assert {rule for rule in RULES if any(rule.startswith(case) for case, _, _ in CASES)} == set(RULES)


def test_a_run_in_which_nothing_happened_keeps_no_rule_by_accident() -> None:
    """Nothing measured must not read as nothing wrong: all that needs an event to hold is broken."""
    nothing = replace(GOOD, tasks=(), launches=(), refusals=(), servers=(), drought=None, unowned=(), pool_spend=0.0)
    assert len(broken(nothing)) >= 8


def test_figures_of_the_evidence() -> None:
    assert GOOD.served_order == ORDER
    assert GOOD.peak_servers == 3
    assert GOOD.final_servers == 1
    assert [one.name for one in GOOD.scaled_down] == ["demo-3", "demo-2"]
    assert GOOD.cost == pytest.approx((100 * 0.88 + 71 * 0.88 + 41 * 2.41) / 3600)
    assert GOOD.cost_if_dearest == pytest.approx((100 + 71 + 41) * 6.60 / 3600)
    assert GOOD.waits("C") == [3.0, 5.0]
