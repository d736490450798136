"""Which server a task goes to, and what is remembered of a server."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from controller.dispatcher.servers import Server, Servers, ServerSpec


def spec(name: str, **fields: Any) -> ServerSpec:
    return ServerSpec(**{"name": name, "uid": f"uid-{name}", "address": f"http://{name}", **fields})


def pool(*specs: ServerSpec) -> Servers:
    servers = Servers()
    servers.update(specs)
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
    assert servers.for_network("203.0.113.5") is None
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
    answers = [server.noted(good=good, threshold=3) for good in (False, False, True, False, False, False, False)]
    assert answers == [False, False, False, False, False, True, False]
    assert not server.usable


def test_load_and_health_belong_to_the_instance_and_not_to_its_name_or_address() -> None:
    servers = pool(spec("a", uid="first"))
    old = the(servers, "a")
    old.up, old.ewma = False, 5.0
    old.running.add("task")
    assert servers.update([spec("a", uid="second")]) == [old]
    new = the(servers, "a")
    assert (new.up, new.ewma, new.tasks) == (True, 0.0, 0)
    assert servers.update([spec("b", address="http://a")]) == [new]
    assert the(servers, "b").tasks == 0


def test_a_change_of_a_server_keeps_its_load() -> None:
    servers = pool(spec("a"))
    the(servers, "a").running.add("task")
    assert servers.update([spec("a", draining=True)]) == []
    assert the(servers, "a").tasks == 1
    assert not the(servers, "a").usable


def test_fewer_slots_than_tasks_is_no_free_slot_and_no_debt() -> None:
    servers = pool(spec("a", slots=4))
    start(servers, 3)
    servers.update([spec("a", slots=2)])
    assert the(servers, "a").free == 0
    servers.update([spec("a", slots=5)])
    assert the(servers, "a").free == 2


networks = st.lists(
    st.integers(0, 2**16).map(lambda n: f"10.0.{n >> 8}.{n & 255}"), min_size=1, max_size=40, unique=True
)


@given(networks, st.integers(2, 8))
def test_a_network_keeps_its_server_while_that_lasts(keys: list[str], count: int) -> None:
    names = [f"s{n}" for n in range(count)]
    before, after = pool(*map(spec, names)), pool(*map(spec, names[1:]))
    for key in keys:
        was, now = before.for_network(key), after.for_network(key)
        assert was is not None
        assert now is not None
        if was.spec.name != "s0":
            assert now.spec.name == was.spec.name


def test_networks_are_spread_over_the_servers() -> None:
    servers = pool(*(spec(f"s{n}") for n in range(4)))
    counts: dict[str, int] = {}
    for number in range(2000):
        server = servers.for_network(f"10.0.{number >> 8}.{number & 255}")
        assert server is not None
        counts[server.spec.name] = counts.get(server.spec.name, 0) + 1
    assert len(counts) == 4
    assert min(counts.values()) > 400
