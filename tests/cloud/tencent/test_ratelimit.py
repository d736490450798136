"""20 calls per second for each action in each region; callers wait, in order, and are never failed for it."""

import asyncio

import pytest

from controller.cloud.errors import ThrottledError
from controller.cloud.tencent.ratelimit import RateLimiter

pytestmark = pytest.mark.looptime


async def turns(
    limiter: RateLimiter, calls: int, action: str = "RunInstances", region: str = "ap-beijing"
) -> list[float]:
    loop = asyncio.get_running_loop()
    start = loop.time()

    async def one() -> float:
        await limiter.wait(action, region)
        return loop.time() - start

    return list(await asyncio.gather(*(one() for _ in range(calls))))


async def test_twenty_calls_go_at_once_and_the_next_wait_for_the_window_to_end() -> None:
    at = await turns(RateLimiter(calls=20, period_s=1.1), 41)
    assert at[:20] == [0.0] * 20
    assert at[20:40] == pytest.approx([1.1] * 20)
    assert at[40] == pytest.approx(2.2)


async def test_no_span_of_one_second_ever_holds_more_than_twenty() -> None:
    limiter = RateLimiter()
    loop = asyncio.get_running_loop()
    at: list[float] = []

    async def one(delay: float) -> None:
        await asyncio.sleep(delay)
        await limiter.wait("DescribeInstances", "ap-beijing")
        at.append(loop.time())

    await asyncio.gather(*(one(number * 0.03) for number in range(200)))
    at.sort()
    assert len(at) == 200
    assert min(later - earlier for earlier, later in zip(at, at[20:], strict=False)) >= 1.0


async def test_actions_and_regions_do_not_slow_each_other_down() -> None:
    limiter = RateLimiter()
    spans = await asyncio.gather(
        turns(limiter, 20),
        turns(limiter, 20, region="ap-nanjing"),
        turns(limiter, 20, action="TerminateInstances"),
    )
    assert list(spans) == [[0.0] * 20] * 3


async def test_turns_are_given_in_the_order_of_asking() -> None:
    limiter = RateLimiter(calls=1, period_s=1.0)
    served: list[int] = []

    async def one(number: int) -> None:
        await limiter.wait("RunInstances", "ap-beijing")
        served.append(number)

    await asyncio.gather(*(one(number) for number in range(10)))
    assert served == list(range(10))


async def test_a_wait_beyond_all_patience_is_refused_and_costs_nobody_a_turn() -> None:
    limiter = RateLimiter(calls=1, period_s=10.0, max_wait_s=15.0)
    assert await turns(limiter, 1) == [0.0]
    waiting = asyncio.create_task(turns(limiter, 1))
    await asyncio.sleep(1.0)
    with pytest.raises(ThrottledError, match="waiting for their turn"):
        await limiter.wait("RunInstances", "ap-beijing")
    assert await waiting == pytest.approx([10.0])
