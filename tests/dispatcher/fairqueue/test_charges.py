"""What a turn counts for: costs, weights, server-seconds and their settlement; and what becomes of a task put back."""

import math

import pytest

from controller.dispatcher.fairqueue import FairQueue, Ticket


def push(queue: FairQueue, names: str, **more: float) -> None:
    """Tasks written like A1: network A."""
    for name in names.split():
        network = name.rstrip("0123456789")
        queue.push(Ticket(name, network, network, 0.0, **more))  # type: ignore[arg-type]


def serve(queue: FairQueue, tasks: int | None = None, estimate: float | None = None) -> str:
    """The next tasks, or all; they run on."""
    served: list[str] = []
    while tasks is None or len(served) < tasks:
        ticket = queue.pop(estimate)
        if ticket is None:
            break
        served.append(ticket.task_id)
    return " ".join(served)


# --- costs and weights -----------------------------------------------------------------------------------------------


def test_a_task_of_cost_three_counts_for_three_turns() -> None:
    queue = FairQueue()
    push(queue, "A1 A2", cost=3.0)
    push(queue, "B1 B2 B3 B4 B5 B6")
    assert serve(queue) == "A1 B1 B2 B3 A2 B4 B5 B6"


def test_a_network_of_weight_two_has_two_turns_for_one_of_others() -> None:
    queue = FairQueue()
    push(queue, "A1 A2 A3 A4", network_weight=2.0)
    push(queue, "B1 B2 B3 B4")
    assert serve(queue) == "A1 B1 A2 A3 B2 A4 B3 B4"


def test_what_a_running_task_will_cost_counts_at_once() -> None:
    """Or else one user would take all slots that become free in the same instant."""
    queue = FairQueue("Seconds")
    push(queue, "A1 A2 A3")
    push(queue, "B1 B2 B3")
    assert serve(queue, estimate=10.0) == "A1 B1 A2 B2 A3 B3"


def test_seconds_are_guessed_by_the_cost_where_nothing_was_measured() -> None:
    queue = FairQueue("Seconds")
    push(queue, "A1 A2", cost=3.0)
    push(queue, "B1 B2 B3 B4")
    assert serve(queue) == "A1 B1 B2 B3 A2 B4"


@pytest.mark.parametrize("field", ["cost", "network_weight", "user_weight"])
@pytest.mark.parametrize("value", [0.0, -1.0, math.nan])
def test_a_cost_or_a_weight_is_above_zero(field: str, value: float) -> None:
    queue = FairQueue()
    with pytest.raises(ValueError, match=field):
        queue.push(Ticket("a", "A", "A", 0.0, **{field: value}))  # type: ignore[arg-type]
    assert not queue
    assert not queue.networks()


@pytest.mark.parametrize("seconds", [0.0, -1.0, math.nan, math.inf])
def test_an_estimate_is_above_zero_and_finite(seconds: float) -> None:
    queue = FairQueue("Seconds")
    push(queue, "A1")
    with pytest.raises(ValueError, match="estimate"):
        queue.pop(seconds)
    assert "A1" in queue


@pytest.mark.parametrize("seconds", [-1.0, math.nan, math.inf])
def test_what_a_task_used_is_not_negative_and_finite(seconds: float) -> None:
    queue = FairQueue("Seconds")
    push(queue, "A1")
    serve(queue)
    with pytest.raises(ValueError, match="seconds"):
        queue.settle("A1", seconds)
    assert queue.settle("A1", 1.0).task_id == "A1"


# --- settlement ------------------------------------------------------------------------------------------------------


def test_what_a_task_took_longer_than_expected_is_charged_at_its_end() -> None:
    queue = FairQueue("Seconds")
    push(queue, "A1 A2")
    push(queue, "B1 B2 B3 B4")
    assert serve(queue, 2, 1.0) == "A1 B1"
    queue.settle("A1", 3.0)
    queue.settle("B1", 1.0)
    assert serve(queue, estimate=1.0) == "B2 B3 A2 B4"


def test_what_a_task_took_less_than_expected_is_given_back() -> None:
    queue = FairQueue("Seconds")
    push(queue, "A1 A2 A3 A4")
    push(queue, "B1 B2")
    assert serve(queue, 2, 3.0) == "A1 B1"
    queue.settle("A1", 1.0)
    assert serve(queue, estimate=1.0) == "A2 A3 A4 B2"


def test_what_is_given_back_counts_at_once_against_those_who_came_before() -> None:
    queue = FairQueue("Seconds")
    push(queue, "B1 B2")
    push(queue, "A1 A2 A3")
    assert serve(queue, 2, 3.0) == "B1 A1"
    queue.settle("A1", 1.0)
    assert serve(queue, estimate=1.0) == "A2 A3 B2"


