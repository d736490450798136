"""A listing is called complete only when nothing that existed throughout can be missing from it."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.cloud.contract import CloudInstance, InstanceState
from controller.cloud.errors import InvalidRequestError, UnavailableError
from controller.cloud.tencent.paging import CHARGE_TYPES, PAGE_SIZE, Filters, Page, read_instances

DOCUMENTED = {"RUNNING", "PENDING", "STOPPED", "ARREARS", "STOPPED_NO_CHARGE"}


def instance(number: int, state: InstanceState = "RUNNING") -> CloudInstance:
    return CloudInstance(f"hai-{number:05d}", "", state, None, None, busy=False, created="")


class Account:
    """A server's side of DescribeInstances, with a hook that changes the account before a page is read."""

    def __init__(self, count: int, *, bound: int | None = None, page_size: int = PAGE_SIZE) -> None:
        self.instances = [instance(number) for number in range(count)]
        #: Charge type of those that have another than the first.
        self.charge: dict[str, str] = {}
        self.bound = bound
        self.page_size = page_size
        self.reads: list[tuple[dict[str, str], int]] = []
        self.before: Callable[[int], None] = lambda _: None

    async def read(self, filters: Filters, offset: int) -> Page[CloudInstance]:
        self.before(len(self.reads))
        self.reads.append((dict(filters), offset))
        if self.bound is not None and offset > self.bound:
            raise InvalidRequestError("Offset must not exceed 100", code="InvalidParameterValue")
        state, charge = filters.get("instance-state"), filters.get("charge-type")
        if state is not None and state not in DOCUMENTED:
            raise InvalidRequestError("unknown state", code="InvalidParameterValue")
        shown = [
            one
            for one in self.instances
            if state in (None, one.state) and charge in (None, self.charge.get(one.instance_id, CHARGE_TYPES[0]))
        ]
        return Page(len(shown), shown[offset : offset + self.page_size])

    def set_states(self, *runs: tuple[InstanceState, int]) -> None:
        states = [state for state, count in runs for _ in range(count)]
        self.instances = [instance(number, state) for number, state in enumerate(states)]


async def ids(account: Account) -> tuple[set[str], bool]:
    found, complete = await read_instances(account.read)
    assert len({one.instance_id for one in found}) == len(found)
    return {one.instance_id for one in found}, complete


@pytest.mark.parametrize("count", [0, 1, 2, 99, 100, 101, 198, 199, 200, 201, 350])
@pytest.mark.parametrize("page_size", [50, 100])
async def test_a_server_that_pages_without_a_bound_is_read_in_full(count: int, page_size: int) -> None:
    account = Account(count, page_size=page_size)
    assert await ids(account) == ({one.instance_id for one in account.instances}, True)


async def test_a_hundred_instances_take_one_read() -> None:
    account = Account(100)
    await ids(account)
    assert account.reads == [({}, 0)]


async def test_beyond_a_bound_the_list_is_read_state_by_state() -> None:
    account = Account(0, bound=100)
    account.set_states(("RUNNING", 150), ("PENDING", 120), ("ARREARS", 20))
    assert await ids(account) == ({one.instance_id for one in account.instances}, True)


async def test_a_state_that_is_too_long_by_itself_is_read_by_charge_type() -> None:
    account = Account(300, bound=100)
    account.charge = {one.instance_id: CHARGE_TYPES[number % 2] for number, one in enumerate(account.instances)}
    assert await ids(account) == ({one.instance_id for one in account.instances}, True)


async def test_what_no_filter_can_reach_makes_the_listing_incomplete() -> None:
    found, complete = await ids(Account(300, bound=100))
    assert not complete
    assert len(found) == 200 - 1  # two pages with an overlap of one

    with_failed = Account(0, bound=100)
    with_failed.set_states(("RUNNING", 198), ("LAUNCH_FAILED", 10))
    _, complete = await ids(with_failed)
    assert not complete


async def test_a_total_that_is_never_reached_is_not_complete() -> None:
    account = Account(30)

    async def one_more(filters: Filters, offset: int) -> Page[CloudInstance]:
        page = await account.read(filters, offset)
        return Page(page.total + 1, page.items)

    found, complete = await read_instances(one_more)
    assert len(found) == 30
    assert not complete


async def test_an_instance_destroyed_between_two_pages_does_not_hide_another() -> None:
    account = Account(250)

    def destroy_early_and_buy_late(read: int) -> None:
        if read == 1:
            del account.instances[10]
            account.instances.append(instance(999))  # the total stays the same

    account.before = destroy_early_and_buy_late
    found, complete = await ids(account)
    assert complete  # the second reading found it all
    assert {one.instance_id for one in account.instances} <= found
    assert account.reads.count(({}, 0)) == 2


async def test_a_list_that_changes_all_the_time_is_handed_over_as_incomplete() -> None:
    account = Account(250)
    account.before = lambda _: account.instances.__delitem__(0)
    _, complete = await ids(account)
    assert not complete


async def test_an_instance_that_starts_running_while_parts_are_read_is_not_lost() -> None:
    account = Account(0, bound=100)
    account.set_states(("RUNNING", 150), ("PENDING", 80))

    def start_one(read: int) -> None:
        if account.reads and account.reads[-1][0].get("instance-state") == "PENDING":
            account.set_states(("RUNNING", 160), ("PENDING", 70))

    account.before = start_one
    assert await ids(account) == ({one.instance_id for one in account.instances}, True)


async def test_a_failed_read_is_a_failed_listing_not_a_short_one() -> None:
    account = Account(150)

    def fail(read: int) -> None:
        if read == 1:
            raise UnavailableError("down")

    account.before = fail
    with pytest.raises(UnavailableError):
        await read_instances(account.read)


@settings(max_examples=100, deadline=None)
@given(
    count=st.integers(90, 320),
    bound=st.sampled_from([None, 100]),
    changes=st.lists(st.tuples(st.integers(1, 12), st.integers(0, 400), st.booleans()), max_size=4),
)
async def test_complete_means_that_nothing_that_stayed_is_missing(
    count: int, bound: int | None, changes: list[tuple[int, int, bool]]
) -> None:
    """Whatever is bought (at the end of a stable order) and destroyed between any two reads."""
    account = Account(count, bound=bound)
    stayed = {one.instance_id for one in account.instances}
    fresh = iter(range(1000, 2000))

    def change(read: int) -> None:
        for at, index, buy in changes:
            if at != read:
                continue
            if buy:
                new = instance(next(fresh))
                account.instances.append(new)
            elif account.instances:
                gone = account.instances.pop(index % len(account.instances))
                stayed.discard(gone.instance_id)

    account.before = change
    found, complete = await read_instances(account.read)
    assert not complete or stayed <= {one.instance_id for one in found}
