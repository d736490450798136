"""Compressed transfer: what servers are asked for, and what becomes of their answers."""

from collections.abc import Callable
from typing import Final, Literal

from multidict import CIMultiDict
from prometheus_client import Counter

from controller.dispatcher.saving.accept import (
    ACCEPT_ENCODING,
    RANGE,
    AnyHeaders,
    Codings,
    codings,
    may_be_changed,
)
from controller.dispatcher.saving.answers import (
    CONTENT_LENGTH,
    changed,
    compresses,
    depends_on,
    is_gzip,
    is_whole,
    recoded,
)
from controller.dispatcher.saving.gzips import Squeezed, Squeezer, Unpacked
from controller.dispatcher.saving.policy import Policy
from controller.dispatcher.upstream import Reply

By = Literal["compression_from_servers", "compression_to_clients", "reencoding"]
FROM_SERVERS: Final[By] = "compression_from_servers"
TO_CLIENTS: Final[By] = "compression_to_clients"


class Transfer:
    """What is done about the coding of one request's answer, decided by what its client accepts."""

    def __init__(self, policy: Policy, client: AnyHeaders, saved: Counter, *, stored: bool = False) -> None:
        """Decide.

        Args:
            policy: what is on.
            client: the headers of the client's request.
            saved: counts the bytes, by means.
            stored: the answer goes to a store, and to a client only later: see `StoredAnswer`.
        """
        self._codings: Codings = codings(client)
        self._saved = saved
        may = may_be_changed(client)
        #: Whether servers have to be asked for gzip, and its client can have the answer without it.
        lacks = self._codings.identity and not self._codings.prefers_gzip
        self.asks = policy.from_servers and may and RANGE not in client and lacks
        self.squeezes = policy.to_clients and may and not stored

    def ask(self, headers: CIMultiDict[str]) -> None:
        """Ask for a compressed answer in a request for a server."""
        if self.asks:
            headers[ACCEPT_ENCODING] = ", ".join(["gzip", *self._codings.others])

    def answer(self, upstream: Reply) -> Reply:
        """The answer for the client, unpacked or compressed on its way."""
        if not is_whole(upstream.status):
            return upstream
        if self.asks and not self._codings.gzip and is_gzip(upstream.headers):
            # Even where it says no-transform: it is only brought back to what the client would have got.
            return self.unpacked(upstream)
        return self.for_client(upstream)

    def unpacked(self, upstream: Reply) -> Reply:
        """An answer in gzip without it."""
        counted = self._counted(FROM_SERVERS) if self.asks and not self._codings.gzip else _nothing
        return changed(upstream, recoded(upstream.headers, None), Unpacked(upstream.content, counted))

    def for_client(self, upstream: Reply, *, again: bool = False) -> Reply:
        """An answer, compressed if its client accepts that.

        Args:
            upstream: the answer.
            again: it came compressed and had to be unpacked.
        """
        if not (self.squeezes or again) or not compresses(upstream.status, upstream.headers):
            return upstream
        if not self._codings.gzip:
            headers = CIMultiDict(upstream.headers)
            depends_on(headers, ACCEPT_ENCODING)
            return changed(upstream, headers, upstream.content)
        live, counted = CONTENT_LENGTH not in upstream.headers, _nothing if again else self._counted(TO_CLIENTS)
        squeezed = Squeezed(upstream.content, live=live, saved=counted)
        return changed(upstream, recoded(upstream.headers, "gzip"), squeezed)

    def _counted(self, by: By) -> Callable[[int], None]:
        return lambda size: count(self._saved, by, size)


def count(saved: Counter, by: By, size: int) -> None:
    """Count saved bytes; where gzip has made a body larger, none were saved."""
    saved.labels(by).inc(max(0, size))


def _nothing(size: int) -> None:
    """What was compressed anyway saves nothing more."""


class StoredAnswer:
    """An answer on its way out of a store, compressed if its client accepts that."""

    def __init__(self, policy: Policy | None, client: AnyHeaders, saved: Counter) -> None:
        self._on = policy is not None and policy.to_clients and may_be_changed(client)
        self._client = client
        self._saved = saved
        self._squeezer: Squeezer | None = None

    def headers(self, status: int, headers: CIMultiDict[str], size: int) -> CIMultiDict[str]:
        """Its headers, with the length where it is known.

        Args:
            status: of the answer.
            headers: as they are stored.
            size: bytes of the body in the store.
        """
        headers[CONTENT_LENGTH] = str(size)
        if not self._on or not compresses(status, headers):
            return headers
        if codings(self._client).gzip:
            self._squeezer = Squeezer()
            return recoded(headers, "gzip")
        depends_on(headers, ACCEPT_ENCODING)
        return headers

    async def part(self, part: bytes) -> bytes:
        """What a part of the body becomes."""
        return part if self._squeezer is None else await self._squeezer.add(part)

    def end(self) -> bytes:
        """What is left of it."""
        if self._squeezer is None:
            return b""
        left = self._squeezer.end()
        count(self._saved, TO_CLIENTS, self._squeezer.taken - self._squeezer.given)
        return left