def test_what_is_given_back_is_not_lost_to_a_user_whom_others_overtook_meanwhile() -> None:
    """Its tag is below V then, and it has its turns first: it was kept from them by a wrong estimate only."""
    queue = FairQueue("Seconds")
    push(queue, "A1 A2 A3 A4")
    push(queue, "B1 B2 B3 B4 B5 B6")
    assert serve(queue, 4, 3.0) == "A1 B1 A2 B2"
    queue.settle("A1", 1.0)
    queue.settle("A2", 1.0)
    assert serve(queue, 4, 1.0) == "A3 A4 B3 B4"


def test_a_task_that_is_counted_as_a_turn_stays_one_however_long_it_took() -> None:
    queue = FairQueue("Tasks")
    push(queue, "A1 A2 A3")
    push(queue, "B1 B2 B3")
    assert serve(queue, 2) == "A1 B1"
    queue.settle("A1", 100.0)
    queue.settle("B1", 0.0)
    assert serve(queue) == "A2 B2 A3 B3"


def test_a_user_who_has_nothing_waiting_by_then_is_charged_all_the_same() -> None:
    queue = FairQueue("Seconds")
    push(queue, "A1")
    push(queue, "B1 B2 B3 B4 B5 B6")
    assert serve(queue, 2, 1.0) == "A1 B1"
    queue.settle("A1", 4.0)
    push(queue, "A2 A3")
    assert serve(queue, estimate=1.0) == "B2 B3 B4 A2 B5 A3 B6"


def test_a_user_who_left_is_charged_for_what_ran_on_after_v_had_passed_its_tag() -> None:
    queue = FairQueue("Seconds")
    push(queue, "A1")
    push(queue, "B1 B2 B3 B4 B5 B6 B7 B8")
    assert serve(queue, 4, 1.0) == "A1 B1 B2 B3"
    queue.settle("A1", 5.0)
    push(queue, "A2 A3")
    assert serve(queue, estimate=1.0) == "B4 B5 A2 B6 A3 B7 B8"


def test_a_long_task_is_charged_even_if_its_user_came_back_while_it_ran() -> None:
    """Sending the next one before the first is measured must not wipe the first off the slate."""
    queue = FairQueue("Seconds")
    push(queue, "A1")
    push(queue, "B1 B2 B3 B4 B5 B6 B7 B8")
    assert serve(queue, 4, 1.0) == "A1 B1 B2 B3"  # V is 2 now, and the tag of A was 1
    push(queue, "A2 A3")
    assert serve(queue, 1, 1.0) == "A2"
    queue.settle("A1", 5.0)  # with the right estimate A would have started at 5, not at 2
    assert serve(queue, estimate=1.0) == "B4 B5 B6 B7 A3 B8"


def test_what_is_given_back_for_the_time_before_one_came_back_is_no_credit() -> None:
    queue = FairQueue("Seconds")
    push(queue, "A1")
    push(queue, "B1 B2 B3 B4 B5 B6")
    queue.pop(2.0)
    assert serve(queue, 4, 1.0) == "B1 B2 B3 B4"  # V is 3, beyond the tag of A, which is 2
    push(queue, "A2 A3 A4")
    assert serve(queue, 1, 1.0) == "A2"
    queue.settle("A1", 0.5)
    assert serve(queue, estimate=1.0) == "B5 A3 B6 A4"


def test_tasks_that_fail_at_once_do_not_have_every_turn() -> None:
    """They take next to no server-seconds, but each takes a server."""
    queue = FairQueue("Seconds")
    for number in range(5000):
        push(queue, f"F{number}")
    push(queue, "B1 B2")
    for _ in range(2500):
        ticket = queue.pop(1.0)
        assert ticket is not None
        queue.settle(ticket.task_id, 0.0 if ticket.network == "F" else 1.0)
    assert queue.waiting_of("B") == 0


@pytest.mark.parametrize("end", ["settle", "push_back"])
def test_a_task_ends_once(end: str) -> None:
    queue = FairQueue()
    push(queue, "A1")
    serve(queue)
    if end == "settle":
        queue.settle("A1", 1.0)
    else:
        queue.push_back("A1")
    with pytest.raises(KeyError):
        queue.settle("A1", 1.0)
    with pytest.raises(KeyError):
        queue.push_back("A1")


def test_a_task_that_runs_cannot_be_queued_again() -> None:
    queue = FairQueue()
    push(queue, "A1")
    serve(queue)
    with pytest.raises(ValueError, match="A1 runs"):
        push(queue, "A1")
    assert not queue


