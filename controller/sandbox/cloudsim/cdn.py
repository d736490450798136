"""The simulated CDN, version 2018-06-06: domains that exist, their configuration, and rollouts that take a while."""

from collections.abc import Mapping
from typing import Any, Final

from controller.sandbox.cloudsim.actions import Action, Call, Request
from controller.sandbox.cloudsim.errors import ApiError
from controller.sandbox.cloudsim.world import SimDomain

VERSION: Final = "2018-06-06"
#: What an object falls back to where it is sent incomplete.
DEFAULTS: Final[Mapping[str, Mapping[str, Any]]] = {
    "Compression": {"Switch": "off", "CompressionRules": None},
    "Origin": {"Origins": [], "OriginType": "ip", "OriginPullProtocol": "http", "ServerName": "", "Path": None},
}


class DomainFilter(Request, frozen=True):
    """By name."""

    name: str
    value: list[str]
    fuzzy: bool = False


class DescribeDomainsConfig(Request, frozen=True):
    """Domains with everything that is configured."""

    filters: tuple[DomainFilter, ...] = ()
    offset: int = 0
    limit: int = 100


class UpdateDomainConfig(Request, frozen=True):
    """Objects that are not sent stay as they are; an object that is sent replaces the old one."""

    domain: str
    compression: dict[str, Any] | None = None
    origin: dict[str, Any] | None = None


class OneDomain(Request, frozen=True):
    """A domain to start or stop."""

    domain: str


class Statistics(Request, frozen=True):
    """What went through."""

    start_time: str
    end_time: str
    metric: str
    domains: list[str]
    interval: str = "5min"


def describe(call: Call, params: DescribeDomainsConfig) -> dict[str, Any]:
    """The domains whose names are asked for, all without a filter."""
    names = [value for one in params.filters if one.name == "domain" for value in one.value]
    found = [one for one in call.world.cdn.values() if not names or one.name in names]
    page = found[params.offset : params.offset + params.limit]
    return {"TotalNumber": len(found), "Domains": [_view(one, call.now) for one in page]}


def update(call: Call, params: UpdateDomainConfig) -> dict[str, Any]:
    """Replace objects, each with defaults for what it leaves out."""
    one = _idle(call, params.domain)
    sent = {"Compression": params.compression, "Origin": params.origin}
    for name, value in sent.items():
        if value is None:
            continue
        if unknown := set(value) - set(DEFAULTS[name]):
            raise ApiError("UnknownParameter", f"{name} has no {', '.join(sorted(unknown))}.")
        if any(item is None for item in value.values()):
            raise ApiError("InvalidParameter.CdnParamError", f"{name} holds null.")
        one.objects[name] = {**DEFAULTS[name], **value}
    one.busy_until = call.now + call.world.config.cdn_rollout_s
    return {}


def start(call: Call, params: OneDomain) -> dict[str, Any]:
    """An offline domain serves again."""
    return _switch(call, params.domain, "offline", "online")


def stop(call: Call, params: OneDomain) -> dict[str, Any]:
    """An online domain answers 404 from now on."""
    return _switch(call, params.domain, "online", "offline")


def edge_data(call: Call, params: Statistics) -> dict[str, Any]:
    """Bytes to clients."""
    return _data(call, params, "CdnData", lambda one: one.edge_bytes)


def origin_data(call: Call, params: Statistics) -> dict[str, Any]:
    """Bytes from the origin."""
    return _data(call, params, "OriginData", lambda one: one.origin_bytes)


ACTIONS: Final[Mapping[str, Action]] = {
    "DescribeDomainsConfig": Action(DescribeDomainsConfig, describe),
    "UpdateDomainConfig": Action(UpdateDomainConfig, update),
    "StartCdnDomain": Action(OneDomain, start),
    "StopCdnDomain": Action(OneDomain, stop),
    "DescribeCdnData": Action(Statistics, edge_data),
    "DescribeOriginData": Action(Statistics, origin_data),
}


def _find(call: Call, name: str) -> SimDomain:
    found = call.world.cdn.get(name)
    if found is None:
        raise ApiError("ResourceNotFound.CdnHostNotExists", f"There is no domain {name!r}.")
    return found


def _idle(call: Call, name: str) -> SimDomain:
    one = _find(call, name)
    if one.busy_until > call.now:
        raise ApiError("ResourceInUse.CdnOpInProgress", f"{name} is being changed.")
    return one


def _switch(call: Call, name: str, before: str, after: str) -> dict[str, Any]:
    one = _idle(call, name)
    if one.status != before:
        raise ApiError("InvalidParameter.CdnHostInvalidStatus", f"{name} is {one.status}.")
    one.status, one.busy_until = after, call.now + call.world.config.cdn_rollout_s
    return {}


def _data(call: Call, params: Statistics, field: str, measure: Any) -> dict[str, Any]:
    if params.metric != "flux":
        raise ApiError("InvalidParameter.CdnStatInvalidMetric", "This simulator knows flux.")
    total = sum(measure(_find(call, name)) for name in params.domains)
    summed = {"Name": "sum", "Value": float(total)}
    entry = {"Metric": "flux", "DetailData": [], "SummarizedData": summed}
    return {"Interval": params.interval, "Data": [{"Resource": params.domains[0], field: [entry]}]}


def _view(one: SimDomain, now: float) -> dict[str, Any]:
    status = "processing" if one.busy_until > now else one.status
    https = {"Switch": "on", "Http2": "on", "CertInfo": {"CertId": "secret", "Certificate": None}}
    return {"Domain": one.name, "Status": status, "ServiceType": "web", "Https": https, **one.objects}
