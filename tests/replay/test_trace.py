"""Traces: read strictly, put in order, multiplied."""

import pytest

from controller.replay.trace import TokenModel, Trace, TraceError, multiplied, read_azure_trace, read_trace


def rows(trace: Trace) -> list[tuple[float, str, float]]:
    names = [trace.names[user] for user in trace.users]
    return list(zip(trace.arrivals, names, trace.services, strict=True))


def test_a_trace_is_a_csv_file_with_a_header_in_any_order_and_with_columns_of_its_own() -> None:
    trace = read_trace(["user,note,arrival_s,service_s\n", "ann,x,0.5,30\n", "\n", '"b, c",,2,1e1\n'])
    assert rows(trace) == [(0.5, "ann", 30.0), (2.0, "b, c", 10.0)]
    assert trace.seconds == 2.0
    assert trace.work == 40.0


def test_a_byte_order_mark_is_no_part_of_the_header() -> None:
    assert rows(read_trace(["\ufeffarrival_s,user,service_s", "0,a,1"])) == [(0.0, "a", 1.0)]


def test_tasks_come_in_the_order_of_their_arrival_and_else_in_that_of_the_file() -> None:
    trace = read_trace(["arrival_s,user,service_s", "9,a,1", "3,b,2", "9,c,3", "3,a,4"])
    assert rows(trace) == [(3.0, "b", 2.0), (3.0, "a", 4.0), (9.0, "a", 1.0), (9.0, "c", 3.0)]


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ([], "line 1: the header must name arrival_s, user, service_s; missing: arrival_s, user, service_s"),
        (["arrival,user,service_s"], "line 1: the header must name arrival_s, user, service_s; missing: arrival_s"),
        (["arrival_s,user,service_s", "0,a,1", "x,a,1"], "line 3, column arrival_s: 'x' is not a number"),
        (["arrival_s,user,service_s", "-1,a,1"], "line 2, column arrival_s: -1 is not a number 0 or more"),
        (["arrival_s,user,service_s", "nan,a,1"], "line 2, column arrival_s: nan is not a number 0 or more"),
        (["arrival_s,user,service_s", "0,a,inf"], "line 2, column service_s: inf is not a number above 0"),
        (["arrival_s,user,service_s", "0,a,0"], "line 2, column service_s: 0 is not a number above 0"),
        (["arrival_s,user,service_s", "0, ,1"], "line 2, column user: empty; every task belongs to a user"),
        (["arrival_s,user,service_s", "0,a"], "line 2: 2 values, the header names 3 columns"),
        (["arrival_s,user,service_s", "0,a,1,2"], "line 2: 4 values, the header names 3 columns"),
    ],
)
def test_what_cannot_be_read_is_named_by_line_and_column(lines: list[str], told: str) -> None:
    with pytest.raises(TraceError) as error:
        read_trace(lines)
    assert str(error.value) == told


AZURE = [
    "TIMESTAMP,ContextTokens,GeneratedTokens",
    "2023-11-16 18:17:03.9799600,4000,10",
    "2023-11-16 18:17:04.4799600,0,100",
]


def test_a_trace_of_tokens_becomes_seconds_by_a_linear_model() -> None:
    trace = read_azure_trace(AZURE, TokenModel(0.0005, 0.02), users=1, seed=1)
    assert trace.names == ("user1",)
    assert list(trace.arrivals) == pytest.approx([0.0, 0.5])
    assert list(trace.services) == pytest.approx([2.2, 2.0])


def test_requests_without_users_are_spread_over_so_many_the_same_ones_for_the_same_seed() -> None:
    lines = [AZURE[0], *(f"2023-11-16 18:17:{s:02}.5,1,1" for s in range(60))]
    one, same, other = (read_azure_trace(lines, TokenModel(), users=3, seed=seed) for seed in (1, 1, 2))
    assert set(one.names) == {"user1", "user2", "user3"}
    assert rows(one) == rows(same) != rows(other)


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("yesterday,1,1", "line 2, column TIMESTAMP: 'yesterday' is not a time such as 2023-11-16 18:17:03.97"),
        ("2023-11-16 18:17:03,many,1", "line 2, column ContextTokens: 'many' is not a number"),
        ("2023-11-16 18:17:03,1,-4", "line 2, column GeneratedTokens: -4 is not a number 0 or more"),
    ],
)
def test_a_wrong_line_of_tokens_is_named_too(row: str, told: str) -> None:
    with pytest.raises(TraceError) as error:
        read_azure_trace([AZURE[0], row], TokenModel(), users=1, seed=1)
    assert str(error.value) == told


def test_a_load_is_multiplied_by_copies_that_belong_to_other_users_and_come_a_little_later() -> None:
    trace = Trace.of([(100.0, "a", 7.0), (500.0, "b", 8.0)])
    three = rows(multiplied(trace, 3, seed=1))
    assert sorted((user, service) for _, user, service in three) == [
        ("a", 7.0), ("a#2", 7.0), ("a#3", 7.0), ("b", 8.0), ("b#2", 8.0), ("b#3", 8.0)
    ]  # fmt: skip
    assert all(100 <= at < 160 for at, user, _ in three if user[0] == "a")
    assert (100.0, "a", 7.0) in three


@pytest.mark.parametrize("factor", [0.25, 1.5, 2.75])
def test_the_fraction_of_a_factor_is_the_chance_of_a_copy(factor: float) -> None:
    trace = Trace.of((float(i), "a", 1.0) for i in range(4000))
    assert len(multiplied(trace, factor, seed=3)) == pytest.approx(4000 * factor, rel=0.05)


def test_a_load_as_it_is_stays_as_it_is() -> None:
    trace = Trace.of([(1.0, "a", 1.0)])
    assert multiplied(trace, 1, seed=1) is trace
