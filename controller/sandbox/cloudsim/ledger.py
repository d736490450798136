"""What the simulated cloud billed and what it was asked to sell: the independent witness of tests and of the demo."""

from dataclasses import dataclass

from controller.sandbox.cloudsim.world import SimInstance, World


@dataclass(frozen=True, slots=True)
class Bill:
    """One instance's line: seconds from the billed state to the end, times the price. Times in POSIX seconds."""

    instance_id: str
    name: str
    region: str
    bundle: str
    price_per_hour: float
    #: RunInstances accepted.
    started: float
    running: float | None
    #: Gone from the account; None while it lives.
    ended: float | None
    billed_seconds: float
    cost_cny: float


@dataclass(frozen=True, slots=True)
class Offer:
    """One thing that was for sale at a moment; stock None means unlimited."""

    region: str
    bundle: str
    price_per_hour: float
    stock: int | None


@dataclass(frozen=True, slots=True)
class Purchase:
    """One RunInstances that reached the account, and everything that was for sale just before it was decided."""

    at: float
    region: str
    bundle: str
    name: str
    token: str
    #: None where the bundle is not sold in the region.
    price_per_hour: float | None
    #: `bought`, `repeated` (a known token), or the error code.
    outcome: str
    instance_ids: tuple[str, ...]
    offers: tuple[Offer, ...]


def bill(instance: SimInstance, world: World, now: float) -> Bill:
    """The line of one instance as of now. A launch that failed costs nothing."""
    order = instance.order
    begin = instance.created if world.config.billing_from == "PENDING" else instance.running_at
    failed = instance.failed_at is not None
    end = instance.ended if instance.ended is not None else now
    seconds = 0.0 if failed or begin is None else max(0.0, end - begin)
    return Bill(
        instance_id=instance.instance_id,
        name=order.name,
        region=order.region,
        bundle=order.bundle,
        price_per_hour=order.price_per_hour,
        started=instance.created,
        running=instance.running_at,
        ended=instance.ended,
        billed_seconds=seconds,
        cost_cny=seconds * order.price_per_hour / 3600,
    )


def bills(world: World, now: float) -> tuple[Bill, ...]:
    """All instances ever bought, in the order of purchase."""
    return tuple(bill(one, world, now) for one in world.instances.values())


def offers(world: World) -> tuple[Offer, ...]:
    """Everything for sale, cheapest first."""
    rows = [
        Offer(region, bundle, price, world.left(region, bundle)) for (region, bundle), price in world.prices.items()
    ]
    return tuple(sorted(rows, key=lambda one: (one.price_per_hour, one.region, one.bundle)))
