"""What clients can do with asynchronous tasks over HTTP: hand one in, look at it, fetch its answer, call it off.

The id of a task is a capability: 128 random bits, which nobody can guess, and whoever has them may do all of it.
"""

import asyncio
import json
import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from aiohttp import web
from multidict import CIMultiDict

from controller.dispatcher.admission import declared_too_large, refusal, unread
from controller.dispatcher.forward import Exchange, request_headers
from controller.dispatcher.idempotency import Fingerprint, read_key
from controller.dispatcher.prefer import Preferences
from controller.dispatcher.problems import problem
from controller.dispatcher.proxy import Proxy
from controller.dispatcher.saving.transfer import StoredAnswer
from controller.dispatcher.spool import Body
from controller.dispatcher.state import State
from controller.dispatcher.stores.base import IdempotencyKey, NewTask, Request, StoredTask, TaskState
from controller.dispatcher.stores.blobs import Blob, Content
from controller.dispatcher.stores.errors import StoreError, StoreFullError
from controller.dispatcher.tasks.events import EventStreams
from controller.dispatcher.tasks.forecasts import Forecast, Forecasts
from controller.dispatcher.tasks.lifecycle import AsyncTasks
from controller.dispatcher.tasks.status import PREFIX, come_again, describe, links

logger = logging.getLogger(__name__)

_READ: Final = ("GET", "HEAD")
_NO_HEADERS: Final[Mapping[str, str]] = {}
_UNKNOWN: Final = "there is no such task; it never was, or what was left of it is gone by now"


