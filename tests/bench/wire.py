"""The little HTTP/1.1 that load generator and origin speak: small messages with a Content-Length, one at a time."""

import json
from typing import Final

HEAD_END: Final = b"\r\n\r\n"
#: Clients of the load, each with an address of its own: identities are cached by address, and one is not a crowd.
ADDRESSES: Final = tuple(f"127.0.0.{10 + number}" for number in range(16))


def _json_of(size: int, key: str) -> bytes:
    """A JSON object of exactly this many bytes."""
    empty = json.dumps({key: ""}).encode()
    return json.dumps({key: "x" * (size - len(empty))}).encode()


#: A prompt, as clients of a text or image model send it.
PROMPT: Final = _json_of(200, "prompt")
#: What a server answers to everything.
RESULT: Final = _json_of(500, "result")


def request_bytes(kind: str, port: int) -> bytes:
    """One request as a client sends it.

    Args:
        kind: `task` (POST with a prompt) or `pass` (GET).
        port: of the proxy, for the Host header.
    """
    common = f"Host: 127.0.0.1:{port}\r\nUser-Agent: haipool-bench\r\nAccept: */*\r\nAccept-Encoding: gzip, deflate\r\n"
    if kind == "pass":
        return f"GET /assets/app.js?v=1 HTTP/1.1\r\n{common}\r\n".encode()
    head = (
        f"POST /v1/generate HTTP/1.1\r\n{common}Content-Type: application/json\r\nContent-Length: {len(PROMPT)}\r\n\r\n"
    )
    return head.encode() + PROMPT


def content_length(head: bytes) -> int | None:
    """The Content-Length of a message head; None if it has none."""
    _, found, rest = head.lower().partition(b"\r\ncontent-length:")
    return int(rest.partition(b"\r\n")[0]) if found else None
