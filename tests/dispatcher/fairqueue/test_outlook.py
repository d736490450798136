"""Positions and forecasts are those of the queue's own order."""

from heapq import heappop, heappush

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.dispatcher.fairqueue import FairQueue, Ticket, starts_in

WEIGHTS = st.sampled_from([0.5, 1.0, 1.0, 1.0, 2.0, 4.0])
#: (network, user, what happens to its first task)
COMINGS = st.lists(
    st.tuples(st.sampled_from("ABCD"), st.sampled_from("xyz"), st.sampled_from(["wait", "cancel", "serve", "serve"])),
    max_size=40,
)


def filled(
    comings: list[tuple[str, str, str]], networks: dict[str, float], users: dict[str, float], cost: float
) -> FairQueue:
    """A queue in the middle of its work."""
    queue = FairQueue()
    for number, (network, user, then) in enumerate(comings):
        name = f"{network}.{user}"
        queue.push(Ticket(f"t{number}", network, name, float(number), cost, networks[network], users[user]))
        if then == "cancel":
            queue.remove(f"t{number // 2}")
        elif then == "serve" and number % 3:
            ticket = queue.pop()
            if ticket is not None and number % 2:
                queue.push_back(ticket.task_id)
    return queue


def ids(tickets: list[Ticket]) -> list[str]:
    return [ticket.task_id for ticket in tickets]


def serve_all(queue: FairQueue) -> list[str]:
    served = []
    while (ticket := queue.pop()) is not None:
        served.append(ticket.task_id)
    return served


@given(
    COMINGS,
    st.fixed_dictionaries(dict.fromkeys("ABCD", WEIGHTS)),
    st.fixed_dictionaries(dict.fromkeys("xyz", WEIGHTS)),
    st.sampled_from([1.0, 2.0]),
    st.sets(st.sampled_from("ABCD"), max_size=2),
)
def test_a_position_is_the_number_of_tasks_that_are_served_before(
    comings: list[tuple[str, str, str]],
    networks: dict[str, float],
    users: dict[str, float],
    cost: float,
    parked: set[str],
) -> None:
    queue = filled(comings, networks, users, cost)
    for network in parked & queue.networks().keys():
        queue.park(network, "s1")
    ready = [t.task_id for t in queue if not queue.is_parked(t.network)]
    foretold = {task: queue.position(task) for task in ready}
    order = ids(queue.order())
    assert serve_all(queue) == order
    assert foretold == {task: place for place, task in enumerate(order)}


@given(COMINGS)
def test_a_parked_task_has_the_position_that_it_has_once_its_server_is_free(
    comings: list[tuple[str, str, str]],
) -> None:
    queue = filled(comings, dict.fromkeys("ABCD", 1.0), dict.fromkeys("xyz", 1.0), 1.0)
    for network in {"A", "B"} & queue.networks().keys():
        queue.park(network, "s1")
    for network in {"C"} & queue.networks().keys():
        queue.park(network, "s2")
    foretold = {t.task_id: queue.position(t.task_id) for t in queue if t.network in "AB"}
    queue.unpark("s1")
    order = ids(queue.order())
    assert foretold == {task: order.index(task) for task in foretold}


@given(COMINGS, st.sampled_from([0.5, 2.0, 8.0]))
def test_positions_where_seconds_are_counted_follow_from_the_estimates(
    comings: list[tuple[str, str, str]], seconds: float
) -> None:
    queue = filled(comings, dict.fromkeys("ABCD", 1.0), dict.fromkeys("xyz", 1.0), 1.0)
    queue.configure("Seconds")

    def estimate(ticket: Ticket) -> float:
        return seconds if ticket.network == "A" else 1.0

    foretold = {ticket.task_id: queue.position(ticket.task_id, estimate) for ticket in queue}
    assert foretold == {task: place for place, task in enumerate(ids(queue.order(estimate=estimate)))}


def test_a_position_says_how_a_flood_matters_to_others() -> None:
    queue = FairQueue()
    for number in range(1000):
        queue.push(Ticket(f"A{number}", "A", "A", 0.0))
    queue.push(Ticket("B0", "B", "B", 0.0))
    assert queue.position("A999") == 1000
    assert queue.position("B0") == 1
    assert queue.position("A1") == 2


def test_what_does_not_wait_has_no_position() -> None:
    queue = FairQueue()
    queue.push(Ticket("A0", "A", "A", 0.0))
    queue.pop()
    with pytest.raises(KeyError):
        queue.position("A0")
    with pytest.raises(KeyError):
        queue.position("never heard of")


def test_the_order_can_be_asked_for_in_part() -> None:
    queue = FairQueue()
    for name in ("A1", "A2", "B1", "B2"):
        queue.push(Ticket(name, name[0], name[0], 0.0))
    assert ids(queue.order(3)) == ["A1", "B1", "A2"]
    assert ids(queue.order(0)) == []
    assert len(queue) == 4


# --- forecast --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ahead", "slots", "mean", "remaining", "seconds"),
    [
        (0, 1, 10.0, [], 0.0),
        (0, 1, 10.0, [4.0], 4.0),
        (0, 2, 10.0, [4.0], 0.0),
        (1, 2, 10.0, [4.0], 4.0),
        (2, 2, 10.0, [4.0], 10.0),
        (3, 2, 10.0, [4.0], 14.0),
        (0, 2, 10.0, [100.0, 50.0], 50.0),
        (5, 2, 10.0, [100.0, 50.0], 100.0),
        (5, 2, 10.0, [101.0, 50.0], 100.0),
        (0, 1, 10.0, [-3.0], 0.0),
        (7, 4, 0.0, [3.0, 2.0, 5.0, 4.0], 2.0),
        (0, 1, 10.0, [30.0, 20.0], 30.0),
        (1_000_000, 10, 3.0, [], 300_000.0),
    ],
)
def test_a_task_starts_when_a_slot_is_free_for_it(
    ahead: int, slots: int, mean: float, remaining: list[float], seconds: float
) -> None:
    assert starts_in(ahead, slots=slots, mean=mean, remaining=remaining) == pytest.approx(seconds)


def test_without_a_slot_nobody_knows() -> None:
    assert starts_in(0, slots=0, mean=10.0) is None


@given(
    st.integers(0, 60),
    st.integers(1, 6),
    st.integers(1, 9),
    st.lists(st.integers(0, 50), max_size=6),
)
def test_a_forecast_is_what_a_simulation_would_say(ahead: int, slots: int, mean: int, remaining: list[int]) -> None:
    remaining = remaining[:slots]
    free: list[int] = []
    for seconds in remaining + [0] * (slots - len(remaining)):
        heappush(free, seconds)
    for _ in range(ahead):
        heappush(free, heappop(free) + mean)
    forecast = starts_in(ahead, slots=slots, mean=float(mean), remaining=[float(s) for s in remaining])
    assert forecast == pytest.approx(free[0])
