"""Whose task is next, literally."""

from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.dispatcher.addresses import parse_address, share_key
from controller.dispatcher.fairqueue import FairQueue, Ticket
from controller.dispatcher.fairqueue.turns import ROOM


class Line:
    """A queue whose tasks are written like A1: network A, its first task. `a.b1` is user b of network a."""

    def __init__(self) -> None:
        self.queue = FairQueue()
        self._clock = count()
        self._numbers: dict[str, int] = {}

    def come(self, user: str, tasks: int = 1) -> None:
        """Tasks of this user come."""
        for _ in range(tasks):
            number = self._numbers[user] = self._numbers.get(user, 0) + 1
            network = user.partition(".")[0]
            self.queue.push(Ticket(f"{user}{number}", network, user, float(next(self._clock))))

    def serve(self, tasks: int | None = None) -> str:
        """The next tasks, or all."""
        served: list[str] = []
        while tasks is None or len(served) < tasks:
            ticket = self.queue.pop()
            if ticket is None:
                break
            served.append(ticket.task_id)
        return " ".join(served)


@pytest.fixture
def line() -> Line:
    return Line()


def test_users_take_turns_in_the_order_of_their_coming_until_each_is_done(line: Line) -> None:
    line.come("A", 13)
    line.come("B", 10)
    line.come("C", 12)
    first_ten = " ".join(f"A{n} B{n} C{n}" for n in range(1, 11))
    assert line.serve() == f"{first_ten} A11 C11 A12 C12 A13"


def test_a_flood_before_does_not_delay_those_who_come_later(line: Line) -> None:
    line.come("A", 1000)
    assert line.serve(3) == "A1 A2 A3"
    line.come("B", 2)
    assert line.serve(4) == "B1 A4 B2 A5"


def test_a_newcomer_joins_the_round_under_way_and_waits_for_at_most_one_task_of_each(line: Line) -> None:
    for user in "ABC":
        line.come(user, 4)
    assert line.serve(4) == "A1 B1 C1 A2"
    line.come("D", 2)
    assert line.serve() == "B2 C2 D1 A3 B3 C3 D2 A4 B4 C4"


def test_who_drains_and_returns_within_a_round_waits_for_the_next_one(line: Line) -> None:
    """Sending one task at a time, each after the answer to the last, must not be served twice in a round."""
    line.come("A")
    line.come("B", 3)
    line.come("C", 3)
    assert line.serve(1) == "A1"
    line.come("A")
    assert line.serve(3) == "B1 C1 A2"
    line.come("A")
    assert line.serve(3) == "B2 C2 A3"


def test_who_was_away_longer_has_neither_credit_nor_debt(line: Line) -> None:
    line.come("A")
    line.come("B", 20)
    assert line.serve(10) == "A1 " + " ".join(f"B{n}" for n in range(1, 10))
    line.come("A", 3)
    assert line.serve(6) == "A2 B10 A3 B11 A4 B12"


def test_the_turn_is_kept_when_everyone_has_gone_and_come_back(line: Line) -> None:
    """A queue that starts anew at its first key would serve A twice as often here."""
    for user in "ABC":
        line.come(user)
    assert line.serve() == "A1 B1 C1"
    for user in "CBA":
        line.come(user, 2)
    served = line.serve(3)
    assert sorted(served.split()) == ["A2", "B2", "C2"]


def test_users_of_one_network_share_its_turns(line: Line) -> None:
    for user in ("a.x", "a.y", "a.z"):
        line.come(user, 3)
    line.come("b", 6)
    assert line.serve(8) == "a.x1 b1 a.y1 b2 a.z1 b3 a.x2 b4"


def test_many_addresses_of_one_network_gain_it_nothing(line: Line) -> None:
    for number in range(20):
        line.come(f"a.{number}x", 10)
    line.come("b", 100)
    served = line.serve(100).split()
    assert sum(task.startswith("b") for task in served) == 50


def test_a_new_user_for_every_task_gains_a_network_nothing(line: Line) -> None:
    line.come("b", 50)
    served = []
    for number in range(50):
        line.come(f"a.{number}x")
        served += line.serve(2).split()
    assert sum(task.startswith("b") for task in served) == 50


