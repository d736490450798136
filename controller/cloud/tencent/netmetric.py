"""Which of Cloud Monitor's metrics are the public bandwidth into and out of a HAI instance.

Cloud Monitor's names for other products say `WanIntraffic` and `WanOuttraffic` for what crosses the public line and
`LanIntraffic` for what does not; the unit is Mbps there, though not everywhere. HAI's are not documented.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

from controller.cloud.contract import BandwidthPoint
from controller.cloud.tencent.monitormetric import Metric, metric_of, newest, words_of
from controller.cloud.tencent.wire import DataPoint, MetricFields

Direction = Literal["In", "Out"]

_RATE_WORDS: Final = ("traffic", "bandwidth", "带宽", "流量")
_PUBLIC_WORDS: Final = ("wan", "public", "internet", "external", "外网", "公网")
#: What crosses no public line, or counts something else than bits.
_OTHER_WORDS: Final = ("lan", "private", "内网", "pkg", "packet", "包", "util", "使用率", "利用率", "drop", "conn")
_WORD: Final = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")
_DIRECTIONS: Final[tuple[tuple[Direction, re.Pattern[str], tuple[str, ...]], ...]] = (
    ("In", re.compile(r"(in|inbound|ingress|rx|receive|download)(traffic|bandwidth|band|bytes)?"), ("入",)),
    ("Out", re.compile(r"(out|outbound|egress|tx|transmit|upload)(traffic|bandwidth|band|bytes)?"), ("出",)),
)
#: `Mbps`, `MB/s`, `bit/s`, `KBytes/s`: a prefix, bits or bytes (the case of a lone b tells), per second.
_UNIT: Final = re.compile(r"([KMG]?)(b|B|bits?|Bits?|bytes?|Bytes?)(?:ps|/s|/sec|/second)")
_PREFIXES: Final = {"": 1e-6, "K": 1e-3, "M": 1.0, "G": 1e3}


@dataclass(frozen=True, slots=True)
class BandwidthMetric:
    """How to ask for the bandwidth in one direction, and how to read it."""

    direction: Direction
    metric: Metric
    #: Mbit/s of one unit.
    scale: float


def choose(metrics: Iterable[MetricFields]) -> tuple[BandwidthMetric, ...]:
    """One metric for each direction that has one; those that say they are public come first."""
    found = [
        (not any(word in words_of(fields) for word in _PUBLIC_WORDS), len(fields.metric_name), fields.metric_name, one)
        for fields in metrics
        if (one := _bandwidth(fields)) is not None
    ]
    best = {one.direction: one for *_, one in sorted(found, key=lambda entry: entry[:3], reverse=True)}
    return tuple(best[direction] for direction in sorted(best))


def newest_points(series: Iterable[DataPoint], metric: BandwidthMetric) -> list[BandwidthPoint]:
    """The newest point of each series that has one, in Mbit/s."""
    return [
        BandwidthPoint(instance_id, metric.direction, round(max(0.0, value) * metric.scale, 3), at)
        for instance_id, value, at in newest(series, metric.metric)
    ]


def _bandwidth(fields: MetricFields) -> BandwidthMetric | None:
    words = words_of(fields)
    scale, direction, metric = _scale(fields.unit or ""), _direction(fields), metric_of(fields)
    if scale is None or direction is None or metric is None:
        return None
    is_rate = any(word in words for word in _RATE_WORDS) and not any(word in _names(fields) for word in _OTHER_WORDS)
    return BandwidthMetric(direction, metric, scale) if is_rate else None


def _names(fields: MetricFields) -> set[str]:
    """The words of the name, and what the Chinese meaning contains of those we look for."""
    zh = (fields.meaning and fields.meaning.zh) or ""
    return {word.lower() for word in _WORD.findall(fields.metric_name)} | {w for w in _OTHER_WORDS if w in zh}


def _direction(fields: MetricFields) -> Direction | None:
    words = [word.lower() for word in _WORD.findall(fields.metric_name)]
    zh = (fields.meaning and fields.meaning.zh) or ""
    for direction, pattern, signs in _DIRECTIONS:
        if any(pattern.fullmatch(word) for word in words) or any(sign in zh for sign in signs):
            return direction
    return None


def _scale(unit: str) -> float | None:
    match = _UNIT.fullmatch(unit.strip())
    if match is None:
        return None
    bits = 8.0 if match[2] == "B" or match[2].lower().startswith("byte") else 1.0
    return _PREFIXES[match[1]] * bits
