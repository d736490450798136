"""The CDN domain of a pool: switched on at the traffic level Optimize, and put back as it was when that is over.

One step at a time, from what is recorded and what is seen: a crash at any point leads back here. What was there before
is recorded before anything is changed. Pure.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from msgspec.structs import replace

from controller.api.optimization import Cdn, CdnStatus
from controller.api.times import rfc3339, unix

#: Between two looks while the CDN rolls a change out, which takes minutes.
ROLLOUT_SECONDS: Final = 15.0
#: Between two looks at a domain that serves: a person may have changed it.
STEADY_SECONDS: Final = 600.0
#: Between two looks at one that a person has to see to.
BLOCKED_SECONDS: Final = 120.0

#: What is compressed at the edge: what CDN compresses by default, and the answers of inference servers. Images are not
#: in it; they are compressed already.
COMPRESSION: Final[Mapping[str, Any]] = {
    "Switch": "on",
    "CompressionRules": [
        {
            "Compress": True,
            "MinLength": 256,
            "MaxLength": 30_000_000,
            "Algorithms": ["gzip", "brotli"],
            "RuleType": "contentType",
            "RulePaths": ["application/json", "text/plain", "text/html", "text/css", "application/javascript"],
        }
    ],
}

Act = Literal["Look", "Start", "Stop", "Configure"]


@dataclass(frozen=True, slots=True)
class Step:
    """What to do now."""

    #: To be recorded before `act` is done.
    status: CdnStatus
    #: Look: nothing, or only see how it is.
    act: Act = "Look"
    #: For Configure: whole objects.
    objects: Mapping[str, Any] | None = None
    #: Seconds until the next step; None: nothing is left to do.
    again: float | None = ROLLOUT_SECONDS


def wanted(config: Mapping[str, Any], spec: Cdn) -> dict[str, Any]:
    """The objects that have to be written so that the domain is as the pool wants it; none if it is."""
    changes: dict[str, Any] = {}
    compression = config.get("Compression") or {}
    if spec.compression and compression.get("Switch") != "on":
        changes["Compression"] = dict(COMPRESSION)
    origin = config.get("Origin") or {}
    if spec.origin is not None and origin.get("Origins") != [spec.origin]:
        kind = "ip" if spec.origin.split(":")[0].replace(".", "").isdigit() else "domain"
        changes["Origin"] = {**origin, "Origins": [spec.origin], "OriginType": kind}
    return changes


def idle(status: CdnStatus, spec: Cdn | None, *, saving: bool) -> bool:
    """Nothing is on, and nothing has to be: the cloud need not be asked."""
    return status.state == "Off" and not (saving and spec is not None)


def leaving(status: CdnStatus, spec: Cdn | None, *, saving: bool) -> bool:
    """The domain that is on has to be put back as it was."""
    moved = spec is not None and bool(status.domain) and status.domain != spec.domain and status.state != "Off"
    return moved or spec is None or not saving


def enter(status: CdnStatus, spec: Cdn, *, seen: str, config: Mapping[str, Any], now: float) -> Step:
    """One step towards a domain that serves.

    Args:
        status: as recorded.
        spec: of the pool.
        seen: the domain's status at the CDN.
        config: its configuration objects.
        now: Unix seconds.
    """
    status = _in_state(replace(status, domain=spec.domain, error="", links_until=None), "Starting", now=now)
    if seen == "processing":
        return Step(replace(status, minting=status.minting))
    if seen == "offline":
        return Step(replace(status, started=True, minting=False), "Start")
    if seen != "online":
        return blocked(status, f"the CDN says that {spec.domain} is {seen or 'in no state'}", now=now)
    changes = wanted(config, spec)
    if changes:
        before = {name: config.get(name) or {"Switch": "off"} for name in changes} | _saved(status)
        return Step(replace(status, before=json.dumps(before, sort_keys=True)), "Configure", changes)
    return Step(_in_state(replace(status, minting=True), "Online", now=now), again=STEADY_SECONDS)


def leave(status: CdnStatus, *, seen: str, config: Mapping[str, Any], link_life: float, now: float) -> Step:
    """One step towards the domain as it was: no more links, then, when the old ones are over, everything back.

    Args:
        status: as recorded.
        seen: the domain's status at the CDN.
        config: its configuration objects.
        link_life: seconds for which a link that was given out last must go on working.
        now: Unix seconds.
    """
    until = unix(status.links_until)
    if status.minting or until is None:
        until = now + (link_life if status.minting else 0.0)
        status = replace(status, minting=False, links_until=rfc3339(until))
    status = _in_state(replace(status, error=""), "Leaving", now=now)
    if now < until:
        return Step(status, again=min(until - now, STEADY_SECONDS))
    if seen == "processing":
        return Step(status)
    left = {name: old for name, old in _saved(status).items() if not _holds(config.get(name), old)}
    if left and seen == "online":
        return Step(status, "Configure", left)
    if status.started and seen == "online":
        return Step(status, "Stop")
    return Step(CdnStatus(), again=None)


def blocked(status: CdnStatus, why: str, *, now: float) -> Step:
    """A person has to act. Links are given out no more, since they might lead nowhere."""
    status = _in_state(replace(status, minting=False, error=why), "Blocked", now=now)
    return Step(status, again=BLOCKED_SECONDS)


def _saved(status: CdnStatus) -> dict[str, Any]:
    return dict(json.loads(status.before)) if status.before else {}


def _holds(now: Any, before: Mapping[str, Any]) -> bool:
    """Whether an object is as it was; the CDN may add fields to what it was sent."""
    return isinstance(now, Mapping) and all(now.get(key) == value for key, value in before.items())


def _in_state(status: CdnStatus, state: str, *, now: float) -> CdnStatus:
    return status if status.state == state else replace(status, state=state, since=rfc3339(now))
