"""One destination: what it has still to hear, and the task that sees to it.

What it has to hear is set anew by every decision, not queued: so it never grows, an alert that ends before it could be
told is told once, as ended, and a failed delivery needs no bookkeeping beyond being tried again.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from controller.api.notifications import Notification, SecretEntry
from controller.operator.notify.answers import judge
from controller.operator.notify.bodies import build
from controller.operator.notify.errors import (
    BadSecretError,
    DeliveryError,
    FaultError,
    Outcome,
    ThrottledError,
    UnreachableError,
)
from controller.operator.notify.guard import Target, parse
from controller.operator.notify.pace import Paces
from controller.operator.notify.sender import Sender
from controller.operator.notify.texts import Notice
from controller.operator.secrets import SecretError, Secrets
from controller.scaling.alertstate import rank

logger = logging.getLogger(__name__)

Key = tuple[str, str]
Wanted = Mapping[Key, Notice]


@dataclass(frozen=True, slots=True)
class Times:
    """How patient a courier is. Seconds."""

    #: Attempts in a row, and the first and longest pause between them.
    attempts: int = 3
    retry_first: float = 1.0
    retry_longest: float = 20.0
    #: After those: the first and longest pause until it all begins again.
    rest_first: float = 30.0
    rest_longest: float = 120.0
    #: Between two looks whether a destination with nothing to hear could be reached.
    check: float = 300.0


@dataclass(frozen=True, slots=True)
class Office:
    """What all couriers share."""

    sender: Sender
    secrets: Secrets
    paces: Paces
    times: Times
    wall: Callable[[], float]
    #: Called with a type and an outcome for every attempt.
    count: Callable[[str, Outcome], None]


class Courier:
    """The destination `notification` of one pool."""

    def __init__(
        self, office: Office, notification: Notification, namespace: str, pool: str,
        delivered: Callable[[str, Notice], None],
    ) -> None:  # fmt: skip
        self.notification = notification
        #: Why it does not work; None while it does.
        self.problem: DeliveryError | None = None
        #: Whether anything is known of it yet.
        self.settled = False
        self._office = office
        self._namespace = namespace
        self._pool = pool
        self._delivered = delivered
        self._wanted: dict[Key, Notice] = {}
        self._wake = asyncio.Event()
        self._rests = 0
        self._task = asyncio.create_task(self._run(), name=f"notify-{namespace}/{pool}/{notification.name}")

    def want(self, wanted: Wanted) -> None:
        """What the destination has to hear; replaces what was wanted before."""
        if wanted != self._wanted:
            self._wanted = dict(wanted)
            if wanted:
                self._wake.set()

    async def close(self) -> None:
        """Stop, also in the middle of a request."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            try:
                await self._turn()
            except DeliveryError as error:
                self._failed(error)
                await asyncio.sleep(self._rest(error))
            except Exception:
                # One message that cannot be made must not silence a destination for good.
                logger.exception("notifications to %s of pool %s/%s", *self._names)
                self.problem, self.settled = FaultError("an error of haipool itself, see the operator's log"), True
                await asyncio.sleep(self._office.times.rest_longest)

    @property
    def _names(self) -> tuple[str, str, str]:
        return self.notification.name, self._namespace, self._pool

    async def _turn(self) -> None:
        """Deliver what is wanted; with nothing wanted, see now and then whether it could be.

        Raises:
            DeliveryError: it did not arrive, or could not.
        """
        if self._wanted:
            await self._deliver()
            return
        self._wake.clear()
        target, _ = await self._address()
        await self._office.sender.check(target)
        self.problem, self.settled = None, True
        # Not `wait_for`: before Python 3.12 it may lose the cancellation that ends this task.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._office.times.check):
                await self._wake.wait()

    async def _deliver(self) -> None:
        target, secret = await self._address()
        pace = self._office.paces.of(self.notification.type, str(target.url))
        left = await pace.slot()
        # What is wanted may have changed while it waited for its turn.
        notices = sorted(self._wanted.values(), key=lambda n: (-rank(n.news), n.key))
        if not notices:
            return
        together = notices if len(notices) > left + 1 else notices[:1]
        await self._send(target, secret, together)
        self.problem, self.settled, self._rests = None, True, 0
        for notice in together:
            if self._wanted.get(notice.key) == notice:
                del self._wanted[notice.key]
            self._delivered(self.notification.name, notice)

    async def _send(self, target: Target, secret: str | None, notices: list[Notice]) -> None:
        office, kind, times = self._office, self.notification.type, self._office.times

        async def attempt() -> None:
            request = build(self.notification, target, secret, notices, now=office.wall())
            judge(kind, target, await office.sender.post(request))

        async def waited(_state: RetryCallState) -> None:
            office.count(kind, "retried")
            await office.paces.of(kind, str(target.url)).slot()

        attempts = AsyncRetrying(
            retry=retry_if_exception_type(UnreachableError),
            stop=stop_after_attempt(times.attempts),
            wait=wait_random_exponential(multiplier=times.retry_first, max=times.retry_longest),
            before_sleep=waited,
            reraise=True,
        )
        await attempts(attempt)
        office.count(kind, "delivered")

    async def _address(self) -> tuple[Target, str | None]:
        """The URL and the signing secret, as the Secret has them now.

        Raises:
            BadSecretError: one of them cannot be had.
        """
        wanted = self.notification
        field = f"spec.notifications[{wanted.name}]"
        text = await self._secret(f"{field}.urlSecret", wanted.url_secret, "URL")
        try:
            target = parse(text)
        except BadSecretError as error:
            entry = wanted.url_secret
            raise BadSecretError(f"{field}.urlSecret: Secret {entry.name}, key {entry.key}: {error}") from None
        if wanted.sign_secret is None:
            return target, None
        return target, await self._secret(f"{field}.signSecret", wanted.sign_secret, "secret")

    async def _secret(self, field: str, entry: SecretEntry, what: str) -> str:
        try:
            return await self._office.secrets.value(field, self._namespace, entry.name, entry.key, what=what)
        except SecretError as error:
            raise BadSecretError(f"{error}; {_FIX}") from error

    def _failed(self, error: DeliveryError) -> None:
        self._office.count(self.notification.type, error.outcome)
        if str(error) != str(self.problem):
            logger.warning("notifications to %s of pool %s/%s: %s", *self._names, error)
        self.settled = True
        if not isinstance(error, ThrottledError):
            self.problem = error

    def _rest(self, error: DeliveryError) -> float:
        """Seconds until it begins again: what the receiver asked for, or longer each time."""
        if isinstance(error, ThrottledError):
            return error.pause
        times = self._office.times
        if isinstance(error, BadSecretError):
            # Whoever mends the Secret waits for it.
            return times.rest_first
        self._rests += 1
        return float(min(times.rest_longest, times.rest_first * 2.0 ** min(self._rests - 1, 10)))


_FIX: Final = "make the Secret (kubectl create secret generic), and let the operator read it: manifests/notifications"
