"""PromQL: which series a query rests on, and which answers are figures. What is empty, old or absurd is unknown."""

from typing import Any

import msgspec
import pytest

from controller.api.sources import Prometheus
from controller.scaling.promql import AnswerError, Question, age_query, judge, number, questions, selectors, unknown
from controller.scaling.signals import Figure
from controller.scaling.snapshot import Signal


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("up", ["up"]),
        ('a{b="c", d=~"e.*"}', ['a{b="c",d=~"e.*"}']),
        ('{__name__=~"a|b"}', ['{__name__=~"a|b"}']),
        ('avg(DCGM_FI_DEV_GPU_UTIL{pool="sd"})', ['DCGM_FI_DEV_GPU_UTIL{pool="sd"}']),
        ("sum by (instance) (rate(a[5m]))", ["a"]),
        ("sum(rate(a[1m])) without (pod) / on (pod) group_left(node) b", ["a", "b"]),
        ("max(job:queue:sum) > bool 3", ["job:queue:sum"]),
        ("100 - 100 * avg(rate(cpu{mode='idle'}[1m]))", ["cpu{mode='idle'}"]),
        ("max_over_time(a[10m:30s])", ["a"]),
        ("histogram_quantile(0.9, sum by (le) (rate(a_bucket[2m])))", ["a_bucket"]),
        ('label_replace(a, "x", "$1", "y", "b{c}(.*)")', ["a"]),
        ('a{path="}{\\"x\\"("} or b', ['a{path="}{\\"x\\"("}', "b"]),
        ("a # b, up{c}\n + d", ["a", "d"]),
        ("time() - 1e3 + 0x1F + .5 + Inf", []),
        ("vector(3)", []),
        ("a offset 5m + b[1m] offset 1h + c @ 1609746000 + d", ["d"]),
        ("start + end", ["start", "end"]),
        ("SUM BY (x) (a AND b)", ["a", "b"]),
        ("sum(a", ["a"]),
        ('a{b="c', ['a{b="c']),
    ],
)
def test_the_series_that_a_query_names(query: str, found: list[str]) -> None:
    assert list(selectors(query)) == found


def test_the_age_is_asked_of_every_series_and_the_oldest_counts() -> None:
    assert age_query("a / b + a") == (
        'time() - min(label_replace(max(timestamp(a)), "of", "0", "", "")'
        ' or label_replace(max(timestamp(b)), "of", "1", "", ""))'
    )


def test_a_constant_has_no_age() -> None:
    assert age_query("vector(5)") is None


def source(**fields: Any) -> Prometheus:
    return msgspec.convert({"url": "http://p", **fields}, Prometheus)


def test_only_what_is_asked_for_is_asked() -> None:
    [asked] = questions(source(queries={"cpuPercent": "avg(gpu)"}))
    assert (asked.signal, asked.origin, asked.query, asked.lacks) == ("cpu", "queries.cpuPercent", "avg(gpu)", None)


def test_with_the_dispatchers_labels_the_queues_figures_have_default_queries() -> None:
    asked = {q.signal: q for q in questions(source(dispatchers='pod=~"sd-.*"', queries={"queueLength": "mine"}))}
    assert sorted(asked) == ["longest_wait", "mean_response", "queue_length"]
    assert (asked["queue_length"].query, asked["queue_length"].lacks) == ("mine", None)
    assert asked["mean_response"].query == 'max(haipool_mean_response_seconds{pod=~"sd-.*"})'
    lacks = 'count(up{pod=~"sd-.*"} == 0 or haipool_dispatcher_synced{pod=~"sd-.*"} != 1)'
    assert asked["longest_wait"].lacks == lacks


def vector(*values: str) -> dict[str, Any]:
    result = [{"metric": {"n": str(n)}, "value": [1.5, value]} for n, value in enumerate(values)]
    return {"status": "success", "data": {"resultType": "vector", "result": result}}


