"""The verbs of the Kubernetes API over one aiohttp session."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

import aiohttp

from controller.kube.connect import Connection
from controller.kube.errors import (
    AlreadyExistsError,
    ConflictError,
    ForbiddenError,
    GoneError,
    InvalidError,
    KubeError,
    NotFoundError,
    UnavailableError,
    from_status,
)

__all__ = [
    "AlreadyExistsError",
    "ConflictError",
    "ForbiddenError",
    "GoneError",
    "InvalidError",
    "KubeClient",
    "KubeError",
    "Listing",
    "NotFoundError",
    "Resource",
    "UnavailableError",
]

#: No single request may take longer; watches have their own limit.
REQUEST_TIMEOUT_SECONDS: Final = 30.0
#: Objects per page of a listing.
PAGE: Final = 500


@dataclass(frozen=True, slots=True)
class Resource:
    """A kind as the URL names it."""

    group: str
    version: str
    plural: str

    def path(self, namespace: str | None, name: str | None = None, subresource: str | None = None) -> str:
        """URL path of a collection or an object."""
        parts = ["apis", self.group, self.version] if self.group else ["api", self.version]
        if namespace is not None:
            parts += ["namespaces", namespace]
        parts.append(self.plural)
        parts += [part for part in (name, subresource) if part is not None]
        return "/" + "/".join(quote(part, safe="") for part in parts)


@dataclass(frozen=True, slots=True)
class Listing:
    """A complete listing at one resourceVersion."""

    items: tuple[dict[str, Any], ...]
    resource_version: str


class KubeClient:
    """One API server. Make it inside a running event loop or before one; close it when done."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._session: aiohttp.ClientSession | None = None

    @property
    def session(self) -> aiohttp.ClientSession:
        """The session, made on first use: it belongs to the loop that runs then."""
        if self._session is None:
            connector = aiohttp.TCPConnector(ssl=self.connection.tls or True, limit=64)
            self._session = aiohttp.ClientSession(connector=connector)
        return self._session

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def get(self, resource: Resource, name: str, *, namespace: str | None = None) -> dict[str, Any]:
        """One object.

        Raises:
            NotFoundError, ForbiddenError, UnavailableError.
        """
        return await self._request("GET", resource.path(namespace, name))

    async def list(
        self, resource: Resource, *, namespace: str | None = None, labels: str | None = None, name: str | None = None
    ) -> Listing:
        """Every object, page by page; a listing that went stale on the way is begun anew.

        Args:
            resource: the kind.
            namespace: None for all, and for kinds without.
            labels: label selector.
            name: only the object of this name, as a listing of at most one.

        Raises:
            ForbiddenError, NotFoundError, UnavailableError.
        """
        items: list[dict[str, Any]] = []
        params: dict[str, str] = {"limit": str(PAGE), **selectors(labels, name)}
        while True:
            try:
                page = await self._request("GET", resource.path(namespace), params=params)
                metadata = page["metadata"]
                items += page.get("items") or ()
                following = metadata.get("continue")
                if not following:
                    return Listing(tuple(items), metadata["resourceVersion"])
            except GoneError:
                if "continue" not in params:
                    raise
                items.clear()
                del params["continue"]
                continue
            except (LookupError, TypeError, AttributeError) as error:
                raise UnavailableError(f"GET {resource.path(namespace)}: no listing in the answer") from error
            params["continue"] = following

    async def create(
        self, resource: Resource, body: Mapping[str, Any], *, namespace: str | None = None
    ) -> dict[str, Any]:
        """Create an object.

        Raises:
            AlreadyExistsError, InvalidError, ForbiddenError, UnavailableError.
        """
        return await self._request("POST", resource.path(namespace), json=body)

    async def patch(
        self,
        resource: Resource,
        name: str,
        body: Mapping[str, Any],
        *,
        namespace: str | None = None,
        subresource: str | None = None,
    ) -> dict[str, Any]:
        """Merge-patch an object; `metadata.resourceVersion` in the body makes it conditional.

        Raises:
            NotFoundError, ConflictError, InvalidError, ForbiddenError, UnavailableError.
        """
        path = resource.path(namespace, name, subresource)
        return await self._request("PATCH", path, json=body, content_type="application/merge-patch+json")

    async def delete(
        self, resource: Resource, name: str, *, namespace: str | None = None, uid: str | None = None
    ) -> dict[str, Any]:
        """Ask for deletion; with `uid`, only of that very object.

        Returns:
            The object, which goes on to exist while finalizers hold it, or a Status when it is gone.

        Raises:
            NotFoundError, ConflictError, ForbiddenError, UnavailableError.
        """
        options: dict[str, Any] = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}
        if uid:
            options["preconditions"] = {"uid": uid}
        return await self._request("DELETE", resource.path(namespace, name), json=options)

    async def headers(self) -> dict[str, str]:
        """Headers that authenticate a request; a log-in plug-in may take its time for them.

        Raises:
            OSError: the token cannot be read.
        """
        if self.connection.fetch_token is not None:
            return await asyncio.to_thread(self.connection.headers)
        return self.connection.headers()

    async def _request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        json: Mapping[str, Any] | None = None,
        content_type: str = "application/json",
    ) -> dict[str, Any]:
        try:
            headers = await self.headers()
            if json is not None:
                headers["Content-Type"] = content_type
            async with self.session.request(
                method,
                self.connection.server + path,
                params=params,
                json=json,
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_SECONDS),
            ) as response:
                if response.status >= 400:
                    raise await error_of(response)
                body = await response.json(content_type=None)
                if not isinstance(body, dict):
                    raise UnavailableError(f"{method} {path}: the answer is no object")
                return body
        except TimeoutError as error:
            raise UnavailableError(f"{method} {path}: no answer within {REQUEST_TIMEOUT_SECONDS:g} s") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise UnavailableError(f"{method} {path}: {error}") from error


def selectors(labels: str | None, name: str | None) -> dict[str, str]:
    """Query parameters that narrow a listing or a watch."""
    return {
        **({"labelSelector": labels} if labels else {}),
        **({"fieldSelector": f"metadata.name={name}"} if name else {}),
    }


async def error_of(response: aiohttp.ClientResponse) -> KubeError:
    """The typed error of an answer that is one."""
    text = await response.text(errors="replace")
    try:
        body = await response.json(content_type=None)
    except ValueError:
        body = None
    return from_status(response.status, body if isinstance(body, dict) else None, text)
