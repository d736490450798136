"""Single requests of hooks: sent, judged by their status, and settings read and read back."""

import json
from dataclasses import dataclass
from typing import Any, Final

import aiohttp

from controller.scaling.optimization import missing, plain, unlike

#: Settings of a server that are longer than this are not read.
MAX_SETTINGS_BYTES: Final = 4 * 1024 * 1024


class HookError(Exception):
    """A hook did not do what it should; the text says which request and why."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request to one server."""

    method: str
    url: str
    body: str = ""
    content_type: str = "application/json"
    timeout_seconds: float = 30.0

    def __str__(self) -> str:
        return f"{self.method} {self.url}"


async def send(session: aiohttp.ClientSession, call: Call) -> bytes:
    """Send it; returns the answer's body.

    Raises:
        HookError: no answer, or one other than 2xx.
    """
    try:
        async with session.request(
            call.method,
            call.url,
            data=call.body.encode() if call.body else None,
            headers={"Content-Type": call.content_type} if call.body else None,
            timeout=aiohttp.ClientTimeout(total=call.timeout_seconds),
            allow_redirects=False,
        ) as response:
            if not 200 <= response.status < 300:
                raise HookError(f"{call} answered {response.status}")
            return await _read(call, response)
    except TimeoutError:
        raise HookError(f"{call} did not answer within {call.timeout_seconds:g} s") from None
    except aiohttp.ClientError as error:
        raise HookError(f"{call} failed: {error}") from None


async def _read(call: Call, response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_chunked(65536):
        body += chunk
        if len(body) > MAX_SETTINGS_BYTES:
            raise HookError(f"{call} answered with more than {MAX_SETTINGS_BYTES} bytes")
    return bytes(body)


def fields(text: str) -> dict[str, Any]:
    """The fields that a body sets.

    Raises:
        HookError: it is no JSON object.
    """
    try:
        body = json.loads(text)
    except ValueError as error:
        raise HookError(f"the hook's body is not valid JSON: {error}") from None
    if not isinstance(body, dict):
        raise HookError("the hook's body is no JSON object, which restore needs")
    return body


async def settings(session: aiohttp.ClientSession, call: Call) -> dict[str, Any]:
    """The settings that the server shows under a call's URL.

    Raises:
        HookError: they cannot be read.
    """
    asked = Call("GET", call.url, timeout_seconds=call.timeout_seconds)
    try:
        found = json.loads(await send(session, asked))
    except ValueError:
        raise HookError(f"{asked} answered with something that is not JSON") from None
    if not isinstance(found, dict):
        raise HookError(f"{asked} answered with something that is no JSON object")
    return found


async def former(session: aiohttp.ClientSession, call: Call) -> dict[str, Any]:
    """The values that the fields of a call's body have now.

    Raises:
        HookError: they cannot be read, or the server does not have one of them.
    """
    wanted, found = fields(call.body), await settings(session, call)
    if lacking := missing(found, wanted):
        raise HookError(f"GET {call.url} shows no {', '.join(lacking)}")
    return {name: plain(found[name]) for name in wanted}


async def change(session: aiohttp.ClientSession, call: Call) -> None:
    """Change settings, and make sure that they took effect: some servers answer 200 and keep what they had.

    Raises:
        HookError: they did not.
    """
    await send(session, call)
    if other := unlike(await settings(session, call), fields(call.body)):
        raise HookError(f"{call} was answered, but {', '.join(other)} did not change")
