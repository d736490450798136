"""Which server a task goes to, and what is remembered of a server."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from controller.api.server import Ejection
from controller.api.server import Server as ServerSettings
from controller.dispatcher.servers import Change, Server, Servers, ServerSpec


def spec(name: str, **fields: Any) -> ServerSpec:
    return ServerSpec(**{"name": name, "uid": f"uid-{name}", "address": f"http://{name}", **fields})


def pool(*specs: ServerSpec) -> Servers:
    servers = Servers()
    servers.update(specs, 0.0)
    return servers


def the(servers: Servers, name: str) -> Server:
    server = servers.get(name)
    assert server is not None
    return server


def start(servers: Servers, tasks: int) -> list[str]:
    """Where so many tasks go that all run at once."""
    chosen: list[str] = []
    for number in range(tasks):
        server = servers.choose()
        if server is None:
            break
        server.running.add(f"{len(chosen)}.{number}")
        chosen.append(server.spec.name)
    return chosen


def test_a_server_gets_tasks_up_to_its_slots_and_no_more() -> None:
    assert sorted(start(pool(spec("a", slots=2), spec("b")), 9)) == ["a", "a", "b"]


def test_the_least_loaded_for_what_it_can_do_is_next() -> None:
    assert start(pool(spec("a", slots=2), spec("b", slots=4)), 3).count("b") == 2


def test_of_idle_servers_the_faster_one_is_first() -> None:
    assert start(pool(spec("a"), spec("b", speed=3.0), spec("c", speed=2.0)), 3) == ["b", "c", "a"]


def test_of_servers_alike_the_one_that_was_quicker_is_first() -> None:
    servers = pool(spec("a"), spec("b"))
    the(servers, "a").finished(9.0)
    the(servers, "b").finished(3.0)
    assert start(servers, 2) == ["b", "a"]


def test_the_moving_average_follows_what_tasks_took() -> None:
    server = Server(spec("a"))
    server.finished(10.0)
    assert server.ewma == 10.0
    for _ in range(50):
        server.finished(2.0)
    assert 2.0 <= server.ewma < 2.01


def test_only_servers_that_are_ready_up_not_draining_and_have_an_address_get_work() -> None:
    servers = pool(spec("a", ready=False), spec("b", draining=True), spec("c", address=""), spec("d"))
    the(servers, "d").up = False
    assert servers.choose() is None
    assert servers.for_network("203.0.113.5", 0.0) is None
    assert servers.slots == 0
    the(servers, "d").up = True
    assert start(servers, 2) == ["d"]


def test_a_task_can_ask_not_to_go_where_it_failed() -> None:
    servers = pool(spec("a"), spec("b"))
    chosen = servers.choose(exclude={"a"})
    assert chosen is not None
    assert chosen.spec.name == "b"
    assert servers.choose(exclude={"a", "b"}) is None


def test_a_server_is_down_after_so_many_failures_in_a_row_and_says_so_once() -> None:
    server = Server(spec("a"))
    answers = [server.noted(good=good, threshold=3) == "down" for good in (False, False, True, *[False] * 4)]
    assert answers == [False, False, False, False, False, True, False]
    assert not server.usable


def test_load_and_health_belong_to_the_instance_and_not_to_its_name_or_address() -> None:
    servers = pool(spec("a", uid="first"))
    old = the(servers, "a")
    old.up, old.ewma = False, 5.0
    old.running.add("task")
    assert servers.update([spec("a", uid="second")], 0.0) == [old]
    new = the(servers, "a")
    assert (new.up, new.ewma, new.tasks) == (True, 0.0, 0)
    assert servers.update([spec("b", address="http://a")], 0.0) == [new]
    assert the(servers, "b").tasks == 0


def test_a_change_of_a_server_keeps_its_load() -> None:
    servers = pool(spec("a"))
    the(servers, "a").running.add("task")
    assert servers.update([spec("a", draining=True)], 0.0) == []
    assert the(servers, "a").tasks == 1
    assert not the(servers, "a").usable


def test_fewer_slots_than_tasks_is_no_free_slot_and_no_debt() -> None:
    servers = pool(spec("a", slots=4))
    start(servers, 3)
    servers.update([spec("a", slots=2)], 0.0)
    assert the(servers, "a").free == 0
    servers.update([spec("a", slots=5)], 0.0)
    assert the(servers, "a").free == 2


networks = st.lists(
    st.integers(0, 2**16).map(lambda n: f"10.0.{n >> 8}.{n & 255}"), min_size=1, max_size=40, unique=True
)


@given(networks, st.integers(2, 8))
def test_a_network_keeps_its_server_while_that_lasts(keys: list[str], count: int) -> None:
    names = [f"s{n}" for n in range(count)]
    before, after = pool(*map(spec, names)), pool(*map(spec, names[1:]))
    for key in keys:
        was, now = before.for_network(key, 0.0), after.for_network(key, 0.0)
        assert was is not None
        assert now is not None
        if was.spec.name != "s0":
            assert now.spec.name == was.spec.name


def test_networks_are_spread_over_the_servers() -> None:
    servers = pool(*(spec(f"s{n}") for n in range(4)))
    counts: dict[str, int] = {}
    for number in range(2000):
        server = servers.for_network(f"10.0.{number >> 8}.{number & 255}", 0.0)
        assert server is not None
        counts[server.spec.name] = counts.get(server.spec.name, 0) + 1
    assert len(counts) == 4
    assert min(counts.values()) > 400


# --- health --------------------------------------------------------------------------------------------------------

POLICY = ServerSettings(
    failure_threshold=2,
    slow_start_seconds=0,
    ejection=Ejection(consecutive_failures=2, base_seconds=10, max_seconds=30, max_ejected_percent=50),
)


def watched(*names: str, settings: ServerSettings = POLICY) -> Servers:
    servers = Servers()
    servers.settings = settings
    servers.update([spec(name) for name in names], 0.0)
    return servers


def fail(servers: Servers, name: str, now: float, times: int = 2) -> Change | None:
    return [servers.failed(the(servers, name), now, answered=True) for _ in range(times)][-1]


def usable(servers: Servers) -> str:
    return "".join(server.spec.name for server in servers if server.usable)


def test_a_server_that_fails_too_many_tasks_gets_none_for_a_while_and_then_again() -> None:
    servers = watched("a", "b")
    assert fail(servers, "a", 5.0) == "ejected"
    assert usable(servers) == "b"
    assert the(servers, "a").up, "it is not dead: the operator has no reason to replace it"
    assert servers.next_change(5.0) == 15.0
    servers.advance(14.9)
    assert usable(servers) == "b"
    servers.advance(15.0)
    assert usable(servers) == "ab"
    assert fail(servers, "a", 16.0, times=1) == "ejected", "its first failure is enough now"
    servers.advance(35.9)
    assert usable(servers) == "b"
    servers.advance(36.0)
    assert usable(servers) == "ab"


def test_the_last_one_is_never_ejected() -> None:
    servers = watched("a", "b", "c", "d")
    assert [fail(servers, name, 0.0) for name in "abcd"] == ["ejected", "ejected", None, None]
    assert usable(servers) == "cd"
    assert [fail(watched("a"), "a", 0.0, times=99)] == [None]


def test_when_others_go_the_ejected_come_back_before_their_time_those_first_whose_time_is_nearest() -> None:
    servers = watched("a", "b", "c", "d")
    fail(servers, "b", 0.0)
    fail(servers, "a", 1.0)
    servers.update([spec("a"), spec("b"), spec("c")], 2.0)
    assert usable(servers) == "bc"
    servers.probed(the(servers, "c"), 3.0, good=False)
    servers.probed(the(servers, "c"), 3.0, good=False)
    assert usable(servers) == "b"
    servers.update([spec("a"), spec("b", draining=True), spec("c")], 4.0)
    assert usable(servers) == "a"


def test_probes_say_whether_it_is_up_and_say_nothing_of_its_answers() -> None:
    servers = watched("a", "b")
    assert [servers.probed(the(servers, "a"), 0.0, good=False) for _ in range(3)] == [None, "down", None]
    assert usable(servers) == "b"
    assert servers.probed(the(servers, "a"), 1.0, good=True) == "up"
    fail(servers, "a", 2.0)
    assert servers.probed(the(servers, "a"), 3.0, good=True) is None
    assert usable(servers) == "b"


def test_with_all_servers_down_there_is_none_whatever_the_floor_of_ejections_says() -> None:
    servers = watched("a", "b")
    for name in "aabb":
        servers.unreachable(the(servers, name), 0.0)
    assert usable(servers) == ""


def test_what_failed_before_it_died_counts_no_more_when_it_is_up_again_but_only_once() -> None:
    servers = watched("a", "b")
    for now, then in ((0.0, "ab"), (100.0, "ab"), (101.0, "b")):
        fail(servers, "a", now)
        for good in (False, False, True):
            servers.probed(the(servers, "a"), now + 0.5, good=good)
        assert usable(servers) == then, now


def test_an_answer_however_bad_shows_that_it_can_be_reached() -> None:
    servers = watched("a", "b")
    servers.unreachable(the(servers, "a"), 0.0)
    fail(servers, "a", 0.0, times=1)
    assert servers.unreachable(the(servers, "a"), 0.0) is None


def test_another_address_is_another_process_with_a_clean_slate() -> None:
    servers = watched("a", "b")
    fail(servers, "a", 0.0)
    servers.update([spec("a", address="http://elsewhere"), spec("b")], 1.0)
    assert usable(servers) == "ab"
    assert the(servers, "a").health.total == 1, "a counter does not go back"


def test_how_long_it_has_been_draining_is_known() -> None:
    servers = watched("a")
    for now in (5.0, 9.0):
        servers.update([spec("a", draining=True)], now)
    assert the(servers, "a").draining_since == 5.0
    servers.update([spec("a")], 10.0)
    assert the(servers, "a").draining_since is None


events = st.lists(
    st.tuples(
        st.sampled_from(["fail", "succeed", "probe", "miss", "drain", "undrain", "go", "come"]),
        st.sampled_from("abcd"),
        st.floats(0, 20),
    ),
    max_size=60,
)


@given(events, st.sampled_from([0, 34, 50, 100]))
def test_whatever_happens_enough_servers_remain_and_the_ejected_come_back(
    happened: list[tuple[str, str, float]], percent: int
) -> None:
    servers = watched(
        *"abcd",
        settings=replace(POLICY, ejection=replace(POLICY.ejection, max_ejected_percent=percent)),
    )
    specs, now = {name: spec(name) for name in "abcd"}, 0.0
    for what, name, later in happened:
        now += later
        server = servers.get(name)
        if what in ("go", "come", "drain", "undrain"):
            if what == "go":
                specs.pop(name, None)
            else:
                specs[name] = spec(name, draining=what == "drain")
            servers.update(list(specs.values()), now)
        elif server is not None and what in ("fail", "succeed"):
            if what == "fail":
                servers.failed(server, now, answered=True)
            else:
                servers.succeeded(server, now, 1.0)
        elif server is not None:
            servers.probed(server, now, good=what == "probe")
        servers.advance(now)
        able = [s for s in servers if s.able]
        ejected = [s for s in able if s.health.ejected]
        assert len(ejected) <= len(able) * percent // 100
        assert not able or len(ejected) < len(able)
        assert all(s.free >= 0 for s in servers)
        due = servers.next_change(now)
        assert due is None or due > now
    servers.advance(now + 30.0)
    assert not any(server.health.ejected for server in servers)


def test_how_long_slots_were_taken_is_counted_as_it_happens() -> None:
    server = Server(spec("a", slots=2))
    assert server.busy_seconds(100.0) == 0.0, "idle time is none"
    server.enter("one", 100.0)
    server.enter("two", 103.0)
    assert server.busy_seconds(105.0) == 5.0 + 2.0
    server.leave("one", 110.0)
    assert server.busy_seconds(111.0) == 10.0 + 8.0
    server.leave("two", 112.0)
    assert server.busy_seconds(999.0) == 19.0


def test_a_task_that_left_its_slot_cannot_leave_it_again() -> None:
    server = Server(spec("a"))
    server.enter("one", 0.0)
    server.leave("one", 1.0)
    with pytest.raises(KeyError):
        server.leave("one", 2.0)
