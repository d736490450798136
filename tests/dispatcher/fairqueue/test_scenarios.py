"""What users meet with, over hours, in a simulator: the cases in which other queues turned out unfair.

Each case is also run with first come, first served, or with the key that lets it go wrong: the measure must tell.
"""

import random
from collections.abc import Callable, Iterator

import pytest

from controller.dispatcher.fairqueue import Fairness, FairQueue
from controller.dispatcher.fairqueue.turns import ROOM
from tests.dispatcher.fairqueue.simulator import FirstComeFirstServed, Queue, Simulation, Task, backlog, simulate

#: Shares are those of a long run, which ends in the middle of somebody's task.
CLOSE = 0.03


@pytest.mark.parametrize(("fairness", "share"), [("Tasks", 60 / 63), ("Seconds", 0.5)])
def test_a_user_of_long_tasks_gets_half_the_servers_only_where_seconds_are_counted(
    fairness: Fairness, share: float
) -> None:
    """Both kinds come by the same route, so that every estimate is wrong, and only settlement tells them apart."""
    outcome = simulate(
        FairQueue(fairness), backlog("long", 1000, 60.0), backlog("short", 20000, 3.0), servers=4, until=6000.0
    )
    assert outcome.share("long") == pytest.approx(share, abs=CLOSE)


def test_the_share_of_long_tasks_is_all_where_the_first_come_is_served_first() -> None:
    """Negative control."""
    outcome = simulate(
        FirstComeFirstServed(), backlog("long", 1000, 60.0), backlog("short", 20000, 3.0), servers=4, until=6000.0
    )
    assert outcome.share("long") > 0.99


@pytest.mark.parametrize(("first", "second"), [(60.0, 3.0), (3.0, 60.0)])
def test_seconds_are_shared_evenly_whatever_comes_first(first: float, second: float) -> None:
    outcome = simulate(
        FairQueue("Seconds"), backlog("a", 20000, first), backlog("b", 20000, second), servers=8, until=6000.0
    )
    assert outcome.share("a") == pytest.approx(0.5, abs=CLOSE)


@pytest.mark.parametrize("fairness", ["Tasks", "Seconds"])
def test_weights_of_networks_are_their_shares(fairness: Fairness) -> None:
    loads = [backlog(name, 4000, 3.0, network_weight=weight) for name, weight in (("a", 1.0), ("b", 2.0), ("c", 4.0))]
    outcome = simulate(FairQueue(fairness), *loads, servers=2, until=3000.0)
    assert [outcome.share(name) for name in "abc"] == pytest.approx([1 / 7, 2 / 7, 4 / 7], abs=CLOSE)


@pytest.mark.parametrize("fairness", ["Tasks", "Seconds"])
def test_weights_of_users_are_their_shares_of_their_network_and_take_nothing_from_others(fairness: Fairness) -> None:
    loads = [
        backlog(name, 4000, 3.0, network="a", user_weight=weight, flow=name)
        for name, weight in (("a+x", 1.0), ("a+y", 3.0))
    ]
    queue = FairQueue(fairness)
    outcome = simulate(queue, *loads, backlog("b", 4000, 3.0), servers=2, until=3000.0)
    assert outcome.share("a") == pytest.approx(0.5, abs=CLOSE)
    done_x, done_y = 4000 - queue.waiting_of("a+x"), 4000 - queue.waiting_of("a+y")
    assert done_y / done_x == pytest.approx(3.0, rel=0.05)


@pytest.mark.parametrize("fairness", ["Tasks", "Seconds"])
def test_where_every_user_is_a_network_the_weights_of_its_network_and_key_multiply(fairness: Fairness) -> None:
    a = backlog("user_a_1", 4000, 3.0, network="user_a_1", network_weight=2.0, user_weight=3.0)
    b = backlog("user_b_1", 4000, 3.0, network="user_b_1")
    outcome = simulate(FairQueue(fairness), a, b, servers=2, until=3000.0)
    assert outcome.share("user_a_1") == pytest.approx(6 / 7, abs=CLOSE)


