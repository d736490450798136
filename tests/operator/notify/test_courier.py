"""A destination gets what it has to hear: through faults, limits and restarts of its receiver, and not twice."""

import asyncio
import json
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from controller.api.gpupool import GpuPool
from controller.api.model import read
from controller.kube.client import KubeClient
from controller.kube.connect import load
from controller.operator.notify.courier import Office, Times
from controller.operator.notify.guard import Guard, network
from controller.operator.notify.notifier import Notifier
from controller.operator.notify.pace import PER_MINUTE, Pace, Paces
from controller.operator.notify.sender import Sender
from controller.operator.notify.texts import Notice
from controller.operator.secrets import SECRETS, Secrets

Make = Callable[..., Notice]
QUICK = Times(attempts=3, retry_first=0.01, retry_longest=0.02, rest_first=0.02, rest_longest=0.05, check=0.05)


class Post:
    """A notifier with one pool, whose destinations are receivers of the test."""

    def __init__(self, kube: KubeClient, namespace: str, stack: AsyncExitStack) -> None:
        self.kube = kube
        self.namespace = namespace
        self.stack = stack
        self.heard: list[tuple[str, Notice]] = []
        self.outcomes: Counter[tuple[str, str]] = Counter()
        self.notifier: Notifier
        self.pool: GpuPool

    async def secret(self, **values: str) -> None:
        body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "robots"}, "stringData": values}
        await self.kube.create(SECRETS, body, namespace=self.namespace)

    def open(
        self, *destinations: dict[str, Any], times: Times = QUICK, minute: float = 60.0, allowed: str = "127.0.0.0/8",
        timeout: float = 5.0,
    ) -> None:  # fmt: skip
        office = Office(
            sender=Sender(Guard([network(allowed)]), timeout=timeout),
            secrets=Secrets(self.kube, lambda: 0.0),
            paces=Paces(minute=minute, gap=0.0),
            times=times,
            wall=time.time,
            count=lambda kind, outcome: self.outcomes.update([(kind, outcome)]),
        )
        self.notifier = Notifier(office, lambda _uid, name, notice: self.heard.append((name, notice)))
        self.stack.push_async_callback(self.notifier.close)
        self.change(*destinations)

    def change(self, *destinations: dict[str, Any]) -> None:
        meta = {"name": "default", "namespace": self.namespace, "uid": "u1"}
        self.pool = read(GpuPool, {"metadata": meta, "spec": {"notifications": list(destinations)}})
        self.notifier.serve(self.pool)

    def want(self, *notices: Notice, name: str = "oncall") -> None:
        self.notifier.want(self.pool, {name: {n.key: n for n in notices}})

    def condition(self) -> tuple[str, str, str]:
        found = self.notifier.condition(self.pool)
        return found.status, found.reason, found.message

    async def until(self, look: Callable[[], Any]) -> None:
        while not look():  # noqa: ASYNC110 - what is looked at sets no event
            await asyncio.sleep(0.005)


def destination(kind: str = "WeCom", key: str = "url", **fields: Any) -> dict[str, Any]:
    return {"name": "oncall", "type": kind, "urlSecret": {"name": "robots", "key": key}, **fields}


@pytest.fixture
async def post(cluster: Any, namespace: str) -> AsyncIterator[Post]:
    async with AsyncExitStack() as stack:
        kube = KubeClient(load(str(cluster.kubeconfig)))
        stack.push_async_callback(kube.close)
        yield Post(kube, namespace, stack)


async def test_what_is_wanted_is_delivered_once(post: Post, receiver: Any, make_notice: Make) -> None:
    await post.secret(url=receiver.url("/cgi-bin/webhook/send?key=k3y"))
    post.open(destination())
    post.want(make_notice())
    await post.until(lambda: post.heard)
    assert post.heard == [("oncall", make_notice())]
    await asyncio.sleep(0.1)
    assert [path for path, _, _ in receiver.requests] == ["/cgi-bin/webhook/send?key=k3y"]
    assert post.condition()[:2] == ("True", "Delivered")
    assert post.outcomes == {("WeCom", "delivered"): 1}


@pytest.mark.parametrize(("kind", "answer"), [
    ("DingTalk", {"errcode": 0, "errmsg": "ok"}),
    ("Feishu", {"code": 0, "msg": "success", "StatusCode": 0, "StatusMessage": "success"}),
    ("Webhook", {}),
])  # fmt: skip
async def test_signed_requests_pass_the_receivers_check(
    kind: str, answer: Any, *, post: Post, receiver: Any, make_notice: Make, accepts: dict[str, Callable[..., bool]]
) -> None:
    receiver.answer = answer
    await post.secret(url=receiver.url("/robot/send?access_token=t"), sign="SECret")
    post.open(destination(kind, signSecret={"name": "robots", "key": "sign"}))
    post.want(make_notice())
    await post.until(lambda: post.heard)
    ((path, headers, body),) = receiver.requests
    seen = {"Webhook": (headers, body), "DingTalk": (path,), "Feishu": (json.loads(body),)}
    assert accepts[kind](*seen[kind], "SECret")


