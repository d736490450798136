"""Networks that may go to one server only, while that server can take nothing."""

import pytest

from controller.dispatcher.fairqueue import FairQueue, Ticket
from controller.dispatcher.fairqueue.turns import ROOM


def push(queue: FairQueue, names: str) -> None:
    for name in names.split():
        network = name.rstrip("0123456789")
        queue.push(Ticket(name, network, network, 0.0))


def serve(queue: FairQueue, tasks: int | None = None) -> str:
    served: list[str] = []
    while tasks is None or len(served) < tasks:
        ticket = queue.pop()
        if ticket is None:
            break
        queue.settle(ticket.task_id, 1.0)
        served.append(ticket.task_id)
    return " ".join(served)


def tasks(network: str, first: int, last: int) -> str:
    return " ".join(f"{network}{number}" for number in range(first, last + 1))


def test_who_cannot_be_served_holds_nobody_up() -> None:
    queue = FairQueue()
    push(queue, "A1 A2 B1 B2 C1 C2")
    queue.park("A", "s1")
    assert queue.is_parked("A")
    assert serve(queue) == "B1 C1 B2 C2"
    assert queue.peek() is None
    assert queue.pop() is None


def test_who_cannot_be_served_still_waits_in_every_count() -> None:
    queue = FairQueue()
    push(queue, "A1 A2 B1")
    queue.park("A", "s1")
    assert len(queue) == 3
    assert queue.users() == {"A": 2, "B": 1}
    assert queue.networks() == {"A": 2, "B": 1}
    oldest = queue.oldest()
    assert oldest is not None
    assert oldest.task_id == "A1"


def test_who_can_be_served_again_has_its_old_place() -> None:
    queue = FairQueue()
    push(queue, "A1 A2 B1 B2 C1 C2")
    assert serve(queue, 1) == "A1"
    queue.park("B", "s1")
    queue.park("A", "s1")
    queue.unpark("s1")
    assert serve(queue) == "B1 C1 A2 B2 C2"


def test_a_newcomer_does_not_get_the_turns_that_others_could_not_have() -> None:
    """A floor taken over what waits would stand still with A, and a newcomer at it would have 20 of the next 20."""
    queue = FairQueue()
    push(queue, "A1")
    push(queue, tasks("B", 1, 60))
    queue.park("A", "s1")
    serve(queue, 30)
    push(queue, tasks("N", 1, 20))
    assert serve(queue, 20).count("N") == 10


def test_who_could_not_be_served_has_no_credit_for_that_time() -> None:
    queue = FairQueue()
    push(queue, tasks("A", 1, 40))
    push(queue, tasks("B", 1, 80))
    queue.park("A", "s1")
    serve(queue, 30)
    queue.unpark("s1")
    assert serve(queue, 20).count("A") in (10, 11)


def test_networks_that_go_to_one_server_take_turns_though_the_others_run_ahead() -> None:
    """Put at V each time it opens, with equal tags, the first of them would have every turn of its server."""
    queue = FairQueue()
    push(queue, tasks("A", 1, 9) + " " + tasks("B", 1, 9))
    push(queue, tasks("C", 1, 200))
    served = []
    for _ in range(8):
        for network in ("A", "B"):
            queue.park(network, "slow")
        serve(queue, 10)
        queue.unpark("slow")
        while (ticket := queue.peek()) is not None and ticket.network == "C":
            queue.pop()
        served.append(serve(queue, 1)[0])
    assert "".join(served) == "ABABABAB"


def test_who_drains_and_returns_is_not_ahead_of_those_who_wait_for_the_same_server() -> None:
    queue = FairQueue()
    push(queue, tasks("C", 1, 300))
    push(queue, tasks("B", 1, 20) + " A1")
    served = []
    for number in range(2, 12):
        for network in ("A", "B"):
            if queue.networks().get(network):
                queue.park(network, "slow")
        serve(queue, 10)
        queue.unpark("slow")
        while (ticket := queue.peek()) is not None and ticket.network == "C":
            queue.pop()
        served.append(serve(queue, 1)[0])
        if served[-1] == "A":
            push(queue, f"A{number}")
    assert served.count("A") == served.count("B") == 5


def test_tasks_that_come_to_a_parked_network_are_parked_with_it() -> None:
    queue = FairQueue()
    push(queue, "A1 B1")
    queue.park("A", "s1")
    push(queue, "A2")
    assert serve(queue) == "B1"
    queue.unpark("s1")
    assert serve(queue) == "A1 A2"


def test_tasks_of_a_parked_network_can_be_taken_out() -> None:
    queue = FairQueue()
    push(queue, "A1 A2 B1")
    queue.park("A", "s1")
    for task in ("A1", "A2"):
        assert queue.remove(task) is not None
    assert not queue.is_parked("A")
    queue.unpark("s1")
    assert serve(queue) == "B1"