# --- floods ----------------------------------------------------------------------------------------------------------


def flood(at: float = 0.0) -> list[Task]:
    """400 tasks of one user at once, and three others who send one each half minute."""
    return backlog("flood", 400, 4.0, at) + [
        Task(at + 30.0 * n + 1.0, f"light{k}", 4.0) for n in range(20) for k in range(3)
    ]


LIGHT = [f"light{k}" for k in range(3)]


@pytest.mark.parametrize("fairness", ["Tasks", "Seconds"])
def test_a_flood_of_400_tasks_costs_the_light_users_a_task_or_two(fairness: Fairness) -> None:
    outcome = simulate(FairQueue(fairness), flood())
    assert outcome.mean_wait(*LIGHT) < 4 * 4.0
    assert max(wait for name in LIGHT for wait in outcome.waits[name]) < 6 * 4.0


def test_a_flood_of_400_tasks_costs_the_light_users_a_quarter_of_an_hour_where_the_first_come_is_first() -> None:
    """Negative control."""
    assert simulate(FirstComeFirstServed(), flood()).mean_wait(*LIGHT) > 900


def test_a_lone_user_has_all_servers() -> None:
    outcome = simulate(FairQueue("Seconds"), backlog("alone", 400, 4.0), servers=4)
    assert outcome.end == 400.0


def after_the_hour(share_by: str) -> float:
    """What a user gets after the hour who flooded before it and goes on, beside two others who come then."""
    queue = FairQueue()

    def user(ip: str, window: int, tasks: int, at: float) -> list[Task]:
        name = f"user_{ip}_{window}"
        return backlog(name, tasks, 3.0, at, network=name if share_by == "User" else ip, flow=ip)

    simulation = Simulation(queue, 1, 3600.0 + 1800.0)
    simulation.add(user("f", 1, 3000, 0.0) + user("f", 2, 1000, 3600.0))
    simulation.add(user("g", 2, 1000, 3600.0) + user("h", 2, 1000, 3600.0))
    order = simulation.run().order[1200:]
    return sum(network in ("f", "user_f_1", "user_f_2") for network in order) / len(order)


def test_a_flood_before_the_hour_gains_nothing_after_it() -> None:
    assert after_the_hour("Network") == pytest.approx(1 / 3, abs=CLOSE)


def test_where_every_user_is_a_network_the_hour_gives_a_second_share() -> None:
    """`shareBy: User` is the literal form, and this is its price; the other one must be able to tell."""
    assert after_the_hour("User") == pytest.approx(1 / 2, abs=CLOSE)


# --- cheap identities ------------------------------------------------------------------------------------------------


def subscriber(network_of: Callable[[str], str], fairness: Fairness) -> float:
    """What an honest user gets who asks for a third of the server, beside 20 addresses of one /64 that ask for all."""
    honest = [Task(9.0 * n, "198.51.100.7", 3.0) for n in range(400)]
    attack = [
        task
        for k in range(20)
        for task in backlog(f"user_{k}", 300, 3.0, network=network_of(f"2001:db8::{k:x}"), flow=f"2001:db8::{k:x}")
    ]
    return simulate(FairQueue(fairness), attack, honest, until=3600.0).share("198.51.100.7")


@pytest.mark.parametrize("fairness", ["Tasks", "Seconds"])
def test_twenty_addresses_of_one_64_have_one_share(fairness: Fairness) -> None:
    assert subscriber(lambda _: "2001:db8::/64", fairness) == pytest.approx(1 / 3, abs=CLOSE)


def test_twenty_addresses_have_twenty_shares_where_each_counts_by_itself() -> None:
    """Negative control: what a queue with one level makes of it."""
    assert subscriber(lambda address: address, "Tasks") == pytest.approx(1 / 21, abs=CLOSE)