@pytest.mark.parametrize(
    ("faults", "outcome"),
    [
        ({"status": 500}, "unreachable"),
        ({"status": 404}, "rejected"),
        ({"answer": {"errcode": 93000, "errmsg": "invalid webhook url"}}, "rejected"),
        ({"answer": {"errcode": -1, "errmsg": "system busy"}}, "unreachable"),
        ({"answer": {"ok": True}}, "rejected"),
        ({"answer": [1]}, "rejected"),
        ({"status": 302, "headers": {"Location": "http://127.0.0.1/"}}, "rejected"),
        ({"delay": 60.0}, "unreachable"),
    ],
)
async def test_a_fault_is_told_and_overcome_once_it_is_mended(
    faults: dict[str, Any], outcome: str, post: Post, receiver: Any, make_notice: Make
) -> None:
    whole = {name: getattr(receiver, name) for name in faults}
    for name, value in faults.items():
        setattr(receiver, name, value)
    await post.secret(url=receiver.url("/send?key=s3cret-key"))
    post.open(destination(), timeout=1.0)
    post.want(make_notice())
    await post.until(lambda: post.outcomes["WeCom", outcome])
    assert post.heard == []
    status, _, message = post.condition()
    assert status == "False"
    assert message.startswith("oncall: 127.0.0.1")
    assert "s3cret" not in message
    for name, value in whole.items():
        setattr(receiver, name, value)
    await post.until(lambda: post.heard)
    assert post.condition()[0] == "True"


async def test_short_trouble_is_retried_without_a_word(post: Post, receiver: Any, make_notice: Make) -> None:
    from aiohttp import web

    receiver.answer = lambda number: web.Response(status=503) if number < 3 else {"errcode": 0}
    await post.secret(url=receiver.url())
    post.open(destination())
    post.want(make_notice())
    await post.until(lambda: post.heard)
    assert post.outcomes == {("WeCom", "retried"): 2, ("WeCom", "delivered"): 1}


@pytest.mark.parametrize(
    ("kind", "answer", "status", "headers"),
    [
        ("WeCom", {"errcode": 45009, "errmsg": "api freq out of limit"}, 200, {}),
        ("DingTalk", {"errcode": 130101, "errmsg": "send too fast, exceed 20 times per minute"}, 200, {}),
        ("Feishu", {"code": 11232, "msg": "frequency limited"}, 200, {}),
        ("Feishu", {"code": 99991400, "msg": "request trigger frequency limit"}, 429, {"x-ogw-ratelimit-reset": "52"}),
        ("Webhook", {}, 429, {"Retry-After": "30"}),
    ],
)
async def test_a_receiver_that_is_asked_too_often_is_left_alone(
    kind: str, answer: Any, status: int, headers: dict[str, str], *, post: Post, receiver: Any, make_notice: Make
) -> None:
    receiver.answer, receiver.status, receiver.headers = answer, status, headers
    await post.secret(url=receiver.url())
    post.open(destination(kind))
    post.want(make_notice())
    await post.until(lambda: post.outcomes[kind, "throttled"])
    post.want(make_notice(), make_notice("Leaks"))
    await asyncio.sleep(0.2)
    assert len(receiver.requests) == 1
    assert post.condition()[0] != "False"


async def test_more_than_a_receiver_takes_in_a_minute_becomes_one_message(
    post: Post, receiver: Any, make_notice: Make
) -> None:
    await post.secret(url=receiver.url())
    post.open(destination())
    many = [make_notice(f"Rule{n:02}") for n in range(40)]
    post.want(*many)
    await post.until(lambda: len(post.heard) == len(many))
    assert len(receiver.requests) == 1
    assert "40 条告警" in receiver.bodies[0]["markdown"]["content"]


async def test_the_limit_holds_over_time_and_over_pools_with_the_same_robot(
    post: Post, receiver: Any, make_notice: Make
) -> None:
    limit, minute = PER_MINUTE["WeCom"], 1.0
    await post.secret(url=receiver.url("/send?key=k"), same=receiver.url("/send?key=k"))
    post.open(destination(), destination(key="same") | {"name": "second"}, minute=minute)
    loop, arrivals = asyncio.get_running_loop(), list[float]()

    def answer(_number: int) -> dict[str, int]:
        arrivals.append(loop.time())
        return {"errcode": 0}

    receiver.answer = answer
    for n in range(30):
        notice = make_notice(f"Rule{n:02}")
        post.notifier.want(post.pool, {name: {notice.key: notice} for name in ("oncall", "second")})
        wanted = 2 * (n + 1)
        await post.until(lambda wanted=wanted: len(post.heard) >= wanted)  # type: ignore[misc]
    pace = post.notifier._office.paces.of("WeCom", receiver.url("/send?key=k"))
    assert pace.limit == limit
    assert len(arrivals) == 60
    assert arrivals[-1] - arrivals[0] > 2 * minute  # 60 at 18 in each


