"""Compressed transfer: what servers are asked for, and what becomes of their answers."""

from collections.abc import Mapping
from typing import Final, Literal

from multidict import CIMultiDict
from prometheus_client import Counter

from controller.dispatcher.answer import Sink
from controller.dispatcher.forward import Exchange
from controller.dispatcher.metrics import DispatcherMetrics
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
from controller.dispatcher.servers import Server
from controller.dispatcher.upstream import Reply

By = Literal["compression_from_servers", "compression_to_clients"]
FROM_SERVERS: Final = "compression_from_servers"
TO_CLIENTS: Final = "compression_to_clients"


class Saving:
    """What is done about one request and its answer, decided by what its client accepts."""

    def __init__(self, policy: Policy, client: AnyHeaders, saved: Counter, *, stored: bool = False) -> None:
        """Decide.

        Args:
            policy: what is on.
            client: the headers of the client's request.
            saved: counts the bytes, by means.
            stored: the answer goes to a store, and to a client only later: see `result`.
        """
        self._codings: Codings = codings(client)
        self._saved = saved
        may = may_be_changed(client)
        self._asks = policy.from_servers and may and RANGE not in client and self._lacks()
        self._squeezes = policy.to_clients and may and not stored

    def _lacks(self) -> bool:
        """Whether servers have to be asked for gzip, and its client can have the answer without it."""
        return self._codings.identity and not self._codings.prefers_gzip

    def ask(self, headers: CIMultiDict[str]) -> None:
        """Ask for a compressed answer in a request for a server."""
        if self._asks:
            headers[ACCEPT_ENCODING] = ", ".join(["gzip", *self._codings.others])

    def sink(self, inner: Sink) -> Sink:
        """What takes the answer for this sink."""
        return SavingSink(inner, self) if self._asks or self._squeezes else inner

    def answer(self, upstream: Reply) -> Reply:
        """The answer for the client, unpacked or compressed on its way."""
        if not is_whole(upstream.status):
            return upstream
        if self._asks and not self._codings.gzip and is_gzip(upstream.headers):
            # Even where it says no-transform: it is only brought back to what the client would have got.
            unpacked = Unpacked(upstream.content, self._counted(FROM_SERVERS))
            return changed(upstream, recoded(upstream.headers, None), unpacked)
        return self._squeezed(upstream) if self._squeezes else upstream

    def _squeezed(self, upstream: Reply) -> Reply:
        if not compresses(upstream.status, upstream.headers):
            return upstream
        if not self._codings.gzip:
            headers = CIMultiDict(upstream.headers)
            depends_on(headers, ACCEPT_ENCODING)
            return changed(upstream, headers, upstream.content)
        live = CONTENT_LENGTH not in upstream.headers
        squeezed = Squeezed(upstream.content, live=live, saved=self._counted(TO_CLIENTS))
        return changed(upstream, recoded(upstream.headers, "gzip"), squeezed)

    def _counted(self, by: By) -> "_Counted":
        return _Counted(self._saved, by)


def saving_of(exchange: Exchange, metrics: DispatcherMetrics) -> Saving | None:
    """What is done about a request; None: nothing."""
    policy = exchange.view.saving
    return None if policy is None else Saving(policy, exchange.request.headers, metrics.saved)


class _Counted:
    """Counts saved bytes; where gzip has made a body larger, none were saved."""

    def __init__(self, saved: Counter, by: By) -> None:
        self._saved = saved
        self._by = by

    def __call__(self, size: int) -> None:
        self._saved.labels(self._by).inc(max(0, size))


class SavingSink:
    """Takes an answer for another sink."""

    def __init__(self, inner: Sink, saving: Saving) -> None:
        self._inner = inner
        self._saving = saving

    @property
    def begun(self) -> bool:
        """Whether something of it has left."""
        return self._inner.begun

    @property
    def status(self) -> int:
        """Its status; 0 before there was one."""
        return self._inner.status

    async def take(self, server: Server, upstream: Reply, extra: Mapping[str, str]) -> None:
        """Take it."""
        await self._inner.take(server, self._saving.answer(upstream), extra)

    async def finish(self) -> None:
        """Bring it home."""
        await self._inner.finish()


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
        _Counted(self._saved, TO_CLIENTS)(self._squeezer.taken - self._squeezer.given)
        return left
