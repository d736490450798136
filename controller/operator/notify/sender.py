"""One POST to a URL of somebody else's choice: guarded, bounded in time and size, without redirects or proxies."""

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import aiohttp

from controller.operator.notify.errors import RefusedError, UnreachableError
from controller.operator.notify.guard import Guard, Target, connector

#: From the first packet to the last byte of the answer.
TIMEOUT_SECONDS: Final = 10.0
#: Of an answer no more is read; robots answer with some hundred bytes.
MAX_ANSWER_BYTES: Final = 65536


@dataclass(frozen=True, slots=True)
class Request:
    """What to send."""

    target: Target
    body: bytes = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Sender:
    """Sends requests, each over a connection of its own: they are few, and each is checked anew."""

    def __init__(
        self, guard: Guard, *, timeout: float = TIMEOUT_SECONDS, ssl_context: ssl.SSLContext | None = None
    ) -> None:
        self._guard = guard
        self._timeout = timeout
        self._ssl = ssl_context

    async def check(self, target: Target) -> None:
        """Whether a request could be sent, without sending one.

        Raises:
            RefusedError, UnreachableError: see `Guard.addresses`.
        """
        try:
            async with asyncio.timeout(self._timeout):
                await self._guard.addresses(target)
        except TimeoutError:
            raise UnreachableError(f"{target} cannot be resolved within {self._timeout:g} s") from None

    async def post(self, request: Request) -> Answer:
        """Send it.

        Raises:
            RefusedError: it leads where it must not.
            UnreachableError: there is no whole answer in time; it may have arrived all the same.
        """
        target = request.target
        try:
            async with asyncio.timeout(self._timeout):
                return await self._post(request)
        except TimeoutError:
            raise UnreachableError(f"{target} did not answer within {self._timeout:g} s") from None
        except (aiohttp.ClientConnectorError, aiohttp.ClientOSError) as error:
            cause = error.strerror or type(error.__cause__ or error).__name__
            raise UnreachableError(f"{target} cannot be reached: {cause}") from None
        except aiohttp.InvalidURL:
            raise RefusedError(f"{target} is no host that can be called") from None
        except aiohttp.ClientError as error:
            # Their own words may hold the URL.
            raise UnreachableError(f"{target} broke off: {type(error).__name__}") from None

    async def _post(self, request: Request) -> Answer:
        addresses = await self._guard.addresses(request.target)
        link = connector(addresses, **({"ssl": self._ssl} if self._ssl else {}))
        async with (
            aiohttp.ClientSession(connector=link, trust_env=False, auto_decompress=False) as session,
            session.post(
                request.target.url, data=request.body, headers=request.headers, allow_redirects=False
            ) as response,
        ):
            body = await response.content.read(MAX_ANSWER_BYTES)
            return Answer(response.status, dict(response.headers), body)
