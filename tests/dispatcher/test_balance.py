"""Which server is next, and how a new one comes to its share."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.api.server import Server as ServerSettings
from controller.dispatcher.balance import FIRST_SHARE, choose, next_slot_age, open_slots, ramp
from controller.dispatcher.servers import Server, Servers, ServerSpec


def server(name: str = "a", *, tasks: int = 0, ewma: float = 0.0, share: float = 1.0, **fields: Any) -> Server:
    made = Server(ServerSpec(name, f"uid-{name}", f"http://{name}", **fields), ewma=ewma, share=share)
    made.running.update(str(number) for number in range(tasks))
    return made


def failing(name: str, failures: int, **fields: Any) -> Server:
    made = server(name, **fields)
    made.health.failures = failures
    return made


@pytest.mark.parametrize(
    ("servers", "chosen"),
    [
        ((), None),
        ((server("a", tasks=1), server("b")), "b"),
        ((server("a", tasks=1),), None),
        ((server("a", tasks=1, slots=2), server("b", tasks=1, slots=4)), "b"),
        ((server("a", slots=2), server("b", speed=3.0)), "b"),  # 1/2 against 1/3
        ((server("a", slots=4), server("b", speed=3.0)), "a"),
        ((server("a", ewma=9.0), server("b", ewma=3.0)), "b"),
        ((server("a", tasks=1, slots=2, ewma=1.0), server("b", ewma=9.0)), "a"),  # load says the same, so quickness
        ((server("b"), server("a")), "a"),
        ((server("a", share=0.5), server("b")), "b"),
        ((server("a", share=0.5), server("b", tasks=1)), "a"),  # new, but free
        ((server("a", slots=10, share=0.1), server("b", tasks=2, slots=4)), "b"),
        ((failing("a", 1), server("b", ewma=60.0)), "b"),  # what fails at once is quick and idle, and comes last
        ((failing("a", 1, slots=8), server("b", tasks=1, slots=2)), "b"),
        ((failing("a", 2), failing("b", 1)), "b"),
        ((failing("a", 1), server("b", tasks=1)), "a"),  # better than to wait
    ],
)
def test_the_server_for_the_next_task(servers: tuple[Server, ...], chosen: str | None) -> None:
    best = choose(servers)
    assert (None if best is None else best.spec.name) == chosen


def test_not_to_one_that_is_excluded() -> None:
    best = choose((server("a"), server("b", tasks=3, slots=4)), {"a"})
    assert best is not None
    assert best.spec.name == "b"


@pytest.mark.parametrize(
    ("age", "seconds", "share"),
    [(0, 30, 0.1), (15, 30, 0.55), (30, 30, 1.0), (99, 30, 1.0), (0, 0, 1.0), (-5, 30, 0.1)],
)
def test_a_share_grows_evenly_from_a_tenth(age: float, seconds: float, share: float) -> None:
    assert ramp(age, seconds) == pytest.approx(share)


@pytest.mark.parametrize(("slots", "share", "opened"), [(1, 0.1, 1), (4, 0.1, 1), (4, 0.5, 2), (4, 0.99, 3), (4, 1, 4)])
def test_slots_open_one_by_one(slots: int, share: float, opened: int) -> None:
    assert open_slots(slots, share) == opened


@given(st.integers(2, 50), st.floats(0, 1), st.integers(1, 600))
def test_when_the_next_slot_opens_is_known(slots: int, age: float, seconds: int) -> None:
    share = ramp(age * seconds, seconds)
    opened = open_slots(slots, share)
    if opened < slots:
        at = next_slot_age(slots, share, seconds)
        assert age * seconds <= at + 1e-6
        assert open_slots(slots, ramp(at + 1e-6, seconds)) >= opened + 1
        assert open_slots(slots, ramp(at - 1e-3 * seconds, seconds)) <= opened


def pool(*specs: ServerSpec, now: float = 0.0) -> Servers:
    servers = Servers()
    servers.settings = ServerSettings(slow_start_seconds=30)
    servers.update(specs, now)
    return servers


def spec(name: str, **fields: Any) -> ServerSpec:
    return ServerSpec(name, f"uid-{name}", f"http://{name}", **fields)


def share_of(servers: Servers, name: str) -> float:
    found = servers.get(name)
    assert found is not None
    return found.share


def test_where_all_are_new_none_has_to_stand_back() -> None:
    """When the dispatcher starts, it must not serve with a tenth of the pool."""
    servers = pool(spec("a", slots=4), spec("b", slots=4))
    assert [s.free for s in servers] == [4, 4]


def test_one_that_joins_a_seasoned_pool_comes_to_its_share_with_time() -> None:
    servers = pool(spec("a", slots=4))
    servers.update([spec("a", slots=4), spec("b", slots=4)], 100.0)
    shares, free = [], []
    for now in (100.0, 115.0, 129.0, 130.0):
        servers.advance(now)
        shares.append(share_of(servers, "b"))
        free.append([s.free for s in servers])
    assert shares == pytest.approx([FIRST_SHARE, 0.55, 0.97, 1.0])
    assert free == [[4, 1], [4, 2], [4, 3], [4, 4]]
    assert servers.next_change(130.0) is None


def test_when_the_seasoned_ones_go_the_new_one_takes_all() -> None:
    servers = pool(spec("a", slots=4))
    servers.update([spec("a", slots=4), spec("b", slots=4)], 100.0)
    servers.update([spec("b", slots=4)], 101.0)
    assert [s.free for s in servers] == [4]


def test_one_that_is_up_again_or_ready_again_starts_slowly_too() -> None:
    servers = pool(spec("a"), spec("b"), spec("c"))
    found = servers.get("b")
    assert found is not None
    for _ in range(3):
        servers.probed(found, 100.0, good=False)
    servers.update([spec("a"), spec("b"), spec("c", ready=False)], 100.0)
    servers.probed(found, 200.0, good=True)
    servers.update([spec("a"), spec("b"), spec("c")], 200.0)
    assert [share_of(servers, name) for name in "abc"] == pytest.approx([1.0, FIRST_SHARE, FIRST_SHARE])


def test_without_a_slow_start_a_new_one_has_its_share_at_once() -> None:
    servers = pool(spec("a", slots=4))
    servers.settings = ServerSettings(slow_start_seconds=0)
    servers.update([spec("a", slots=4), spec("b", slots=4)], 100.0)
    assert [s.free for s in servers] == [4, 4]