async def test_an_alert_that_ends_before_it_could_be_told_is_told_once_as_ended(
    post: Post, receiver: Any, make_notice: Make
) -> None:
    receiver.status = 500
    await post.secret(url=receiver.url())
    post.open(destination())
    post.want(make_notice())
    await post.until(lambda: post.outcomes["WeCom", "unreachable"])
    over = make_notice(news="Resolved")
    post.want(over)
    receiver.requests.clear()
    receiver.status = 200
    await post.until(lambda: post.heard)
    assert post.heard == [("oncall", over)]
    assert "已恢复" in receiver.bodies[-1]["markdown"]["content"]


async def test_nobody_waits_for_a_receiver(post: Post, receiver: Any, make_notice: Make) -> None:
    """Each destination has its own task: one that hangs delays neither the others nor whoever wants it told."""
    receiver.delay = 60.0
    await post.secret(url=receiver.url(), other="https://192.0.2.1/x")
    post.open(destination(), destination(key="other") | {"name": "refused"}, timeout=30.0)
    post.want(make_notice())
    await receiver.until(1)
    await asyncio.wait_for(post.notifier.close(), 5.0)


async def test_a_missing_secret_is_said_before_anything_has_to_be_told_and_noticed_when_made(
    post: Post, receiver: Any, make_notice: Make
) -> None:
    post.open(destination())
    await post.until(lambda: post.condition()[0] == "False")
    _, reason, message = post.condition()
    assert reason == "SecretUnusable"
    assert f"spec.notifications[oncall].urlSecret: Secret {post.namespace}/robots cannot be read" in message
    assert "manifests/notifications" in message
    await post.secret(url=receiver.url())
    await post.until(lambda: post.condition()[0] == "True")
    assert receiver.requests == []


@pytest.mark.parametrize(
    ("url", "reason", "said"),
    [
        ("not-a-url-but-s3cret", "SecretUnusable", "Secret robots, key url: its value is no URL"),
        ("https://10.0.0.5/s3cret", "AddressRefused", "10.0.0.5: it is not a public address"),
        ("https://169.254.169.254/s3cret", "AddressRefused", "never called"),
        ("https://no-such-host.invalid/s3cret", "Unreachable", "no-such-host.invalid cannot be resolved"),
    ],
)
async def test_an_address_that_will_not_do_is_said_at_once_and_not_called(
    url: str, reason: str, said: str, *, post: Post, make_notice: Make, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    await post.secret(url=url)
    post.open(destination())
    await post.until(lambda: post.condition()[0] == "False")
    assert post.condition()[1] == reason
    assert said in post.condition()[2]
    assert "s3cret" not in post.condition()[2] + caplog.text


async def test_the_log_tells_a_trouble_once_and_no_secret(
    post: Post, receiver: Any, make_notice: Make, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="controller")
    receiver.answer = {"errcode": 40058, "errmsg": "bad key s3cret-key of /s3cret-path"}
    await post.secret(url=receiver.url("/s3cret-path?key=s3cret-key"), sign="s3cret-sign")
    post.open(destination("DingTalk", signSecret={"name": "robots", "key": "sign"}))
    post.want(make_notice())
    await post.until(lambda: post.outcomes["DingTalk", "rejected"] >= 3)
    assert [r.levelname for r in caplog.records].count("WARNING") == 1
    assert "s3cret" not in caplog.text + post.condition()[2]


async def test_a_changed_destination_begins_anew_and_one_taken_away_ends(
    post: Post, receiver: Any, make_notice: Make
) -> None:
    receiver.answer = {"errcode": 93000}
    await post.secret(url=receiver.url("/one"), url2=receiver.url("/two"))
    post.open(destination())
    post.want(make_notice())
    await post.until(lambda: post.condition()[0] == "False")
    receiver.answer = {"errcode": 0}
    post.change(destination(key="url2"))
    assert post.condition()[:2] == ("Unknown", "Checking")
    post.want(make_notice())
    await post.until(lambda: post.heard)
    assert receiver.requests[-1][0] == "/two"
    post.change()
    assert post.condition()[:2] == ("True", "NoDestination")


async def test_a_pace_counts_a_sliding_minute() -> None:
    pace = Pace(limit=3, gap=0.0, minute=60.0)
    pace.calls.extend([0.0, 10.0, 50.0])
    assert [pace.left(now) for now in (59.9, 60.0, 70.0, 110.0)] == [0, 1, 2, 3]
