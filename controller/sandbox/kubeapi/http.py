"""The HTTP form of the API: requests to verbs, objects and errors to JSON."""

import contextlib
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final, cast

import msgspec
from aiohttp import web

from controller.sandbox.kubeapi import discovery, errors, listing, requests, scale
from controller.sandbox.kubeapi.decoding import Decoded, WriteOptions
from controller.sandbox.kubeapi.negotiation import accepted
from controller.sandbox.kubeapi.objects import Objects
from controller.sandbox.kubeapi.patch import patcher
from controller.sandbox.kubeapi.rendering import Rendering
from controller.sandbox.kubeapi.routes import Target, target
from controller.sandbox.kubeapi.watching import Watch

#: Largest request body, bytes: what the API server takes.
BODY_LIMIT: Final = 3 * 1024 * 1024
#: Hosts a request may be addressed to. Another one means that a web page has pointed its own name at this machine.
_LOCAL_NAMES: Final = ("localhost", "127.", "[::1]")


def _json(body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    content = msgspec.json.encode(body)
    return web.Response(body=content, status=status, content_type="application/json", headers=dict(headers or {}))


def _failure(error: errors.ApiError) -> web.Response:
    return _json(error.status(), error.code, {"Retry-After": "1"} if error.code == 504 else None)


@web.middleware
async def _answer_errors(request: web.Request, handler: Callable[[web.Request], Any]) -> web.StreamResponse:
    """Turns refusals into `Status` answers, and keeps web pages of other sites out."""
    try:
        if not (request.host or "localhost").startswith(_LOCAL_NAMES) or "Origin" in request.headers:
            raise errors.ApiError(403, "Forbidden", "the sandbox answers programs on this machine only, not web pages")
        return cast("web.StreamResponse", await handler(request))
    except errors.ApiError as error:
        return _failure(error)
    except web.HTTPRequestEntityTooLarge:
        message = f"Request entity too large: limit is {BODY_LIMIT}"
        return _failure(errors.ApiError(413, "RequestEntityTooLarge", message))


class Api:
    """The API over HTTP.

    Args:
        objects: what is served.
        clock: the present time, for ages in Tables.
    """

    def __init__(self, objects: Objects, clock: Callable[[], datetime]) -> None:
        self._objects = objects
        self._clock = clock
        self._closing = False
        #: Requests by method and plural (with `/status` and the like), refused ones included.
        self.counts: Counter[tuple[str, str]] = Counter()

    def application(self) -> web.Application:
        """The aiohttp application."""
        application = web.Application(middlewares=[_answer_errors], client_max_size=BODY_LIMIT)
        application.router.add_route("*", "/{path:.*}", self._dispatch)
        return application

    def close(self) -> None:
        """Ends all watches."""
        self._closing = True
        self._objects.store.wake()

    async def _dispatch(self, request: web.Request) -> web.StreamResponse:
        found = target(self._objects.kinds, request.path)
        if found is None:
            return self._index(request)
        self.counts[request.method, "/".join(filter(None, (found.kind.plural, found.subresource)))] += 1
        if not found.name:
            return await self._collection(request, found)
        return await self._single(request, found)

    def _index(self, request: web.Request) -> web.Response:
        path = request.path.strip("/")
        if path in {"healthz", "livez", "readyz"}:
            return web.Response(text="ok")
        found = discovery.document(self._objects.kinds, path, request.host)
        if found is None:
            raise errors.path_not_found()
        if request.method != "GET":
            raise errors.method_not_allowed()
        return _json(found)

    # --- Collections ----------------------------------------------------------------------------------------------

    async def _collection(self, request: web.Request, found: Target) -> web.StreamResponse:
        if request.method == "GET":
            options = listing.parse(found.kind, request.query)
            if options.watch:
                return await self._watch(request, found, options)
            page = listing.page(self._objects.store, found.kind, found.namespace, options)
            return _json(self._rendering(request, found).page(page))
        if found.namespace is not None and request.method == "POST":
            body, write = await requests.body(request)
            created = self._objects.create(found.kind, found.namespace, body, write)
            return self._written(request, found, created, 201)
        if found.namespace is not None and request.method == "DELETE":
            return await self._delete_collection(request, found)
        raise errors.method_not_allowed()

    async def _delete_collection(self, request: web.Request, found: Target) -> web.Response:
        only, dry_run = await requests.deletion(request)
        options = listing.parse(found.kind, request.query)
        page = listing.page(self._objects.store, found.kind, found.namespace, options)
        for item in page.items:
            key = (item["metadata"].get("namespace", ""), item["metadata"]["name"])
            self._objects.delete(found.kind, key, only=only, dry_run=dry_run)
        return _json(self._rendering(request, found).page(page))

    async def _watch(self, request: web.Request, found: Target, options: listing.ListOptions) -> web.StreamResponse:
        rendering = self._rendering(request, found)
        watch = Watch(self._objects.store, found.kind, found.namespace, options, lambda: self._closing)
        response = web.StreamResponse(headers={"Content-Type": "application/json", "Cache-Control": "no-cache"})
        response.enable_chunked_encoding()
        with contextlib.suppress(ConnectionResetError):  # A client that has gone is how most watches end.
            await response.prepare(request)
            async for events in watch.batches():
                await response.write(b"".join(map(rendering.event, events)))
            await response.write_eof()
        return response

    # --- Single objects -------------------------------------------------------------------------------------------

    async def _single(self, request: web.Request, found: Target) -> web.Response:
        match request.method:
            case "GET":
                return _json(self._shown(request, found, self._objects.get(found.kind, found.key)))
            case "PUT":
                return self._written(request, found, self._update(found, *await requests.body(request)))
            case "PATCH":
                return self._written(request, found, await self._patch(request, found))
            case "DELETE" if not found.subresource:
                only, dry_run = await requests.deletion(request)
                return _json(self._objects.delete(found.kind, found.key, only=only, dry_run=dry_run))
        raise errors.method_not_allowed()

    def _update(self, found: Target, body: Any, options: WriteOptions) -> Decoded:
        if found.subresource == "scale":
            body = scale.applied(found.kind, self._objects.get(found.kind, found.key), body)
        return self._objects.update(found.kind, found.key, body, options, found.part)

    async def _patch(self, request: web.Request, found: Target) -> Decoded:
        content_type, document, options = await requests.patch(request, found.kind)
        apply = patcher(content_type, document)
        if found.subresource == "scale":
            before = scale.view(found.kind, self._objects.get(found.kind, found.key))
            return self._update(found, apply(before), options)
        return self._objects.patch(found.kind, found.key, apply, options, found.part)

    # --- Answers --------------------------------------------------------------------------------------------------

    def _rendering(self, request: web.Request, found: Target) -> Rendering:
        form = accepted(request.headers.get("Accept", ""))
        return Rendering(found.kind, form, request.query.get("includeObject", ""), self._clock)

    def _shown(self, request: web.Request, found: Target, item: dict[str, Any]) -> dict[str, Any]:
        if found.subresource == "scale":
            return scale.view(found.kind, item)
        return self._rendering(request, found).item(item)

    def _written(self, request: web.Request, found: Target, result: Decoded, status: int = 200) -> web.Response:
        response = _json(self._shown(request, found, result.object), status)
        for warning in result.warnings:
            quoted = warning.replace("\\", "\\\\").replace('"', '\\"')
            response.headers.add("Warning", f'299 - "{quoted}"')
        return response
