"""What is said of alerts: in Chinese, in English, or in both, short enough for whoever shows it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from controller.api.alerts import AlertStatus
from controller.api.notifications import Language
from controller.api.times import unix
from controller.scaling.alertstate import RESOLVED, rank
from controller.scaling.readings import BEIJING

LEVEL_ZH: Final = {"Info": "提示", "Warning": "警告", "Critical": "严重", "Emergency": "紧急", RESOLVED: "已恢复"}
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+")


@dataclass(frozen=True, slots=True)
class Notice:
    """What one destination is to hear of one alert."""

    namespace: str
    pool: str
    alert: AlertStatus
    #: A level, or `Resolved`.
    news: str

    @property
    def key(self) -> tuple[str, str]:
        """Of the alert."""
        return self.alert.key


def worst(notices: Sequence[Notice]) -> str:
    """The highest level among the news; `Resolved` if all is over."""
    return max((n.news for n in notices), key=rank)


def clean(text: str) -> str:
    """Words of the cloud or of servers, without what a chat would take for its own: tags, links, line breaks."""
    return _CONTROL.sub(" ", text).replace("<", "‹").replace(">", "›").replace("](", "] (")


def cut(text: str, limit: int) -> str:
    """The text in at most so many bytes of UTF-8."""
    raw = text.encode()
    return text if len(raw) <= limit else raw[: limit - 3].decode(errors="ignore") + "…"


def title(notices: Sequence[Notice], language: Language) -> str:
    """One line; it holds the word haipool, which a robot's keyword filter can ask for."""
    pools = sorted({f"{n.namespace}/{n.pool}" for n in notices})
    level = _say(LEVEL_ZH[worst(notices)], worst(notices), language)
    if len(notices) == 1:
        what = notices[0].alert.rule
    else:
        what = _say(f"{len(notices)} 条告警", f"{len(notices)} alerts", language)
    return clean(f"haipool · {level} · {what} · {', '.join(pools)}")


def details(notice: Notice, language: Language) -> list[str]:
    """The lines below the title of a message about one alert."""
    alert = notice.alert
    subject = f"{alert.rule} ({alert.subject})" if alert.subject else alert.rule
    threshold = f"{_say('阈值', 'threshold', language)} {_figure(alert.threshold)} {alert.unit}"
    lines = [
        f"{_say('规则', 'Rule', language)}: {subject}",
        f"{_say('数值', 'Value', language)}: {_figure(alert.value)} {alert.unit}, {threshold}",
        f"{_say('开始', 'Since', language)}: {moment(alert.since, language)}",
    ]
    if notice.news == RESOLVED:
        lines.append(f"{_say('恢复', 'Over', language)}: {moment(alert.changed_at, language)}")
    if notice.news != alert.peak:
        peak = _say(LEVEL_ZH[alert.peak], alert.peak, language)
        lines.append(f"{_say('最高级别', 'Highest level', language)}: {peak}")
    return [clean(line) for line in [*lines, *sentences(alert, language)]]


def sentences(alert: AlertStatus, language: Language) -> list[str]:
    """The alert's own words; where the language wanted has none, the other's."""
    zh, en = alert.message_zh or alert.message, alert.message or alert.message_zh
    return {"zh": [zh], "en": [en], "both": [zh] if zh == en else [zh, en]}[language]


def summary(notices: Sequence[Notice], language: Language) -> list[str]:
    """One line for each of many alerts, the worst first."""
    ordered = sorted(notices, key=lambda n: (-rank(n.news), n.key))
    lines = []
    for notice in ordered:
        level = _say(LEVEL_ZH[notice.news], notice.news, language)
        subject = f" {notice.alert.subject}" if notice.alert.subject else ""
        words = sentences(notice.alert, "zh" if language == "both" else language)[0]
        lines.append(clean(f"{level} {notice.alert.rule}{subject}: {words}"))
    return lines


def moment(text: str, language: Language) -> str:
    """A time as people read it: Beijing's, and in English UTC."""
    t = unix(text) or 0.0
    if language == "en":
        return datetime.fromtimestamp(t, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return datetime.fromtimestamp(t, BEIJING).strftime("%Y-%m-%d %H:%M:%S ") + _say("北京时间", "UTC+8", language)


def _figure(value: float) -> str:
    return f"{value:,.2f}".rstrip("0").rstrip(".")


def _say(zh: str, en: str, language: Language) -> str:
    return {"zh": zh, "en": en, "both": f"{zh} {en}"}[language]
