"""Whether a receiver has taken a notification. Robots say no with status 200 and a code of their own."""

from typing import Any, Final

import msgspec

from controller.api.notifications import NotificationType
from controller.operator.notify.errors import RejectedError, ThrottledError, UnreachableError
from controller.operator.notify.guard import Target
from controller.operator.notify.sender import Answer
from controller.operator.notify.texts import clean

#: Codes that mean too many messages, and the seconds for which the robot says nothing then.
_THROTTLED: Final[dict[NotificationType, dict[int, float]]] = {
    "Webhook": {},
    "WeCom": {45009: 60.0, 45033: 60.0},
    # Past twenty a minute DingTalk takes no message for ten minutes.
    "DingTalk": {130101: 600.0, 90018: 600.0},
    "Feishu": {11232: 60.0, 99991400: 60.0, 9499: 60.0},
}
#: Codes that mean: the receiver is busy, try again.
_BUSY: Final = (-1,)
#: What the common codes ask of people; the robots' own words are terse.
_ADVICE: Final[dict[NotificationType, dict[int, str]]] = {
    "Webhook": {},
    "WeCom": {93000: "the robot is gone, or the URL's key is wrong: copy its URL into the Secret again"},
    "DingTalk": {
        310000: "its security settings refuse the message: set signSecret to the robot's SEC… secret, or let the "
        "keyword be haipool",
        300001: "the URL's access_token is wrong: copy its URL into the Secret again",
    },
    "Feishu": {
        19001: "the URL's token is wrong: copy its URL into the Secret again",
        19021: "the signature does not fit: set signSecret to the bot's secret, and check the clock",
        19022: "its settings allow other addresses only: add the cluster's public address",
        19024: "its keyword is not in the message: let the keyword be haipool",
    },
}
_RETRY_STATUS: Final = (408, 425, 500, 502, 503, 504)
_LONGEST_PAUSE: Final = 600.0
_QUOTED: Final = 120


def judge(kind: NotificationType, target: Target, answer: Answer) -> None:
    """Return if it was taken.

    Raises:
        ThrottledError: it says when to come again.
        UnreachableError: it is worth trying again soon.
        RejectedError: it is not.
    """
    _judge_status(target, answer)
    if kind != "Webhook":
        _judge_code(kind, target, answer)


def _judge_status(target: Target, answer: Answer) -> None:
    status = answer.status
    pause = _asked_pause(answer)
    if status == 429 or (status == 503 and pause is not None):
        raise ThrottledError(f"{target} answers {status}", min(_LONGEST_PAUSE, 60.0 if pause is None else pause))
    if status in _RETRY_STATUS:
        raise UnreachableError(f"{target} answers {status}")
    if 300 <= status < 400:
        raise RejectedError(f"{target} answers {status}: redirects are not followed, name the final URL in the Secret")
    if not 200 <= status < 300:
        raise RejectedError(f"{target} answers {status}")


def _asked_pause(answer: Answer) -> float | None:
    headers = {name.lower(): value for name, value in answer.headers.items()}
    text = headers.get("retry-after") or headers.get("x-ogw-ratelimit-reset") or ""
    return float(text) if text.isdigit() else None


def _judge_code(kind: NotificationType, target: Target, answer: Answer) -> None:
    said = _read(answer.body)
    code = said.get("errcode", said.get("code", said.get("StatusCode")))
    if not isinstance(code, int) or isinstance(code, bool):
        raise RejectedError(f"{target} does not answer like a robot of type {kind}: check type and URL")
    if code == 0:
        return
    words = str(said.get("errmsg") or said.get("msg") or said.get("StatusMessage") or "")
    message = f"{target} answers {code}"
    if code in _BUSY:
        raise UnreachableError(message)
    if (pause := _THROTTLED[kind].get(code)) is not None:
        raise ThrottledError(message, pause)
    quoted = target.hide(clean(words))[:_QUOTED]
    advice = _ADVICE[kind].get(code)
    raise RejectedError(f"{message}: {advice}" if advice else f"{message}: {quoted}")


def _read(body: bytes) -> dict[str, Any]:
    try:
        said = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {}
    return said if isinstance(said, dict) else {}
