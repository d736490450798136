"""The histogram exports what prometheus_client's own would."""

import prometheus_client
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from controller.dispatcher.histogram import Histogram

BOUNDS = (0.01, 0.5, 1, 30)


def samples(registry: CollectorRegistry) -> dict[tuple[str, str | None], float]:
    return {
        (sample.name, sample.labels.get("le")): sample.value
        for family in registry.collect()
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


@given(st.lists(st.one_of(st.sampled_from([0.0, *BOUNDS, 31.0]), st.floats(0, 100))))
def test_it_counts_as_the_client_librarys_histogram_does(values: list[float]) -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    own = Histogram("h", "A histogram.", buckets=BOUNDS, registry=ours)
    reference = prometheus_client.Histogram("h", "A histogram.", buckets=BOUNDS, registry=theirs)
    for value in values:
        own.observe(value)
        reference.observe(value)
    assert samples(ours) == pytest.approx(samples(theirs))


def test_it_has_its_help_and_type() -> None:
    registry = CollectorRegistry()
    Histogram("h", "Seconds of something.", buckets=BOUNDS, registry=registry)
    text = prometheus_client.generate_latest(registry).decode()
    assert "# HELP h Seconds of something.\n# TYPE h histogram\n" in text


def test_a_name_is_taken_once() -> None:
    registry = CollectorRegistry()
    Histogram("h", "One.", buckets=BOUNDS, registry=registry)
    with pytest.raises(ValueError, match="Duplicated"):
        Histogram("h", "Another.", buckets=BOUNDS, registry=registry)
