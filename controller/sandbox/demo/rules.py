"""The rules of the product, checked against what the demo measured. Pure: evidence in, findings out.

Each check says what it looked at when it holds, and what broke it when it does not.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

from controller.api.catalog import REGIONS
from controller.api.names import INSTANCE_MARKER
from controller.sandbox.demo.evidence import Evidence, Launch, OfferSeen, Server
from controller.sandbox.demo.order import first_difference, round_robin

#: The operator learns of a purchase before, and of an end after, the cloud itself: its account may be this much
#: above the cloud's bill, in seconds for each server (two listings and two reconciliations apart).
ACCOUNT_SLACK_SECONDS: Final = 4.0


class Verdict(NamedTuple):
    """Whether a rule held, and the figures behind it."""

    ok: bool
    detail: str


def _held(detail: str) -> Verdict:
    return Verdict(ok=True, detail=detail)


def _broken(detail: str) -> Verdict:
    return Verdict(ok=False, detail=detail)


@dataclass(frozen=True, slots=True)
class Finding:
    """One rule and its verdict."""

    rule: str
    ok: bool
    detail: str


def check(evidence: Evidence) -> list[Finding]:
    """All rules, in the order in which they are told."""
    return [Finding(rule, *judge(evidence)) for rule, judge in RULES.items()]


def _order(evidence: Evidence) -> Verdict:
    """Exactly A1 B1 C1 A2 B2 C2 ..., with exhausted users passed over."""
    promised = round_robin(evidence.sent)
    difference = first_difference(evidence.served_order, promised)
    return _broken(difference) if difference else _held(f"{len(promised)} tasks, each in its place")


def _all_served(evidence: Evidence) -> Verdict:
    """Every task came back as a whole PNG of its own prompt, and was computed once."""
    wanted = sum(evidence.sent.values())
    bad = [f"{task.label}: {task.problem}" for task in evidence.tasks if task.problem]
    if bad:
        return _broken(f"{len(bad)} of {wanted} failed, first {bad[0]}")
    computed = sum(server.served for server in evidence.servers)
    if len(evidence.tasks) != wanted or computed != wanted:
        return _broken(f"{wanted} were sent, {len(evidence.tasks)} answered, {computed} computed")
    return _held(f"{wanted} sent, {wanted} computed once, {wanted} whole PNGs")


def _flood(evidence: Evidence) -> Verdict:
    """Who sends less waits less: the user with the most tasks does not delay the others."""
    waits = {user: evidence.waits(user) for user in evidence.sent}
    if any(not measured for measured in waits.values()):
        return _broken("a user has no measured wait")
    means = {user: sum(measured) / len(measured) for user, measured in waits.items()}
    told = ", ".join(f"{user} {mean:.1f} s" for user, mean in means.items())
    by_load = sorted(evidence.sent, key=lambda user: evidence.sent[user])
    for lighter, heavier in itertools.pairwise(by_load):
        if evidence.sent[lighter] < evidence.sent[heavier] and means[lighter] >= means[heavier]:
            return _broken(f"{lighter} waited as long as {heavier}, who sent more: {told}")
    return _held(f"mean wait {told}")


def _slots(evidence: Evidence) -> Verdict:
    """No server was ever given more tasks at once than it has slots."""
    for server in evidence.servers:
        if server.max_in_flight > server.slots:
            return _broken(f"{server.name} had {server.max_in_flight} tasks at once with {server.slots} slots")
    return _held(f"{len(evidence.servers)} servers, never more tasks at one than slots")


def _cheapest(evidence: Evidence) -> Verdict:
    """Each purchase was the cheapest offer in stock at that moment (at equal price, of the region preferred)."""
    for launch in evidence.launches:
        if not launch.in_stock:
            return _broken(f"{launch.server} was bought while nothing was in stock")
        best = min(launch.in_stock, key=_rank)
        if _rank(launch) > _rank(best):
            bought = f"{launch.server} ({launch.bundle} in {launch.region} at {launch.price_per_hour:g} CNY/h)"
            return _broken(f"{bought} was bought while {best.bundle} in {best.region} was in stock")
    if not evidence.launches:
        return _broken("nothing was bought")
    return _held(f"{len(evidence.launches)} purchases, each the cheapest in stock by the cloud's record")


def _rank(offer: Launch | OfferSeen) -> tuple[float, int]:
    """Price decides; at equal price the region order decides."""
    region = REGIONS.index(offer.region) if offer.region in REGIONS else len(REGIONS)
    return offer.price_per_hour, region


def _drought(evidence: Evidence) -> Verdict:
    """A region that sells out is passed over at once, for the next offer elsewhere."""
    if evidence.drought is None:
        return _broken("no region was run out of stock")
    region, since = evidence.drought
    after = [launch for launch in evidence.launches if launch.at >= since]
    if any(launch.region == region for launch in after):
        return _broken(f"something was bought in {region} after it had sold out")
    if not after:
        return _broken(f"nothing was bought any more after {region} had sold out")
    refused = sum(refusal.region == region and refusal.at >= since for refusal in evidence.refusals)
    return _held(f"{region} sold out: refused {refused} times, then {len(after)} bought elsewhere")


def _dearest(evidence: Evidence) -> Verdict:
    """Whenever a server was destroyed, none that stayed was dearer."""
    going = evidence.scaled_down
    if not going:
        return _broken("no server was destroyed")
    for position, server in enumerate(going):
        dearer = _dearer_that_stayed(evidence, server, gone=going[:position])
        if dearer is not None:
            went, stayed = _priced(server), _priced(dearer)
            return _broken(f"{went} went while {stayed} stayed")
    return _held(" > ".join(f"{server.bundle} {server.price_per_hour:g}" for server in going))


def _priced(server: Server) -> str:
    return f"{server.name} ({server.price_per_hour:g} CNY/h)"


def _dearer_that_stayed(evidence: Evidence, victim: Server, *, gone: list[Server]) -> Server | None:
    asked = victim.terminate_asked
    for other in evidence.servers:
        there = asked is not None and other.ready is not None and other.ready <= asked and other not in gone
        if there and other is not victim and other.price_per_hour > victim.price_per_hour:
            return other
    return None


def _lifetime(evidence: Evidence) -> Verdict:
    """Scale-down destroys nothing that has not run for longer than the minimum lifetime."""
    limit, youngest = evidence.min_lifetime_seconds, float("inf")
    for server in evidence.scaled_down:
        if server.ready is None or server.terminate_asked is None:
            return _broken(f"{server.name} was destroyed before it served")
        ran = server.terminate_asked - server.ready
        youngest = min(youngest, ran)
        if ran <= limit:
            return _broken(f"{server.name} was destroyed after {ran:.1f} s, the minimum is {limit:g} s")
    return _held(f"the youngest had run {youngest:.1f} s, the minimum is {limit:g} s")


def _minimum(evidence: Evidence) -> Verdict:
    """The pool grew under load and is back at its minimum."""
    final, peak = evidence.final_servers, evidence.peak_servers
    if final != evidence.min_replicas:
        return _broken(f"{final} servers are left, the minimum is {evidence.min_replicas}")
    if peak <= evidence.min_replicas:
        return _broken(f"the pool never had more than {peak} servers")
    return _held(f"{peak} servers at the peak, {final} at the end")


def _owned(evidence: Evidence) -> Verdict:
    """Everything on the cloud's bill belongs to a GpuInstance, and what was destroyed is off the bill."""
    if evidence.unowned:
        return _broken(f"no GpuInstance stands for {', '.join(evidence.unowned)}")
    lingering = [s.name for s in evidence.servers if s.terminate_asked is not None and s.gone is None]
    if lingering:
        return _broken(f"still billed although destroyed: {', '.join(lingering)}")
    return _held(f"{len(evidence.servers)} instances on the bill, all named {INSTANCE_MARKER}-… and owned")