@pytest.mark.parametrize("fairness", ["Tasks", "Seconds"])
def test_a_new_user_for_every_task_gains_nothing_inside_a_network(fairness: Fairness) -> None:
    attack = [Task(n * 1.0, f"user_{n}", 3.0, network="2001:db8::/64", flow=f"2001:db8::{n:x}") for n in range(3600)]
    outcome = simulate(FairQueue(fairness), attack, backlog("honest", 2000, 3.0), until=3600.0)
    assert outcome.share("honest") == pytest.approx(0.5, abs=CLOSE)


@pytest.mark.parametrize("fairness", ["Tasks", "Seconds"])
def test_a_new_network_for_every_task_starves_nobody(fairness: Fairness) -> None:
    """Whoever has that many networks has most of the servers, but not all: V goes on."""
    tasks = 30 * ROOM
    queue = FairQueue(fairness)
    attack = [Task(n * 1.0, f"net{n}", 1.0) for n in range(2 * tasks)]
    outcome = simulate(queue, attack, backlog("honest", 100, 1.0), until=float(tasks))
    served = len(outcome.waits["honest"])
    assert served >= tasks // ROOM - 1
    assert len(queue._networks) <= ROOM + len(queue) + 2, "those who came once and never again are forgotten"


# --- all kinds of users ----------------------------------------------------------------------------------------------


def zipf(users: int = 40, tasks: int = 6000) -> Iterator[Task]:
    """Users whose numbers of tasks follow Zipf's law; 1.6 times as many as one server can do."""
    rng = random.Random(7)
    shares = [1 / (rank + 1) for rank in range(users)]
    for number in range(tasks):
        user = rng.choices(range(users), shares)[0]
        yield Task(number * 1.0, f"u{user}", rng.expovariate(1 / 1.6))


@pytest.mark.parametrize(("make", "fair"), [(FairQueue, True), (FirstComeFirstServed, False)])
def test_few_heavy_users_do_not_slow_many_light_ones(make: Callable[[], Queue], fair: bool) -> None:
    outcome = simulate(make(), zipf())
    light = [f"u{rank}" for rank in range(10, 40)]
    assert (outcome.mean_wait(*light) < 60.0) is fair


@pytest.mark.parametrize("fairness", ["Tasks", "Seconds"])
def test_who_sends_one_task_after_the_other_gets_half_beside_a_flood(fairness: Fairness) -> None:
    """It drains with every task and comes back: its turn must be remembered (1 of 600 against 120 otherwise)."""
    simulation = Simulation(FairQueue(fairness), 1, 3600.0)
    simulation.add([*backlog("flood", 4000, 3.0), Task(0.5, "trickle", 3.0)])
    simulation.on_end = lambda task, now: [Task(now, "trickle", 3.0)] if task.user == "trickle" else []
    assert simulation.run().share("trickle") == pytest.approx(0.5, abs=CLOSE)


@pytest.mark.parametrize("fairness", ["Tasks", "Seconds"])
def test_who_keeps_one_task_at_a_time_is_not_served_twice_a_round(fairness: Fairness) -> None:
    """Draining and returning within a round gains nothing against two who have tasks all the time."""
    simulation = Simulation(FairQueue(fairness), 1, 3600.0)
    simulation.add([*backlog("a", 4000, 3.0), *backlog("b", 4000, 3.0), Task(0.5, "trickle", 3.0)])
    simulation.on_end = lambda task, now: [Task(now, "trickle", 3.0)] if task.user == "trickle" else []
    outcome = simulation.run()
    assert [outcome.share(name) for name in ("a", "b", "trickle")] == pytest.approx([1 / 3] * 3, abs=CLOSE)


@pytest.mark.parametrize("fairness", ["Tasks", "Seconds"])
def test_who_comes_after_hours_gets_neither_what_it_missed_nor_a_debt(fairness: Fairness) -> None:
    late = backlog("late", 500, 3.0, at=3000.0)
    outcome = simulate(FairQueue(fairness), [Task(0.0, "late", 3.0)], backlog("a", 4000, 3.0), late, until=6000.0)
    after = outcome.order[1000:]
    assert after[:40].count("late") == pytest.approx(20, abs=1)
    assert outcome.waits["late"][1] <= 3.0