def test_the_tasks_of_the_old_window_stay_ahead_of_those_of_the_new(line: Line) -> None:
    """When the hour strikes, an address is a new user in name, but no second one in turn."""
    for number in range(1, 5):
        line.queue.push(Ticket(f"old{number}", "a", "user_a_1", 0.0, flow="a"))
    line.come("b", 8)
    assert line.serve(2) == "old1 b1"
    for number in range(1, 3):
        line.queue.push(Ticket(f"new{number}", "a", "user_a_2", 1.0, flow="a"))
    assert line.queue.users() == {"user_a_1": 3, "b": 7, "user_a_2": 2}
    assert line.serve(11) == "old2 b2 old3 b3 old4 b4 new1 b5 new2 b6 b7"


def test_a_second_user_of_a_network_takes_the_turn_that_the_first_had_already(line: Line) -> None:
    line.come("a.x", 4)
    assert line.serve(2) == "a.x1 a.x2"
    line.come("a.y", 3)
    assert line.serve() == "a.y1 a.x3 a.y2 a.x4 a.y3"


def test_where_every_user_is_a_network_a_new_window_has_turns_of_its_own(line: Line) -> None:
    """`shareBy: User`, the literal form."""
    for number in range(1, 4):
        line.queue.push(Ticket(f"old{number}", "user_a_1", "user_a_1", 0.0, flow="a"))
    line.come("b", 3)
    for number in range(1, 4):
        line.queue.push(Ticket(f"new{number}", "user_a_2", "user_a_2", 1.0, flow="a"))
    assert line.serve() == "old1 b1 new1 old2 b2 new2 old3 b3 new3"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8:0:1::1", "2001:db8:0:1:ffff::2", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
    ],
)
def test_addresses_of_one_64_share_turns_and_a_mapped_address_is_the_one_it_maps(
    line: Line, one: str, other: str, same: bool
) -> None:
    for number in range(1, 4):
        for name, text in (("x", one), ("y", other)):
            address = parse_address(text)
            assert address is not None
            line.queue.push(Ticket(f"{name}{number}", share_key(address), f"user_{address}_1", 0.0, flow=str(address)))
    line.come("b", 3)
    expected = "x1 b1 y1 b2 x2 b3 y2 x3 y3" if same else "x1 y1 b1 x2 y2 b2 x3 y3 b3"
    assert line.serve() == expected


def test_equal_turns_go_by_coming_and_not_by_name(line: Line) -> None:
    users = ["n10", "n9", "N2", "a", "Z"]
    for user in users:
        line.come(user + ".x", 2)
    assert line.serve(5).split() == [f"{user}.x1" for user in users]


def test_newcomers_beyond_what_a_round_takes_in_join_the_next_one(line: Line) -> None:
    line.come("A", 3)
    assert line.serve(1) == "A1"
    for number in range(ROOM + 2):
        line.come(f"n{number}.x")
    served = line.serve().split()
    assert served.index("A2") == ROOM
    assert served[ROOM + 1 : ROOM + 3] == [f"n{ROOM}.x1", f"n{ROOM + 1}.x1"]
    assert served[-1] == "A3"


def test_before_anybody_was_served_a_round_takes_in_all(line: Line) -> None:
    users = [f"n{number}.x" for number in range(3 * ROOM)]
    for user in users:
        line.come(user, 2)
    assert line.serve(len(users)).split() == [f"{user}1" for user in users]


def test_looking_whose_turn_it_is_takes_nobodys_turn(line: Line) -> None:
    line.come("A", 2)
    line.come("B")
    line.serve(2)
    for _ in range(3):
        peeked = line.queue.peek()
        assert peeked is not None
        assert peeked.task_id == "A2"
    line.come("B")
    assert line.serve() == "A2 B2"


def test_tasks_that_waited_too_long_are_found_though_nothing_comes_and_nothing_is_served(line: Line) -> None:
    for user in "ABC":
        line.come(user, 2)
    expired = []
    while (oldest := line.queue.oldest()) is not None and oldest.submitted < 3.0:
        assert line.queue.remove(oldest.task_id) is not None
        expired.append(oldest.task_id)
    assert expired == ["A1", "A2", "B1"]
    assert line.serve() == "B2 C1 C2"


