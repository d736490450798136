"""What is sent: the form each receiver wants, its signature, the language, and nothing that a chat would obey."""

import base64
import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from controller.api.notifications import Notification, SecretEntry
from controller.operator.notify.bodies import WECOM_BYTES, build, identity
from controller.operator.notify.guard import parse
from controller.operator.notify.texts import cut, title

Make = Callable[..., Any]
NOW = 1_738_324_800.0
ENTRY = SecretEntry(name="robots", key="url")


def destination(kind: Any, **fields: Any) -> Notification:
    return Notification(name="oncall", type=kind, url_secret=ENTRY, **fields)


def sent(kind: Any, notices: list[Any], *, url: str = "https://robot.example/send?key=k3y", **fields: Any) -> Any:
    request = build(destination(kind, **fields), parse(url), None, notices, now=NOW)
    return json.loads(request.body)


def test_wecom_gets_markdown(make_notice: Make) -> None:
    body = sent("WeCom", [make_notice()])
    assert set(body) == {"msgtype", "markdown"}
    assert body["msgtype"] == "markdown"
    text = body["markdown"]["content"]
    assert text.startswith(
        '**<font color="warning">haipool · 严重 Critical · TrafficQuota · haipool-system/default</font>'
    )
    assert "> 数值 Value: 451.2 GB, 阈值 threshold 450 GB" in text
    assert "> 开始 Since: 2025-01-31 20:00:00 北京时间 UTC+8" in text
    assert "本月流量 451.2 GB" in text
    assert "451.2 GB this month" in text


def test_dingtalk_gets_markdown_with_a_title(make_notice: Make) -> None:
    body = sent("DingTalk", [make_notice()], language="zh")
    assert body["msgtype"] == "markdown"
    assert body["markdown"]["title"] == "haipool · 严重 · TrafficQuota · haipool-system/default"
    assert "本月流量 451.2 GB" in body["markdown"]["text"]
    assert "this month" not in body["markdown"]["text"]


def test_feishu_gets_a_card(make_notice: Make) -> None:
    body = sent("Feishu", [make_notice()], language="en")
    assert body["msg_type"] == "interactive"
    assert body["card"]["header"] == {
        "title": {"tag": "plain_text", "content": "haipool · Critical · TrafficQuota · haipool-system/default"},
        "template": "red",
    }
    (element,) = body["card"]["elements"]
    assert element["text"]["tag"] == "lark_md"
    assert "451.2 GB this month" in element["text"]["content"]
    assert "本月" not in element["text"]["content"]
    assert "2025-01-31 12:00:00 UTC" in element["text"]["content"]


def test_a_webhook_gets_every_field(make_notice: Make) -> None:
    notices = [make_notice(), make_notice("Leaks", "Resolved")]
    body = sent("Webhook", notices)
    assert body["id"] == identity(notices)
    assert body["alerts"][0] == {
        "namespace": "haipool-system", "pool": "default", "rule": "TrafficQuota", "subject": "", "state": "Firing",
        "level": "Critical", "level_zh": "严重", "peak": "Critical", "value": 451.2, "threshold": 450.0, "unit": "GB",
        "since": "2025-01-31T12:00:00.000Z", "changed_at": "2025-01-31T12:01:00.000Z",
        "message": "451.2 GB this month", "message_zh": "本月流量 451.2 GB",
    }  # fmt: skip
    assert body["alerts"][1]["state"] == "Resolved"


def test_the_end_of_an_alert_says_when(make_notice: Make) -> None:
    text = sent("WeCom", [make_notice(news="Resolved")])["markdown"]["content"]
    assert '<font color="info">haipool · 已恢复 Resolved' in text
    assert "恢复 Over: 2025-01-31 20:01:00" in text
    assert "最高级别 Highest level: 严重 Critical" in text


def test_many_alerts_make_one_message_the_worst_first(make_notice: Make) -> None:
    notices = [make_notice("A", "Warning"), make_notice("B", "Emergency"), make_notice("C", "Resolved")]
    text = sent("DingTalk", notices)["markdown"]["text"]
    assert "3 条告警 3 alerts" in text
    assert "紧急 Emergency" in text.splitlines()[0]
    assert text.index("Emergency B") < text.index("Warning A") < text.index("Resolved C")


@pytest.mark.parametrize("kind", ["WeCom", "DingTalk", "Feishu", "Webhook"])
def test_a_robots_keyword_filter_may_ask_for_haipool(kind: str, make_notice: Make) -> None:
    assert "haipool · " in json.dumps(sent(kind, [make_notice()]), ensure_ascii=False)
    assert title([make_notice()] * 3, "zh").startswith("haipool")


def test_words_of_others_are_no_commands_of_the_chat(make_notice: Make) -> None:
    evil = 'x\n<at id=all></at> <@all> [click](https://evil.example) \u202e"'
    text = sent("Feishu", [make_notice(message=evil, message_zh=evil, subject=evil)])["card"]["elements"][0]["text"][
        "content"
    ]
    assert "<" not in text
    assert "](" not in text
    assert "\u202e" not in text
    assert (
        len(text.splitlines())
        == len(sent("Feishu", [make_notice(subject="x")])["card"]["elements"][0]["text"]["content"].splitlines()) - 1
    ), "the two sentences are one, and nothing adds a line"


def test_a_robots_limit_is_kept_in_bytes(make_notice: Make) -> None:
    many = [make_notice(f"Rule{n}", message_zh="很长" * 100) for n in range(60)]
    text = sent("WeCom", many)["markdown"]["content"]
    assert len(text.encode()) <= WECOM_BYTES <= 4096
    assert text.endswith("…")
    assert cut("汉字", 5) == "…"


def test_dingtalk_signs_in_the_url(make_notice: Make, accepts: dict[str, Callable[..., bool]]) -> None:
    for number in range(20):  # signs with + and / in them too
        now = time.time() + number
        target = parse("https://oapi.example/robot/send?access_token=t0k/n%2B")
        request = build(destination("DingTalk", sign_secret=ENTRY), target, "SECabc", [make_notice()], now=now)
        url = request.target.url
        assert accepts["DingTalk"](url.raw_path_qs, "SECabc")
        assert url.query["access_token"] == "t0k/n+"
        assert not accepts["DingTalk"](url.raw_path_qs, "SECabd")


def test_feishu_signs_in_the_body(make_notice: Make, accepts: dict[str, Callable[..., bool]]) -> None:
    wanted = destination("Feishu", sign_secret=ENTRY)
    body = json.loads(build(wanted, parse("https://f.example/x"), "s3cr3t", [make_notice()], now=time.time()).body)
    assert accepts["Feishu"](body, "s3cr3t")
    assert not accepts["Feishu"](body, "other")


@pytest.mark.parametrize("secret", ["plain secret", "whsec_" + base64.b64encode(b"0123456789abcdef").decode()])
def test_webhooks_are_signed_by_the_standard(
    secret: str, make_notice: Make, accepts: dict[str, Callable[..., bool]]
) -> None:
    wanted = destination("Webhook", sign_secret=ENTRY)
    request = build(wanted, parse("https://w.example/x"), secret, [make_notice()], now=NOW)
    assert accepts["Webhook"](dict(request.headers), request.body, secret)
    assert not accepts["Webhook"](dict(request.headers), request.body + b" ", secret)


def test_the_same_news_has_the_same_id_whatever_its_order(make_notice: Make) -> None:
    one, other = make_notice("A"), make_notice("B")
    assert identity([one, other]) == identity([other, one]) != identity([one])
    assert identity([make_notice("A", "Resolved")]) != identity([one])
