"""What the executor sees of a task that is in a store: its request for each attempt, and where the answer goes."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeVar

from multidict import CIMultiDict

from controller.dispatcher import headers
from controller.dispatcher.answer import RefusedAnswerError, next_part
from controller.dispatcher.execute import UnwantedError
from controller.dispatcher.forward import AnswerBrokeError, Outgoing, ServerLostError
from controller.dispatcher.problems import problem
from controller.dispatcher.saving.saving import Saving
from controller.dispatcher.servers import Server
from controller.dispatcher.stores.base import Claim, Headers, Store
from controller.dispatcher.stores.blobs import Blob
from controller.dispatcher.stores.errors import StoreError
from controller.dispatcher.upstream import Reply

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: Pauses between trying again what a store did not do, seconds: from the first to the second, doubled each time.
PAUSES: Final = (0.5, 10.0)


async def insist(what: Callable[[], Awaitable[T]]) -> T:
    """Have a store do what must be done for its word to stay true, however long its disk is full."""
    pause, longest = PAUSES
    while True:
        try:
            return await what()
        except StoreError as error:
            logger.error("%s; trying again in %g s", error, pause)  # noqa: TRY400 - the sentence says it all
            await asyncio.sleep(pause)
            pause = min(2 * pause, longest)


class StoredAttempts:
    """The attempts at a task of a store: each has a claim of its own. Close it."""

    def __init__(
        self,
        store: Store,
        claim: Claim,
        wall: Callable[[], float],
        changed: Callable[[str], None],
        saving: Saving | None = None,
    ) -> None:
        """Begin with a claim.

        Args:
            store: the store.
            claim: for the first attempt.
            wall: Unix seconds.
            changed: told the task's id when the store has another word on it.
            saving: what is asked of servers to save traffic.
        """
        self.claim = claim
        self._store = store
        self._wall = wall
        self._changed = changed
        self._saving = saving
        #: Whether the claim is of a server that is lost.
        self._void = False

    async def begin(self, server: Server) -> Outgoing:
        """The request for this server; durably claimed, so that a crash cannot have it run twice unless it may."""
        if self._void:
            task_id = self.claim.task.task_id
            self.claim.body.close()
            claim = await insist(lambda: self._store.claim(task_id, server.spec.name, self._wall()))
            if claim is None:
                raise UnwantedError(f"task {task_id} is not queued any more")
            self.claim, self._void = claim, False
            self._changed(task_id)
        return self._outgoing()

    def _outgoing(self) -> Outgoing:
        request, body = self.claim.request, self.claim.body
        # An empty body is sent as one where a method has one: a server may insist on the Content-Length.
        wanted = body.size or request.method in ("POST", "PUT", "PATCH")
        sent = CIMultiDict(request.headers)
        if self._saving is not None:
            self._saving.ask(sent)
        return Outgoing(
            request.method,
            request.target,
            sent,
            body.payload if wanted else None,
            body.size,
            repeatable=self.claim.task.route.idempotent,
        )

    async def failed(self) -> None:
        """The task is queued again until another server is found: whatever happens meanwhile, it was not lost."""
        self._void = True
        await insist(lambda: self._store.give_back(self.claim))
        self._changed(self.claim.task.task_id)

    def close(self) -> None:
        """The task is run no more."""
        self.claim.body.close()


class StoreSink:
    """Collects an answer for a store."""

    def __init__(self, store: Store, limit: int) -> None:
        self.begun = False
        self.status = 0
        self.headers: Headers = ()
        #: The body; None once somebody has taken it.
        self.blob: Blob | None = None
        self._store = store
        self._limit = limit

    async def take(self, server: Server, upstream: Reply, extra: Mapping[str, str]) -> None:
        """Take the whole answer in. Nothing leaves before it is whole, so another server's may take its place."""
        self.discard()
        self.blob = blob = self._store.blob()
        try:
            while chunk := await next_part(server, upstream):
                if blob.size + len(chunk) > self._limit:
                    raise self._too_large(server)
                await blob.write(chunk)
        except AnswerBrokeError as error:
            raise ServerLostError(str(error)) from error
        except StoreError as error:
            logger.error("%s", error)  # noqa: TRY400 - the sentence says it all
            detail = "a server did the task, but the dispatcher has no room for its answer"
            raise RefusedAnswerError(detail, problem(507, "No room for the answer", detail)) from error
        self.headers = tuple(headers.to_client(upstream.headers, extra).items())
        self.begun, self.status = True, upstream.status

    def _too_large(self, server: Server) -> RefusedAnswerError:
        detail = f"{server.spec.name} answered with more than {self._limit} bytes (queue.asyncTasks.maxResultBytes)"
        return RefusedAnswerError(detail, problem(502, "Answer too large", detail))

    async def finish(self) -> None:
        """The answer goes to the store together with the task's end."""

    def taken(self) -> Blob | None:
        """The body, which is the caller's now."""
        blob, self.blob = self.blob, None
        return blob

    def discard(self) -> None:
        """Nobody wants what was taken."""
        blob = self.taken()
        if blob is not None:
            blob.discard()
