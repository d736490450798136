"""One operator decides at a time: the Lease is taken, kept, lost and given back, in virtual time."""

import asyncio
import copy
from collections.abc import Mapping
from typing import Any, cast

import pytest

from controller.kube.client import AlreadyExistsError, ConflictError, KubeClient, NotFoundError, UnavailableError
from controller.operator.lease import DEADLINE_SECONDS, DURATION_SECONDS, RENEW_SECONDS, RETRY_SECONDS, Lease

pytestmark = pytest.mark.looptime


class Api:
    """An API server that keeps one Lease, in memory, since real sockets know no virtual time."""

    def __init__(self) -> None:
        self.lease: dict[str, Any] | None = None
        self.version = 0
        self.down = False

    async def get(self, *_: Any, **__: Any) -> dict[str, Any]:
        self._reachable()
        if self.lease is None:
            raise NotFoundError("no lease")
        return copy.deepcopy(self.lease)

    async def create(self, _: Any, body: Mapping[str, Any], **__: Any) -> dict[str, Any]:
        self._reachable()
        if self.lease is not None:
            raise AlreadyExistsError("there is one")
        return self._store({"spec": body["spec"]})

    async def patch(self, _: Any, __: str, body: Mapping[str, Any], **___: Any) -> dict[str, Any]:
        self._reachable()
        if self.lease is None:
            raise NotFoundError("no lease")
        if body["metadata"]["resourceVersion"] != self.lease["metadata"]["resourceVersion"]:
            raise ConflictError("changed")
        return self._store({"spec": {**self.lease["spec"], **body["spec"]}})

    def _store(self, lease: dict[str, Any]) -> dict[str, Any]:
        self.version += 1
        self.lease = {**lease, "metadata": {"resourceVersion": str(self.version)}}
        return copy.deepcopy(self.lease)

    def _reachable(self) -> None:
        if self.down:
            raise UnavailableError("no route")

    @property
    def holder(self) -> str:
        assert self.lease is not None
        return str(self.lease["spec"]["holderIdentity"])


@pytest.fixture
def api() -> Api:
    return Api()


def candidate(api: Api, *, ahead: float = 0.0) -> Lease:
    """A candidate whose wall clock is ahead by so many seconds."""
    return Lease(cast("KubeClient", api), "ns", clock=lambda: asyncio.get_running_loop().time() + ahead)


def elapsed() -> float:
    return asyncio.get_running_loop().time()


async def test_the_first_takes_it_at_once(api: Api) -> None:
    lease = candidate(api)
    await lease.acquire()
    assert api.holder == lease.identity
    assert elapsed() == 0


@pytest.mark.parametrize("ahead", [0.0, 3600.0, -3600.0])
async def test_while_it_is_renewed_no_other_gets_it_however_their_clocks_differ(api: Api, ahead: float) -> None:
    first, second = candidate(api), candidate(api, ahead=ahead)
    await first.acquire()
    keeping, waiting = asyncio.create_task(first.hold()), asyncio.create_task(second.acquire())
    await asyncio.sleep(600)
    assert not waiting.done()
    assert not keeping.done()
    assert api.holder == first.identity
    for task in (keeping, waiting):
        task.cancel()
    await asyncio.gather(keeping, waiting, return_exceptions=True)


async def test_after_a_holder_died_another_waits_for_the_whole_duration(api: Api) -> None:
    first, second = candidate(api), candidate(api)
    await first.acquire()
    await second.acquire()
    assert DURATION_SECONDS < elapsed() <= DURATION_SECONDS + 2 * RETRY_SECONDS
    assert api.holder == second.identity


async def test_a_lease_given_back_is_taken_at_the_next_attempt(api: Api) -> None:
    first, second = candidate(api), candidate(api)
    await first.acquire()
    waiting = asyncio.create_task(second.acquire())
    await asyncio.sleep(RETRY_SECONDS / 2)
    await first.release()
    await waiting
    assert elapsed() <= 2 * RETRY_SECONDS
    assert api.holder == second.identity


async def test_who_was_held_up_finds_another_in_its_place_and_says_who(api: Api) -> None:
    first, second = candidate(api), candidate(api)
    await first.acquire()
    await second.acquire()
    assert await first.hold() == f"it is held by {second.identity} now"


async def test_who_cannot_renew_gives_up_before_another_may_take_over(api: Api) -> None:
    lease = candidate(api)
    await lease.acquire()
    api.down = True
    why = await lease.hold()
    assert "could not be renewed" in why
    assert DEADLINE_SECONDS < elapsed() < DURATION_SECONDS


async def test_a_short_outage_of_the_api_server_costs_nothing(api: Api) -> None:
    lease = candidate(api)
    await lease.acquire()
    keeping = asyncio.create_task(lease.hold())
    await asyncio.sleep(RENEW_SECONDS - 0.5)
    api.down = True
    await asyncio.sleep(RETRY_SECONDS + 1)
    api.down = False
    await asyncio.sleep(120)
    assert not keeping.done()
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)


async def test_a_renewal_whose_answer_was_lost_is_no_loss(api: Api) -> None:
    lease = candidate(api)
    await lease.acquire()
    keeping = asyncio.create_task(lease.hold())
    await asyncio.sleep(RENEW_SECONDS - 0.5)
    # The record moves on without the holder knowing of it, under its own name.
    api._store({"spec": dict((await api.get())["spec"])})
    await asyncio.sleep(120)
    assert not keeping.done()
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)


async def test_a_lease_that_someone_deleted_is_made_again(api: Api) -> None:
    lease = candidate(api)
    await lease.acquire()
    keeping = asyncio.create_task(lease.hold())
    api.lease = None
    await asyncio.sleep(RENEW_SECONDS + 1)
    assert api.holder == lease.identity
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)