class TaskApi:
    """Asynchronous tasks on the data port."""

    def __init__(self, state: State, proxy: Proxy, tasks: AsyncTasks) -> None:
        self._state = state
        self._proxy = proxy
        self._tasks = tasks
        self._forecasts = Forecasts(state.scheduler, asyncio.get_running_loop().time)
        self._streams = EventStreams(tasks, self._describe)

    @property
    def offered(self) -> bool:
        """Whether clients may come back for their answers."""
        return self._tasks.offered

    # --- handing in --------------------------------------------------------------------------------------------------

    async def accept(self, exchange: Exchange, preferences: Preferences) -> web.StreamResponse:
        """Take a task in, and say where it is; or answer it at once, if the client rather waits for so long."""
        request = exchange.request
        refused = declared_too_large(self._state, exchange) or self._refusal(exchange)
        if refused is not None:
            return unread(request, refused)
        try:
            key = read_key(request.headers.getall("Idempotency-Key", ()))
        except ValueError as error:
            return unread(request, problem(400, "Malformed key", str(error)))
        body = await self._proxy.receive(exchange)
        if isinstance(body, web.Response):
            return body
        try:
            added = await self._keep(exchange, preferences, key, body)
        finally:
            body.close()
        if isinstance(added, web.Response):
            return added
        if preferences.wait is not None:
            added = await self._ended(added, preferences.wait)
            if added.state.ended:
                applied = {"Preference-Applied": f"respond-async, wait={preferences.wait}"}
                return await self._answer(request, added, applied)
        return self._accepted(added)

    def _refusal(self, exchange: Exchange) -> web.Response | None:
        return refusal(self._state, exchange, self._tasks.arriving(exchange.identity.quota))

    async def _keep(
        self, exchange: Exchange, preferences: Preferences, key: str | None, body: Body
    ) -> StoredTask | web.Response:
        """Put the task into the store; returns it, or the one that it repeats, or why it was refused."""
        request, identity = exchange.request, exchange.identity
        fingerprint = Fingerprint(request.method, exchange.target)
        try:
            blob = await self._copy(body, fingerprint if key else None)
            # The caps again: other bodies arrived while this one did.
            refused = self._refusal(exchange)
            if refused is not None:
                blob.discard()
                return refused
            task = NewTask(
                secrets.token_hex(16),
                Request(request.method, exchange.target, tuple(_forwarded(exchange, preferences).items())),
                identity,
                exchange.route,
                self._state.wall(),
                None if key is None else IdempotencyKey(identity.flow, key, fingerprint.digest()),
            )
            added = await self._tasks.add(task, blob)
        except StoreError as error:
            return self._not_kept(error)
        if not added.new and added.task.fingerprint != fingerprint.digest():
            detail = "another request was sent with this Idempotency-Key: use a key once, and for one request only"
            return problem(422, "Key used already", detail)
        return added.task

    async def _copy(self, body: Body, fingerprint: Fingerprint | None) -> Blob:
        blob, payload = self._tasks.store.blob(), body.payload()
        try:
            if isinstance(payload, bytes):
                await _write(blob, payload, fingerprint)
            else:
                async for chunk in payload:
                    await _write(blob, chunk, fingerprint)
        except BaseException:
            blob.discard()
            raise
        return blob

    def _not_kept(self, error: StoreError) -> web.Response:
        logger.error("a task was not kept: %s", error)
        self._state.metrics.shed.labels("store").inc()
        if isinstance(error, StoreFullError):
            detail = "there is no room for one more task, on the disk or under queue.asyncTasks.maxStoredBytes"
            return problem(507, "No room for the task", detail, retry_after=60)
        return problem(503, "Task not kept", "the dispatcher cannot keep tasks now", retry_after=30)

    def _accepted(self, task: StoredTask) -> web.Response:
        response = self._status(task)
        response.set_status(202)
        response.headers["Location"] = links(task.task_id)["self"]
        response.headers["Preference-Applied"] = "respond-async"
        return response

    async def _ended(self, task: StoredTask, seconds: int) -> StoredTask:
        """The task once it has ended, or as it is after so many seconds."""
        with self._tasks.board.watch(task.task_id) as changed:
            try:
                async with asyncio.timeout(seconds):
                    while not task.state.ended and not self._state.closing:
                        changed.clear()
                        task = await self._tasks.store.get(task.task_id) or task
                        if not task.state.ended:
                            await changed.wait()
            except TimeoutError:
                return task
        return task

    # --- coming back -------------------------------------------------------------------------------------------------

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """A request for something of the dispatcher's own."""
        task_id, _, part = request.path.removeprefix(PREFIX).partition("/")
        methods = {"": (*_READ, "DELETE"), "result": _READ, "events": ("GET",)}.get(part)
        if methods is None or not self.offered or not request.path.startswith(PREFIX):
            return problem(404, "Not found", f"{request.path} is reserved for the dispatcher, which has nothing there")
        if request.method not in methods:
            refused = problem(405, "Method not allowed", f"{request.path} allows {', '.join(methods)}")
            refused.headers["Allow"] = ", ".join(methods)
            return refused
        try:
            if request.method == "DELETE":
                return await self._cancel(task_id)
            task = await self._tasks.store.get(task_id)
            if task is None:
                return problem(404, "No such task", _UNKNOWN)
            show: dict[str, Callable[[], Awaitable[web.StreamResponse]]] = {
                "result": lambda: self._answer(request, task),
                "events": lambda: self._streams.serve(request, task),
            }
            return await show[part]() if part else self._status(task)
        except StoreError as error:
            logger.error("%s", error)  # noqa: TRY400 - the sentence says it all
            return problem(503, "Store not readable", "the dispatcher cannot look tasks up now", retry_after=30)

    def _describe(self, task: StoredTask) -> tuple[dict[str, object], Forecast | None]:
        forecast = self._forecasts.of(task.task_id) if task.state is TaskState.QUEUED else None
        view = self._state.view
        return describe(task, forecast, self._state.wall(), links_on=view.links_on if view else ""), forecast

    def _status(self, task: StoredTask) -> web.Response:
        document, forecast = self._describe(task)
        again = come_again(task, forecast)
        headers = {"Cache-Control": "no-store"} | ({} if again is None else {"Retry-After": f"{again:.0f}"})
        return web.Response(
            body=json.dumps(document).encode() + b"\n", content_type="application/json", headers=headers
        )

    async def _cancel(self, task_id: str) -> web.Response:
        before = await self._tasks.cancel(task_id)
        return problem(404, "No such task", _UNKNOWN) if before is None else web.Response(status=204)

    async def _answer(
        self, request: web.BaseRequest, task: StoredTask, extra: Mapping[str, str] = _NO_HEADERS
    ) -> web.StreamResponse:
        """The answer of a task that has ended, as its server gave it; or why there is none."""
        if not task.state.ended:
            again = come_again(task, self._forecasts.of(task.task_id))
            return problem(409, "Not finished", f"the task is {task.state}", retry_after=again)
        outcome = task.outcome
        if outcome is not None and outcome.status is None and (failure := outcome.failure) is not None:
            return problem(failure.status, failure.title, failure.detail)
        content = await self._tasks.store.result(task.task_id) if outcome is not None and not self._old(task) else None
        if outcome is None or outcome.status is None or content is None:
            return problem(410, "Result gone", _gone(task))
        try:
            view, headers = self._state.view, CIMultiDict([*outcome.headers, *extra.items()])
            unsaid = outcome.status == 200 and "Cache-Control" not in headers
            if unsaid and view is not None and view.cdn_serves:
                # Whoever has the link may have the answer, and it never changes; a CDN may keep it while we do, unless
                # the server itself has said what may be kept.
                headers["Cache-Control"] = f"public, max-age={self._left(task):.0f}, immutable"
            way = StoredAnswer(None if view is None else view.saving, request.headers, self._state.metrics.saved)
            return await _send(request, outcome.status, headers, content, way)
        finally:
            content.close()

    def _old(self, task: StoredTask) -> bool:
        """Whether the answer's time is over, though it was not dropped yet."""
        return self._left(task) < 0

    def _left(self, task: StoredTask) -> float:
        """Seconds for which the answer is still kept."""
        return (task.completed or 0.0) + self._tasks.queue.async_tasks.result_ttl_seconds - self._state.wall()


def _forwarded(exchange: Exchange, preferences: Preferences) -> CIMultiDict[str]:
    """The headers for the server, which must not answer asynchronously in its turn."""
    headers = request_headers(exchange)
    headers.popall("Prefer", None)
    if preferences.others is not None:
        headers["Prefer"] = preferences.others
    return headers


async def _write(blob: Blob, part: bytes, fingerprint: Fingerprint | None) -> None:
    if fingerprint is not None:
        fingerprint.add(part)
    await blob.write(part)


def _gone(task: StoredTask) -> str:
    if task.state is TaskState.CANCELLED:
        return "the task was cancelled by its client"
    if task.state is TaskState.EXPIRED:
        return "the task expired: no server was free for it within queue.maxWaitSeconds"
    return "the answer was dropped: its time was over, room was needed, or its client asked for that"


async def _send(
    request: web.BaseRequest, status: int, headers: CIMultiDict[str], content: Content, way: StoredAnswer
) -> web.StreamResponse:
    response = web.StreamResponse(status=status)
    headers.popall("Content-Length", None)
    bodiless = status in (204, 304)
    response.headers.update(headers if bodiless else way.headers(status, headers, content.size))
    await response.prepare(request)
    if request.method != "HEAD" and not bodiless:
        payload = content.payload()
        if isinstance(payload, bytes):
            await response.write(await way.part(payload))
        else:
            async for chunk in payload:
                await response.write(await way.part(chunk))
        await response.write(way.end())
    await response.write_eof()
    return response
