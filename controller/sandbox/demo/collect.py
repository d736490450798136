"""From what was measured in several places to one record: ledger, objects, events, GPU servers, clients' answers."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from controller.api.gpuinstance import GpuInstance
from controller.api.gpupool import GpuPool
from controller.api.times import unix
from controller.sandbox.cloudsim import Bill, Purchase
from controller.sandbox.demo.evidence import Evidence, Launch, OfferSeen, Refusal, Server, TaskResult
from controller.sandbox.demo.watch import ClusterWatch, Happening
from controller.sandbox.environment import Sandbox
from controller.sandbox.gpuserver import Counters

#: The event on a GpuInstance whose message is the decision to destroy it.
SCALE_DOWN_EVENT: Final = "ScaleDown"
#: What the cloud answers when an offer is sold out.
SOLD_OUT: Final = "ResourceInsufficient.BundleInventoryShortage"


def collect(
    sandbox: Sandbox,
    watch: ClusterWatch,
    pool: GpuPool,
    tasks: Sequence[TaskResult],
    *,
    sent: Mapping[str, int],
    drought: tuple[str, float] | None,
) -> Evidence:
    """Everything the rules are checked against, as of now."""
    purchases = sandbox.cloud.purchases()
    servers, unowned = _servers(sandbox, watch, pool)
    return Evidence(
        sent=sent,
        tasks=tuple(tasks),
        launches=tuple(_launch(p, owner(p.name, watch.ever.values())) for p in purchases if p.outcome == "bought"),
        refusals=tuple(Refusal(p.at, p.region, p.bundle) for p in purchases if p.outcome == SOLD_OUT),
        servers=servers,
        drought=drought,
        min_replicas=pool.spec.replicas.min,
        min_lifetime_seconds=pool.spec.scaling.down.min_lifetime_seconds,
        unowned=unowned,
        pool_spend=pool.status.spend.this_month,
        prices=tuple(offer.price_per_hour for offer in sandbox.cloud.offers()),
    )


def owner(instance_name: str, instances: Iterable[GpuInstance]) -> GpuInstance | None:
    """The GpuInstance that an InstanceName at the cloud stands for: its UID is part of the name."""
    return next((one for one in instances if f"-{one.metadata.uid}-" in instance_name), None)


def _servers(sandbox: Sandbox, watch: ClusterWatch, pool: GpuPool) -> tuple[tuple[Server, ...], tuple[str, ...]]:
    """Every line of the cloud's bill with the object that owns it, and the names of the lines that nothing owns."""
    asked = {one.instance_id: one.terminating_at for one in sandbox.cloud.instances()}
    servers, unowned = [], []
    for bill in sandbox.cloud.bills():
        instance = owner(bill.name, watch.ever.values())
        if instance is None:
            unowned.append(bill.name)
            continue
        counters = sandbox.fleet.counters.get(bill.instance_id, Counters())
        reason = _end_reason(instance, watch.happenings)
        servers.append(_server(bill, instance, pool, counters, asked=asked[bill.instance_id], end_reason=reason))
    return tuple(servers), tuple(unowned)


def _server(
    bill: Bill, instance: GpuInstance, pool: GpuPool, counters: Counters, *, asked: float | None, end_reason: str
) -> Server:
    gpu_type = pool.spec.gpu_type(bill.bundle)
    return Server(
        name=instance.metadata.name,
        instance_id=bill.instance_id,
        region=bill.region,
        bundle=bill.bundle,
        price_per_hour=bill.price_per_hour,
        bought=bill.started,
        ready=unix(instance.status.ready_at),
        terminate_asked=asked,
        gone=bill.ended,
        billed_seconds=bill.billed_seconds,
        cost=bill.cost_cny,
        end_reason=end_reason,
        max_in_flight=counters.max_in_flight,
        slots=gpu_type.concurrency if gpu_type else 0,
        served=counters.served,
    )


def _end_reason(instance: GpuInstance, happenings: Iterable[Happening]) -> str:
    """The last decision to destroy it; empty while there is none."""
    told = [h.message for h in happenings if h.name == instance.metadata.name and h.reason == SCALE_DOWN_EVENT]
    return told[-1] if told else ""


def _launch(purchase: Purchase, instance: GpuInstance | None) -> Launch:
    return Launch(
        at=purchase.at,
        server=instance.metadata.name if instance else purchase.name,
        region=purchase.region,
        bundle=purchase.bundle,
        price_per_hour=purchase.price_per_hour or 0.0,
        reason=instance.spec.reason if instance else "",
        in_stock=tuple(OfferSeen(o.region, o.bundle, o.price_per_hour) for o in purchase.offers if o.stock != 0),
    )
