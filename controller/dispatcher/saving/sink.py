"""Takes an answer for another sink, and changes it on the way."""

from collections.abc import Mapping
from typing import NamedTuple

from multidict import CIMultiDict

from controller.dispatcher.answer import Sink, next_part
from controller.dispatcher.forward import AnswerBrokeError, ServerLostError
from controller.dispatcher.saving.accept import ACCEPT
from controller.dispatcher.saving.answers import changed, depends_on, is_gzip
from controller.dispatcher.saving.reencoding import Images, InMemory, Kind
from controller.dispatcher.saving.transfer import Transfer
from controller.dispatcher.servers import Server
from controller.dispatcher.upstream import Reply


class _Held(NamedTuple):
    """An answer that is held back until it is re-encoded: the server has nothing to do with it any more."""

    server: Server
    answer: Reply
    body: bytearray
    kind: Kind
    #: Whether it came in gzip.
    packed: bool
    extra: Mapping[str, str]


class SavingSink:
    """Takes an answer for another sink. Images are re-encoded only when the slot is free again. Close it."""

    def __init__(self, inner: Sink, transfer: Transfer, images: Images | None) -> None:
        self._inner = inner
        self._transfer = transfer
        self._images = images
        self._held: _Held | None = None

    @property
    def begun(self) -> bool:
        """Whether something of it has left."""
        return self._inner.begun

    @property
    def status(self) -> int:
        """Its status; 0 before there was one."""
        return self._inner.status if self._held is None else self._held.answer.status

    async def take(self, server: Server, upstream: Reply, extra: Mapping[str, str]) -> None:
        """Take it, or hold it back."""
        self.close()
        kind = None if self._images is None else self._images.kind(upstream)
        if self._images is None or kind is None:
            await self._inner.take(server, self._transfer.answer(upstream), extra)
        elif self._images.wanted(kind):
            await self._hold(server, self._images, upstream, kind, extra)
        else:
            if kind == "png":
                headers = CIMultiDict(upstream.headers)
                depends_on(headers, ACCEPT)
                upstream = changed(upstream, headers, upstream.content)
            await self._inner.take(server, self._transfer.answer(upstream), extra)

    async def _hold(
        self, server: Server, images: Images, upstream: Reply, kind: Kind, extra: Mapping[str, str]
    ) -> None:
        packed = is_gzip(upstream.headers)
        answer, body = self._transfer.unpacked(upstream) if packed else upstream, bytearray()
        try:
            while part := await next_part(server, answer):
                body += part
                if not images.hold(len(part)):
                    on = changed(answer, CIMultiDict(answer.headers), InMemory(body, answer.content))
                    images.release()
                    await self._inner.take(server, self._transfer.for_client(on, again=packed), extra)
                    return
        except AnswerBrokeError as error:
            if self._inner.begun:
                raise
            raise ServerLostError(str(error)) from error
        self._held = _Held(server, answer, body, kind, packed, extra)

    async def finish(self) -> None:
        """Bring it home.

        Raises:
            RefusedAnswerError: it was held back, and cannot be taken now.
        """
        held, images = self._held, self._images
        if held is not None and images is not None:
            answer = await images.reencoded(held.kind, held.answer, held.body)
            await self._inner.take(held.server, self._transfer.for_client(answer, again=held.packed), held.extra)
            self.close()
        await self._inner.finish()

    def close(self) -> None:
        """Hold nothing back any more."""
        self._held = None
        if self._images is not None:
            self._images.release()
