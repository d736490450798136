"""HTTP probes of a server."""

from typing import Final

import aiohttp

from controller.api.server import Server, WarmUp

#: A health path that takes longer than this counts as not answering.
PROBE_TIMEOUT_SECONDS: Final = 5.0


async def healthy(session: aiohttp.ClientSession, address: str, server: Server) -> str:
    """Why the server is not healthy; empty when its health path answers with 2xx."""
    return await _ask(session, "GET", address + server.health_path, timeout=PROBE_TIMEOUT_SECONDS)


async def warm_up(session: aiohttp.ClientSession, address: str, request: WarmUp) -> str:
    """Why the warm-up request failed; empty when it was answered with 2xx."""
    return await _ask(
        session,
        request.method,
        address + request.path,
        timeout=request.timeout_seconds,
        data=request.body.encode() if request.body else None,
        headers={"Content-Type": request.content_type} if request.body else None,
    )


async def _ask(
    session: aiohttp.ClientSession,
    method: str,
    url: str,
    *,
    timeout: float,  # noqa: ASYNC109 - handed to aiohttp
    data: bytes | None = None,
    headers: dict[str, str] | None = None,
) -> str:
    limit = aiohttp.ClientTimeout(total=timeout)
    try:
        async with session.request(
            method, url, data=data, headers=headers, timeout=limit, allow_redirects=False
        ) as response:
            return "" if 200 <= response.status < 300 else f"{method} {url} answered {response.status}"
    except TimeoutError:
        return f"{method} {url} did not answer within {timeout:g} s"
    except aiohttp.ClientError as error:
        return f"{method} {url} failed: {error}"