def _billed(evidence: Evidence) -> Verdict:
    """The pool's own account of the money agrees with the cloud's bill."""
    ours, theirs = evidence.pool_spend, evidence.cost
    slack = ACCOUNT_SLACK_SECONDS * sum(server.price_per_hour for server in evidence.servers) / 3600.0
    told = f"pool {ours:.4f} CNY, cloud {theirs:.4f} CNY"
    if not theirs > 0 or abs(ours - theirs) > slack:
        return _broken(f"{told}, apart by more than {slack:.4f} CNY")
    return _held(told)


def _reasons(evidence: Evidence) -> Verdict:
    """Every purchase and every destruction carries the operator's reason."""
    silent = [launch.server for launch in evidence.launches if not launch.reason]
    silent += [server.name for server in evidence.scaled_down if not server.end_reason]
    if silent:
        return _broken(f"no reason given for {', '.join(silent)}")
    return _held(f"{len(evidence.launches)} purchases and {len(evidence.scaled_down)} destructions explained")


#: What is checked, by the words in which it is told.
RULES: Final[dict[str, Callable[[Evidence], Verdict]]] = {
    "served round-robin over users, in the order in which they came": _order,
    "every task served once and in full": _all_served,
    "nobody waits for another user's flood": _flood,
    "no server takes more tasks than it has slots": _slots,
    "always buys the cheapest offer in stock": _cheapest,
    "sold out means the next offer, never a stall": _drought,
    "destroys the dearest server first": _dearest,
    "keeps each server for its minimum lifetime": _lifetime,
    "returns to the minimum when the load ends": _minimum,
    "no instance without an owner, none left behind": _owned,
    "money agrees with the cloud's bill": _billed,
    "every decision has a reason": _reasons,
}