def test_a_task_that_runs_is_cancelled_by_settling_it_not_by_removing_it() -> None:
    queue = FairQueue()
    push(queue, "A1")
    serve(queue)
    assert queue.remove("A1") is None
    assert queue.running == 1


# --- put back --------------------------------------------------------------------------------------------------------


def test_a_task_that_is_put_back_goes_first_and_its_turn_was_none() -> None:
    queue = FairQueue()
    push(queue, "A1 A2")
    push(queue, "B1 B2")
    push(queue, "C1 C2")
    assert serve(queue, 4) == "A1 B1 C1 A2"
    queue.push_back("B1")
    assert queue.waiting_of("B") == 2
    assert serve(queue) == "B1 B2 C2"


def test_tasks_that_are_put_back_go_in_the_order_of_their_first_start() -> None:
    queue = FairQueue()
    push(queue, "A1 A2 A3 A4")
    assert serve(queue, 3) == "A1 A2 A3"
    for task in ("A2", "A3", "A1"):
        queue.push_back(task)
    assert serve(queue, 1) == "A1"
    queue.push_back("A1")
    assert serve(queue) == "A1 A2 A3 A4"


def test_a_task_that_is_put_back_after_its_user_had_left_keeps_its_place() -> None:
    queue = FairQueue()
    push(queue, "A1")
    push(queue, "B1 B2 B3 B4")
    assert serve(queue, 4) == "A1 B1 B2 B3"
    queue.push_back("A1")
    assert serve(queue) == "A1 B4"


def test_a_task_that_is_put_back_is_charged_once_in_the_end() -> None:
    queue = FairQueue("Seconds")
    push(queue, "A1 A2")
    push(queue, "B1 B2 B3")
    for _ in range(5):
        assert serve(queue, 1, 2.0) == "A1"
        queue.push_back("A1")
    assert serve(queue, estimate=2.0) == "A1 B1 A2 B2 B3"


def test_a_task_that_was_put_back_can_be_cancelled() -> None:
    queue = FairQueue()
    push(queue, "A1 A2")
    serve(queue, 1)
    queue.push_back("A1")
    assert [ticket.task_id for ticket in queue] == ["A1", "A2"]
    assert queue.remove("A1") is not None
    assert "A1" not in queue
    assert serve(queue) == "A2"


def test_the_oldest_task_is_found_among_those_that_were_put_back() -> None:
    queue = FairQueue()
    for number, name in enumerate(["A1", "B1", "A2"]):
        queue.push(Ticket(name, name[0], name[0], float(number)))
    assert serve(queue, 2) == "A1 B1"
    queue.push_back("B1")
    oldest = queue.oldest()
    assert oldest is not None
    assert oldest.task_id == "B1"
    assert [ticket.task_id for ticket in queue] == ["B1", "A2"]


# --- another measure at run time -------------------------------------------------------------------------------------


def test_another_measure_loses_no_task_and_goes_on_with_whose_turn_it_is() -> None:
    queue = FairQueue("Tasks")
    push(queue, "A1 A2 A3")
    push(queue, "B1 B2 B3")
    push(queue, "C1 C2 C3")
    assert serve(queue, 4) == "A1 B1 C1 A2"
    queue.configure("Seconds")
    assert queue.fairness == "Seconds"
    assert len(queue) == 5
    assert serve(queue, estimate=5.0) == "B2 C2 A3 B3 C3"


def test_another_measure_does_not_settle_what_was_charged_by_the_old_one() -> None:
    queue = FairQueue("Tasks")
    push(queue, "A1 A2 A3")
    push(queue, "B1 B2 B3")
    assert serve(queue, 2) == "A1 B1"
    queue.configure("Seconds")
    queue.settle("A1", 600.0)
    queue.push_back("B1")
    assert serve(queue, estimate=5.0) == "A2 B1 A3 B2 B3"


def test_users_of_a_network_go_on_with_whose_turn_it_is_too() -> None:
    queue = FairQueue("Tasks")
    for task, user in (("x1", "x"), ("x2", "x"), ("y1", "y"), ("y2", "y")):
        queue.push(Ticket(task, "A", user, 0.0))
    assert serve(queue, 1) == "x1"
    queue.configure("Seconds")
    assert serve(queue) == "y1 x2 y2"


def test_the_same_measure_again_changes_nothing() -> None:
    queue = FairQueue("Seconds")
    push(queue, "A1 A2")
    push(queue, "B1 B2")
    assert serve(queue, 1, 2.0) == "A1"
    queue.configure("Seconds")
    queue.settle("A1", 9.0)
    assert serve(queue, estimate=2.0) == "B1 B2 A2"
