"""The reference: a bare reverse proxy with aiohttp and uvloop, as one writes it who wants nothing but a proxy.

It keeps connections to the server alive, streams the answer, removes hop-by-hop headers, and does nothing else: no
queue, no identities, no retries, no limits, no metrics. It is written to be right (no cookie jar that mixes clients, no
decompression, no following of redirects) and to be plainly fast (`web.Server` without router or access log), since a
slow reference would flatter what is compared with it.

A program of its own: takes the server's port as argument, prints its own, and ends when its standard input does.
"""

import asyncio
import sys
from typing import Final

import aiohttp
import uvloop
from aiohttp import web
from multidict import CIMultiDict, CIMultiDictProxy

HOP_BY_HOP: Final = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)


def end_to_end(headers: CIMultiDictProxy[str]) -> CIMultiDict[str]:
    """The headers that travel on."""
    return CIMultiDict((name, value) for name, value in headers.items() if name.lower() not in HOP_BY_HOP)


class BareProxy:
    """Forwards every request to one server."""

    def __init__(self, session: aiohttp.ClientSession, origin: str) -> None:
        self._session = session
        self._origin = origin

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Forward one request and stream the answer."""
        body = await request.read() if request.can_read_body else None
        headers = end_to_end(request.headers)
        async with self._session.request(
            request.method, self._origin + request.raw_path, headers=headers, data=body, allow_redirects=False
        ) as upstream:
            answer = web.StreamResponse(
                status=upstream.status, reason=upstream.reason, headers=end_to_end(upstream.headers)
            )
            await answer.prepare(request)
            async for chunk in upstream.content.iter_any():
                await answer.write(chunk)
            await answer.write_eof()
            return answer


async def serve(origin_port: int) -> None:
    """Serve until standard input ends."""
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=5),
    ) as session:
        proxy = BareProxy(session, f"http://127.0.0.1:{origin_port}")
        runner = web.ServerRunner(web.Server(proxy.handle, access_log=None, auto_decompress=False))
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024, shutdown_timeout=1).start()
        print(runner.addresses[0][1], flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        await runner.cleanup()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
