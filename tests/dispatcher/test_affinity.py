"""Which server a network belongs to, and when it moves."""

from collections import Counter
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from controller.dispatcher.affinity import IDLE_SECONDS, Homes
from controller.dispatcher.servers import Server, Servers, ServerSpec


def spec(name: str, **fields: Any) -> ServerSpec:
    return ServerSpec(name, f"uid-{name}", f"http://{name}", **fields)


def pool(*specs: ServerSpec) -> Servers:
    servers = Servers()
    servers.affine = True
    servers.update(specs, 0.0)
    return servers


def home(servers: Servers, network: str, now: float = 0.0) -> str:
    server = servers.for_task(network, now)
    assert server is not None
    return server.spec.name


def the(servers: Servers, name: str) -> Server:
    server = servers.get(name)
    assert server is not None
    return server


def test_networks_are_spread_evenly_and_by_what_servers_can_do() -> None:
    servers = pool(spec("a"), spec("b"), spec("c", slots=2))
    assert Counter(home(servers, f"10.0.0.{n}") for n in range(40)) == {"a": 10, "b": 10, "c": 20}


def test_tasks_and_all_else_of_a_network_go_to_the_same_server() -> None:
    servers = pool(*(spec(f"s{n}") for n in range(5)))
    for number in range(20):
        through = servers.for_network(f"n{number}", 1.0)
        assert through is not None
        assert home(servers, f"n{number}", 2.0) == through.spec.name


def test_a_network_stays_when_servers_join() -> None:
    servers = pool(spec("a"))
    homes = [home(servers, f"n{n}") for n in range(9)]
    servers.update([spec(name) for name in "abc"], 10.0)
    assert [home(servers, f"n{n}", 11.0) for n in range(9)] == homes
    assert home(servers, "new", 11.0) in "bc"


@given(st.sampled_from(["gone", "draining", "down", "ejected", "not ready", "replaced"]))
def test_a_network_moves_when_its_server_takes_no_work_and_does_not_come_back(how: str) -> None:
    servers = pool(spec("a"), spec("b"))
    networks = {name: next(f"n{n}" for n in range(99) if home(servers, f"n{n}") == name) for name in "ab"}
    changed = {
        "gone": [spec("b")],
        "draining": [spec("a", draining=True), spec("b")],
        "not ready": [spec("a", ready=False), spec("b")],
        "replaced": [ServerSpec("a", "another", "http://a"), spec("b")],
    }
    if how in changed:
        servers.update(changed[how], 1.0)
    elif how == "down":
        the(servers, "a").up = False
    else:
        the(servers, "a").health.until = 99.0
    if how != "replaced":
        assert home(servers, networks["a"], 2.0) == "b"
        servers.update([spec("a"), spec("b")], 3.0)
        the(servers, "a").up, the(servers, "a").health.until = True, None
        assert home(servers, networks["a"], 4.0) == "b"
    assert home(servers, networks["b"], 5.0) == "b"


def test_while_a_server_that_drains_works_for_a_network_that_can_watch_it_there() -> None:
    servers = pool(spec("a"))
    home(servers, "n")
    the(servers, "a").guests["n"] += 1
    servers.update([spec("a", draining=True), spec("b")], 1.0)
    watching, others = servers.for_network("n", 2.0), servers.for_network("m", 2.0)
    assert watching is the(servers, "a")
    assert others is the(servers, "b")
    del the(servers, "a").guests["n"]
    assert servers.for_network("n", 3.0) is the(servers, "b")


def test_nowhere_to_go_is_said_and_remembers_nothing() -> None:
    servers = pool(spec("a", ready=False))
    assert servers.for_task("n", 0.0) is None
    servers.update([spec("a", ready=False), spec("b")], 1.0)
    assert home(servers, "n", 1.0) == "b"


def test_who_asks_for_nothing_for_an_hour_is_forgotten() -> None:
    homes = Homes()
    homes.move("old", "a", 0.0)
    homes.move("new", "a", 100.0)
    assert homes.find("new", IDLE_SECONDS + 50) == "a"
    assert len(homes) == homes.guests("a") == 1
    assert homes.find("old", IDLE_SECONDS + 50) is None


def test_of_too_many_those_are_forgotten_that_asked_for_nothing_the_longest() -> None:
    homes = Homes(remembered=2)
    homes.move("x", "a", 0.0)
    homes.move("y", "b", 1.0)
    homes.find("x", 2.0)
    homes.move("z", "c", 3.0)
    assert [homes.find(name, 4.0) for name in "xyz"] == ["a", None, "c"]
    assert homes.guests("b") == 0


@given(st.lists(st.tuples(st.integers(0, 9), st.sampled_from("abc"), st.integers(0, 2000)), max_size=60))
def test_the_count_of_guests_is_always_the_number_of_networks(moves: list[tuple[int, str, int]]) -> None:
    homes, now = Homes(remembered=5), 0.0
    for network, uid, later in moves:
        now += later
        if homes.find(str(network), now) != uid:
            homes.move(str(network), uid, now)
        assert sum(homes.guests(each) for each in "abc") == len(homes) <= 5