def raw(body: Any) -> bytes:
    return msgspec.json.encode(body)


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (vector("4.5"), 4.5),
        (vector("+Inf"), float("inf")),
        ({"status": "success", "data": {"resultType": "scalar", "result": [1.5, "7"]}}, 7.0),
        (vector(), None),
    ],
)
def test_an_answer_is_one_number_or_none(body: Any, value: float | None) -> None:
    assert number(raw(body)) == value


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"<html>login</html>", "no answer of a Prometheus"),
        (b'{"status": "success", "data": {"resultType": "vec', "no answer of a Prometheus"),
        (b"\xff\xfe", "no answer of a Prometheus"),
        (b"[]", "no answer of a Prometheus"),
        (b'{"status": "success"}', "status success"),
        (raw({"status": "error", "errorType": "bad_data", "error": "1:7: parse error"}), "1:7: parse error"),
        (raw(vector("1") | {"isPartial": True}), "partial"),
        (raw(vector("1", "2")), "gives 2 samples, not one"),
        (raw({"status": "success", "data": {"resultType": "matrix", "result": []}}), "gives a matrix"),
        (raw({"status": "success", "data": {"resultType": "string", "result": [1.5, "x"]}}), "gives a string"),
        (raw({"status": "success", "data": {"resultType": "vector", "result": [{"histogram": []}]}}), "histogram"),
        (raw({"status": "success", "data": {"resultType": "vector", "result": ["x"]}}), "no plain number"),
        (raw(vector("much")), "no number"),
    ],
)
def test_what_is_no_answer_says_why(body: bytes, why: str) -> None:
    with pytest.raises(AnswerError, match=why):
        number(body)


QUEUE = Question("queue_length", "queries.queueLength", "q", "age of q", 1e7)
CPU = Question("cpu", "queries.cpuPercent", "c", None, 110.0)


@pytest.mark.parametrize(
    ("question", "value", "age", "signal"),
    [
        (QUEUE, 4.0, 12.0, Signal(4.0, 12.0, "prometheus")),
        (QUEUE, 0.0, 60.0, Signal(0.0, 60.0, "prometheus")),
        (QUEUE, 4.0, -3.0, Signal(4.0, 0.0, "prometheus")),
        (CPU, 40.0, None, Signal(40.0, 0.0, "prometheus")),
        (CPU, 100.4, None, Signal(100.0, 0.0, "prometheus")),
    ],
)
def test_a_figure_is_one_fresh_sample(question: Question, value: float, age: float | None, signal: Signal) -> None:
    assert judge(question, value, age, None, max_age=60.0) == Figure(signal)


@pytest.mark.parametrize(
    ("question", "value", "age", "why"),
    [
        (QUEUE, None, None, "no sample"),
        (QUEUE, float("nan"), 1.0, "gives nan, which cannot be a measurement"),
        (QUEUE, float("inf"), 1.0, "gives inf, which"),
        (QUEUE, -1.0, 1.0, "gives -1, which"),
        (QUEUE, 1e12, 1.0, r"gives 1e\+12, which"),
        (CPU, 111.0, None, "gives 111, which"),
        (QUEUE, 4.0, 60.1, "is 60 s old, more than maxAgeSeconds 60"),
        (QUEUE, 4.0, -61.0, "is -61 s old"),
        (QUEUE, 4.0, float("nan"), "is nan s old"),
        (QUEUE, 0.0, None, "gives 0 with no sample behind it; what is absent is unknown"),
    ],
)
def test_what_is_no_figure_says_why(question: Question, value: float | None, age: float | None, why: str) -> None:
    with pytest.raises(AnswerError, match=why):
        judge(question, value, age, None, max_age=60.0)


def test_an_answer_that_lacks_dispatchers_says_so() -> None:
    assert judge(QUEUE, 4.0, 1.0, 2.0, max_age=60.0).lacks == "2 dispatchers are not scraped, or not current"


def test_the_reason_names_field_and_query_and_fits_into_a_condition() -> None:
    long = unknown(Question("cpu", "queries.cpuPercent", "x" * 2048, None, 110.0), "gives no sample")
    assert long.reason == "PrometheusFailed"
    assert long.message == f"spec.metrics.prometheus.queries.cpuPercent gives no sample: {'x' * 59}…"