def test_a_task_that_ends_or_is_put_back_may_belong_to_a_parked_network() -> None:
    queue = FairQueue()
    push(queue, "A1 A2 A3 B1")
    assert [ticket.task_id for ticket in (queue.pop(), queue.pop(), queue.pop()) if ticket] == ["A1", "B1", "A2"]
    queue.park("A", "s1")
    queue.settle("A1", 1.0)
    queue.push_back("A2")
    assert queue.peek() is None
    queue.unpark("s1")
    assert serve(queue) == "A2 A3"


def test_a_network_may_be_sent_to_another_server() -> None:
    queue = FairQueue()
    push(queue, "A1 B1")
    queue.park("A", "s1")
    queue.park("B", "s1")
    queue.unpark("s1")
    queue.park("A", "s2")
    assert serve(queue) == "B1"
    queue.unpark("s1")
    assert queue.peek() is None
    queue.unpark("s2")
    assert serve(queue) == "A1"


def test_a_full_server_parks_all_that_were_parked_under_it_at_once() -> None:
    queue = FairQueue()
    push(queue, "A1 B1 C1")
    for network in "AB":
        queue.park(network, "s1")
    queue.unpark("s1")
    queue.park("A", "s1")
    assert queue.is_parked("B")
    assert serve(queue) == "C1"


def test_networks_of_a_server_that_is_gone_are_not_stranded() -> None:
    queue = FairQueue()
    push(queue, "A1 A2 B1 B2 C1 C2")
    serve(queue, 1)
    queue.park("A", "s1")
    queue.park("B", "s2")
    queue.unpin()
    assert serve(queue) == "B1 C1 A2 B2 C2"


def test_turns_given_to_those_of_one_server_make_it_later_for_all() -> None:
    """Or a newcomer would start where the others were long ago, and have all their turns at once."""
    queue = FairQueue()
    push(queue, tasks("A", 1, 60))
    queue.park("A", "s1")
    queue.unpark("s1")
    serve(queue, 30)
    push(queue, tasks("N", 1, 20))
    assert serve(queue, 20).count("N") in (10, 11)


def test_an_endless_stream_of_newcomers_to_one_server_does_not_starve_those_who_wait_for_it() -> None:
    queue, honest = FairQueue(), 0
    push(queue, tasks("H", 1, 30) + " " + tasks("C", 1, 20_000))
    queue.park("H", "slow")
    for number in range(6 * ROOM):
        queue.push(Ticket(f"n{number}", f"N{number}", f"N{number}", 0.0))
        queue.park(f"N{number}", "slow")
        serve(queue, 2)
        queue.unpark("slow")
        while (ticket := queue.peek()) is not None and ticket.network == "C":
            queue.pop()
        served = serve(queue, 1)
        honest += served.startswith("H")
        if queue.networks().get("H"):
            queue.park("H", "slow")
    assert honest >= 4


def test_a_server_that_nobody_waits_for_any_more_leaves_nothing_behind() -> None:
    queue = FairQueue()
    for number in range(100):
        push(queue, f"A{number} B{number}")
        queue.park("A", f"s{number}")
        queue.unpark(f"s{number}")
        serve(queue)
    assert len(queue._lanes._lanes) <= 2


def test_only_what_waits_can_be_parked() -> None:
    queue = FairQueue()
    push(queue, "A1")
    serve(queue)
    with pytest.raises(KeyError):
        queue.park("A", "s1")
    with pytest.raises(KeyError):
        queue.park("B", "s1")
    queue.unpark("never heard of")
    assert queue.peek() is None


def test_parked_networks_are_not_looked_at_one_by_one() -> None:
    """Counted, not timed: entries that change while the server of 10 000 networks takes one task and is full again."""
    queue = FairQueue()
    for number in range(10_000):
        queue.push(Ticket(f"t{number}", f"N{number}", f"N{number}", 0.0))
        queue.park(f"N{number}", "s1")
    queue.unpark("s1")
    turns = queue._lanes._lanes["s1"].turns
    before = set(turns._agenda)
    serve(queue, 1)
    queue.park("N1", "s1")
    assert queue.peek() is None
    assert len(before ^ set(turns._agenda)) < 5


def test_another_measure_of_turns_leaves_parked_networks_where_they_are() -> None:
    queue = FairQueue()
    push(queue, "A1 A2 B1 B2 C1")
    queue.park("A", "s1")
    queue.park("B", "s1")
    queue.configure("Seconds")
    assert serve(queue) == "C1"
    queue.unpark("s1")
    assert serve(queue) == "A1 B1 A2 B2"
