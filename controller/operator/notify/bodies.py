r"""Requests as each kind of receiver wants them, signed where it has a secret.

- WeCom (企业微信 group robot): `msgtype: markdown`, 4 096 bytes; the URL's `key` is all its authentication.
- DingTalk (custom robot): `msgtype: markdown` with a title; `timestamp` (ms) and `sign` in the URL, where the sign is
  the Base64 of HMAC-SHA256 over "{timestamp}\n{secret}" with the secret as key.
- Feishu (custom bot): `msg_type: interactive` with a card; `timestamp` (s) and `sign` in the body, where the sign is
  the Base64 of HMAC-SHA256 over nothing with "{timestamp}\n{secret}" as key.
- Webhook: JSON as docs/notifications.md says; signed by Standard Webhooks (`webhook-id`, `-timestamp`, `-signature`).
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from controller.api.notifications import Language, Notification, NotificationType
from controller.operator.notify.guard import Target
from controller.operator.notify.sender import Request
from controller.operator.notify.texts import LEVEL_ZH, Notice, clean, cut, details, summary, title, worst
from controller.scaling.alertstate import RESOLVED

#: What the robots' pages allow, less some room for the frame.
WECOM_BYTES: Final = 4000
DINGTALK_BYTES: Final = 15000
FEISHU_BYTES: Final = 15000
_WECOM_COLOURS: Final = {RESOLVED: "info", "Info": "comment"}
_FEISHU_COLOURS: Final = {RESOLVED: "green", "Info": "blue", "Warning": "orange", "Critical": "red", "Emergency": "red"}

Builder = Callable[[Target, str | None, Sequence[Notice], Language, float], Request]


def build(
    notification: Notification, target: Target, secret: str | None, notices: Sequence[Notice], *, now: float
) -> Request:
    """The request that tells this destination of one alert, or of several at once.

    Args:
        notification: the destination.
        target: its URL.
        secret: its signing secret.
        notices: at least one.
        now: Unix seconds, for the signature.
    """
    return BUILDERS[notification.type](target, secret, notices, notification.language, now)


def identity(notices: Sequence[Notice]) -> str:
    """The same for the same news, also after a restart: receivers can tell a repetition by it."""
    parts = sorted("\0".join((n.namespace, n.pool, *n.key, n.alert.since, n.alert.changed_at, n.news)) for n in notices)
    return hashlib.sha256("\1".join(parts).encode()).hexdigest()[:32]


def dingtalk_sign(secret: str, millis: int) -> str:
    """The `sign` of a DingTalk robot's URL, before it is escaped."""
    return _mac(secret.encode(), f"{millis}\n{secret}".encode())


def feishu_sign(secret: str, seconds: int) -> str:
    """The `sign` of a Feishu bot's body."""
    return _mac(f"{seconds}\n{secret}".encode(), b"")


def webhook_sign(secret: str, message_id: str, seconds: int, body: bytes) -> str:
    """The `webhook-signature` of Standard Webhooks; a secret that begins with `whsec_` is Base64."""
    key = secret.encode()
    if secret.startswith("whsec_"):
        try:
            key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
        except binascii.Error:
            key = secret.encode()
    return "v1," + _mac(key, f"{message_id}.{seconds}.".encode() + body)


def _mac(key: bytes, message: bytes) -> str:
    return base64.b64encode(hmac.new(key, message, hashlib.sha256).digest()).decode()


def _wecom(target: Target, _secret: str | None, notices: Sequence[Notice], language: Language, _now: float) -> Request:
    colour = _WECOM_COLOURS.get(worst(notices), "warning")
    head = f'**<font color="{colour}">{title(notices, language)}</font>**'
    body = "\n".join(f"> {line}" for line in _lines(notices, language))
    return _json(target, {"msgtype": "markdown", "markdown": {"content": cut(f"{head}\n{body}", WECOM_BYTES)}})


def _dingtalk(target: Target, secret: str | None, notices: Sequence[Notice], language: Language, now: float) -> Request:
    if secret is not None:
        millis = round(now * 1000)
        target = Target(target.url.update_query(timestamp=str(millis), sign=dingtalk_sign(secret, millis)))
    head = title(notices, language)
    # A line of its own needs an empty one before it.
    text = "\n\n".join([f"### {head}", *_lines(notices, language)])
    return _json(target, {"msgtype": "markdown", "markdown": {"title": head, "text": cut(text, DINGTALK_BYTES)}})


def _feishu(target: Target, secret: str | None, notices: Sequence[Notice], language: Language, now: float) -> Request:
    text = cut("\n".join(_lines(notices, language)), FEISHU_BYTES)
    card = {
        "config": {"wide_screen_mode": True},
        "header": {
            "title": {"tag": "plain_text", "content": title(notices, language)},
            "template": _FEISHU_COLOURS[worst(notices)],
        },
        "elements": [{"tag": "div", "text": {"tag": "lark_md", "content": text}}],
    }
    signed = {} if secret is None else {"timestamp": str(int(now)), "sign": feishu_sign(secret, int(now))}
    return _json(target, {**signed, "msg_type": "interactive", "card": card})


def _webhook(target: Target, secret: str | None, notices: Sequence[Notice], language: Language, now: float) -> Request:
    message_id = identity(notices)
    body = {
        "version": "1",
        "id": message_id,
        "title": title(notices, language),
        "text": "\n".join(_lines(notices, language)),
        "alerts": [_plain(notice) for notice in notices],
    }
    request = _json(target, body)
    headers = {**request.headers, "webhook-id": message_id, "webhook-timestamp": str(int(now))}
    if secret is not None:
        headers["webhook-signature"] = webhook_sign(secret, message_id, int(now), request.body)
    return Request(target, request.body, headers)


def _plain(notice: Notice) -> dict[str, Any]:
    alert = notice.alert
    return {
        "namespace": notice.namespace,
        "pool": notice.pool,
        "rule": alert.rule,
        "subject": alert.subject,
        "state": "Resolved" if notice.news == RESOLVED else "Firing",
        "level": alert.level,
        "level_zh": LEVEL_ZH[alert.level],
        "peak": alert.peak,
        "value": alert.value,
        "threshold": alert.threshold,
        "unit": alert.unit,
        "since": alert.since,
        "changed_at": alert.changed_at,
        "message": clean(alert.message),
        "message_zh": clean(alert.message_zh),
    }


def _lines(notices: Sequence[Notice], language: Language) -> list[str]:
    return details(notices[0], language) if len(notices) == 1 else summary(notices, language)


def _json(target: Target, body: Any) -> Request:
    headers = {"Content-Type": "application/json; charset=utf-8", "User-Agent": "haipool"}
    return Request(target, msgspec.json.encode(body), headers)


BUILDERS: Final[dict[NotificationType, Builder]] = {
    "Webhook": _webhook,
    "WeCom": _wecom,
    "DingTalk": _dingtalk,
    "Feishu": _feishu,
}
