"""A run of the demo that keeps every rule, small enough to be read."""

import pytest

from controller.sandbox.demo.evidence import Evidence, Launch, OfferSeen, Refusal, Server, TaskResult

SENT = {"A": 4, "B": 1, "C": 2}
ORDER = ["A1", "B1", "C1", "A2", "C2", "A3", "A4"]

XL_BEIJING = OfferSeen("ap-beijing", "XL", 0.88)
XL_NANJING = OfferSeen("ap-nanjing", "XL", 0.88)
BIG_SHANGHAI = OfferSeen("ap-shanghai", "3XL", 2.41)


def task(label: str, place: int) -> TaskResult:
    """A task that started at that place and waited that long."""
    return TaskResult(label[0], int(label[1:]), place, wait_seconds=float(place), total_seconds=place + 1.0, server="s")


def launch(server: str, at: float, offer: OfferSeen, *in_stock: OfferSeen) -> Launch:
    return Launch(at, server, offer.region, offer.bundle, offer.price_per_hour, "LongQueue: 16 > 15", in_stock)


def server(name: str, offer: OfferSeen, bought: float, *, destroyed: float | None, served: int) -> Server:
    """Ready after 5 s, gone 1 s after it was destroyed, billed all the while."""
    seconds = (100.0 if destroyed is None else destroyed + 1.0) - bought
    return Server(
        name=name,
        instance_id=f"hai-{name}",
        region=offer.region,
        bundle=offer.bundle,
        price_per_hour=offer.price_per_hour,
        bought=bought,
        ready=bought + 5.0,
        terminate_asked=destroyed,
        gone=None if destroyed is None else destroyed + 1.0,
        billed_seconds=seconds,
        cost=offer.price_per_hour * seconds / 3600,
        end_reason="" if destroyed is None else "LowLoad: low for 6 s",
        max_in_flight=1,
        slots=1,
        served=served,
    )


SERVERS = (
    server("demo-1", XL_BEIJING, 0.0, destroyed=None, served=3),
    server("demo-2", XL_NANJING, 10.0, destroyed=80.0, served=2),
    server("demo-3", BIG_SHANGHAI, 20.0, destroyed=60.0, served=2),
)


@pytest.fixture
def good() -> Evidence:
    """A run that keeps every rule: seven tasks, three servers, one region that ran dry."""
    return Evidence(
        sent=SENT,
        tasks=tuple(task(label, place) for place, label in enumerate(ORDER, start=1)),
        launches=(
            launch("demo-1", 0.0, XL_BEIJING, XL_NANJING, XL_BEIJING, BIG_SHANGHAI),
            launch("demo-2", 10.0, XL_NANJING, XL_NANJING, BIG_SHANGHAI),
            launch("demo-3", 20.0, BIG_SHANGHAI, BIG_SHANGHAI),
        ),
        refusals=(Refusal(19.0, "ap-nanjing", "XL"),),
        servers=SERVERS,
        drought=("ap-nanjing", 15.0),
        min_replicas=1,
        min_lifetime_seconds=10.0,
        unowned=(),
        pool_spend=sum(one.cost for one in SERVERS) + 0.001,
        prices=(0.88, 2.41, 6.60),
    )
