"""What all tests share."""

import asyncio


def pytest_configure() -> None:
    """Say that the main thread has no event loop until a test brings one.

    looptime asks the policy for the current loop around synchronous tests too. Where nothing was ever set, the policy
    answers by making a loop that nobody closes, and its ResourceWarning fails whichever test comes later.
    """
    asyncio.set_event_loop(None)
