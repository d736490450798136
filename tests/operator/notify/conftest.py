"""Receivers that check what they are sent as the vendors' pages say: real HTTP servers on loopback."""

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs

import pytest
from aiohttp import web

from controller.api.alerts import AlertStatus
from controller.api.times import rfc3339
from controller.operator.notify.texts import Notice
from controller.scaling.alertstate import RESOLVED

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
NOW = 1_738_324_800.0


class Receiver:
    """A server that keeps what it was sent and answers as it is told."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.answer: Any = {"errcode": 0, "errmsg": "ok"}
        self.status = 200
        self.headers: dict[str, str] = {}
        self.delay = 0.0
        self.port = 0
        self.arrived = asyncio.Event()

    async def take(self, request: web.Request) -> web.StreamResponse:
        self.requests.append((request.path_qs, dict(request.headers), await request.read()))
        self.arrived.set()
        await asyncio.sleep(self.delay)
        answer = self.answer(len(self.requests)) if callable(self.answer) else self.answer
        if isinstance(answer, web.StreamResponse):
            return answer
        return web.json_response(answer, status=self.status, headers=self.headers)

    @property
    def bodies(self) -> list[Any]:
        return [json.loads(body) for _, _, body in self.requests]

    def url(self, path: str = "/hook", host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"

    async def until(self, count: int) -> None:
        """Until so many requests have come."""
        while len(self.requests) < count:
            self.arrived.clear()
            await self.arrived.wait()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    made = Receiver()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", made.take)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.port = runner.addresses[0][1]
    yield made
    await runner.cleanup()


def notice(
    rule: str = "TrafficQuota", news: str = "Critical", *, subject: str = "", message: str = "451.2 GB this month",
    message_zh: str = "本月流量 451.2 GB",
) -> Notice:  # fmt: skip
    level: Any = "Critical" if news == RESOLVED else news
    alert = AlertStatus(
        rule=rule, subject=subject, state="Resolved" if news == RESOLVED else "Firing", level=level, peak=level,
        since=rfc3339(NOW), changed_at=rfc3339(NOW + 60.0), value=451.2, threshold=450.0, unit="GB", message=message,
        message_zh=message_zh,
    )  # fmt: skip
    return Notice("haipool-system", "default", alert, news)


@pytest.fixture
def make_notice() -> Callable[..., Notice]:
    return notice


def dingtalk_accepts(path_qs: str, secret: str) -> bool:
    """As the page of DingTalk's custom robots computes it: Base64(HMAC-SHA256(key=secret, "{ms}\\n{secret}"))."""
    query = parse_qs(path_qs.partition("?")[2], strict_parsing=True)
    (millis,), (sign,) = query["timestamp"], query["sign"]
    wanted = hmac.new(secret.encode(), f"{millis}\n{secret}".encode(), hashlib.sha256).digest()
    return sign == base64.b64encode(wanted).decode() and abs(time.time() * 1000 - int(millis)) < 3_600_000


def feishu_accepts(body: Any, secret: str) -> bool:
    """As the page of Feishu's custom bots computes it: Base64(HMAC-SHA256(key="{s}\\n{secret}", ""))."""
    key = f"{body['timestamp']}\n{secret}"
    wanted = base64.b64encode(hmac.new(key.encode(), b"", hashlib.sha256).digest()).decode()
    return body["sign"] == wanted and abs(time.time() - int(body["timestamp"])) < 3600


def webhook_accepts(headers: dict[str, str], body: bytes, secret: str) -> bool:
    """As Standard Webhooks has it."""
    low = {name.lower(): value for name, value in headers.items()}
    key = base64.b64decode(secret.removeprefix("whsec_")) if secret.startswith("whsec_") else secret.encode()
    content = f"{low['webhook-id']}.{low['webhook-timestamp']}.".encode() + body
    wanted = base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()
    return low["webhook-signature"] == f"v1,{wanted}"


@pytest.fixture
def accepts() -> dict[str, Callable[..., bool]]:
    return {"DingTalk": dingtalk_accepts, "Feishu": feishu_accepts, "Webhook": webhook_accepts}