def test_a_task_that_failed_had_its_turn(line: Line) -> None:
    line.come("A", 2)
    line.come("B", 2)
    assert line.serve(1) == "A1"
    line.queue.settle("A1", 0.0)
    assert line.serve() == "B1 A2 B2"


def test_a_cancelled_task_leaves_the_turn_to_its_users_next(line: Line) -> None:
    line.come("A", 3)
    line.come("B", 2)
    line.queue.remove("A1")
    assert line.serve() == "A2 B1 A3 B2"


def test_a_user_whose_tasks_are_all_cancelled_holds_nobody_up(line: Line) -> None:
    line.come("A", 2)
    line.come("B", 2)
    for task in ("A1", "A2"):
        assert line.queue.remove(task) is not None
    assert line.queue.remove("A1") is None
    assert line.serve() == "B1 B2"


def test_cancelling_and_coming_again_gains_nothing(line: Line) -> None:
    line.come("A", 100)
    line.come("B", 100)
    line.serve(10)
    served = []
    for _ in range(10):
        line.come("C")
        line.queue.remove(f"C{line._numbers['C']}")
        line.come("C")
        served += line.serve(3).split()
    assert [task[0] for task in served].count("C") == 10
    assert [task[0] for task in served].count("A") == 10


def test_coming_back_and_cancelling_again_and_again_gives_no_second_turn_in_a_round(line: Line) -> None:
    for user in "ABC":
        line.come(user, 6 if user != "A" else 1)
    served = line.serve(3)
    for _ in range(5):
        line.come("A")
        line.queue.remove(f"A{line._numbers['A']}")
        line.come("A")
        served += line.serve(1)
    assert [task for task in served if task.isalpha()] == list("ABCABCAB")


def test_looking_whose_turn_it_is_forgets_nobody_whose_tag_still_counts(line: Line) -> None:
    """A has left; B, which is behind it, comes up while A is away for a moment."""
    for name, cost in (("A1", 5.0), ("B1", 7.0), ("B2", 7.0)):
        line.queue.push(Ticket(name, name[0], name[0], 0.0, cost))
    assert line.serve(2) == "A1 B1"
    for task in ("A1", "B1"):
        line.queue.settle(task, 1.0)
    peeked = line.queue.peek()
    assert peeked is not None
    assert peeked.task_id == "B2"
    for name in ("A2", "A3"):
        line.queue.push(Ticket(name, "A", "A", 0.0, 5.0))
    assert line.serve() == "A2 B2 A3"


def test_a_task_can_be_queued_again_after_it_was_cancelled(line: Line) -> None:
    line.come("A", 3)
    tickets = {ticket.task_id: ticket for ticket in line.queue}
    line.queue.remove("A2")
    line.queue.push(tickets["A2"])
    assert [ticket.task_id for ticket in line.queue.order()] == ["A1", "A3", "A2"]
    line.queue.remove("A2")
    assert line.serve() == "A1 A3"


def test_a_task_cannot_wait_twice(line: Line) -> None:
    line.come("A")
    with pytest.raises(ValueError, match="A1"):
        line.queue.push(Ticket("A1", "A", "A", 1.0))
    assert line.serve() == "A1"


def test_the_queue_says_who_waits_and_who_waits_longest(line: Line) -> None:
    line.come("A", 2)
    line.come("B")
    assert line.queue.users() == {"A": 2, "B": 1}
    assert (line.queue.waiting_of("A"), line.queue.waiting_of("C")) == (2, 0)
    oldest = line.queue.oldest()
    assert oldest is not None
    assert oldest.task_id == "A1"
    line.serve(1)
    assert line.queue.users() == {"A": 1, "B": 1}
    line.serve()
    assert line.queue.oldest() is None
    assert line.queue.peek() is None
    assert line.queue.pop() is None


@given(st.lists(st.integers(1, 12), min_size=1, max_size=8))
def test_whatever_waits_at_first_is_served_round_by_round(counts: list[int]) -> None:
    line = Line()
    users = [chr(ord("A") + number) for number in range(len(counts))]
    for user, tasks in zip(users, counts, strict=True):
        line.come(user, tasks)
    rounds = range(1, max(counts) + 1)
    expected = [f"{u}{n}" for n in rounds for u, tasks in zip(users, counts, strict=True) if n <= tasks]
    assert line.serve().split() == expected
