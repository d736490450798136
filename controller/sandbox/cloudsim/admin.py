"""The control API under `/_sim/`: the same switches as `SimulatedCloud`'s methods, for other processes.

Unsigned, so it is served on loopback only, and asks for `Content-Type: application/json` on every change, which no
web page can send here unasked. Errors are problem details (RFC 9457).
"""

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import msgspec
from aiohttp import web

from controller.sandbox.cloudsim.faults import Fault

if TYPE_CHECKING:
    from controller.sandbox.cloudsim.cloud import SimulatedCloud

T = TypeVar("T")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class _Body(msgspec.Struct, forbid_unknown_fields=True):
    """Base of the bodies."""


class StockBody(_Body):
    """Stock of one offer; null is unlimited."""

    region: str
    bundle: str
    stock: Annotated[int, msgspec.Meta(ge=0)] | None


class PriceBody(_Body):
    """Price of one offer, CNY per hour."""

    region: str
    bundle: str
    price_per_hour: float


class RegionBody(_Body):
    """Whether a region sells."""

    region: str
    open: bool


class ApplicationBody(_Body):
    """State of an application; an empty one removes it."""

    region: str
    name: str
    state: str


class BusyBody(_Body):
    """Seconds for which an operation seems to run on an instance."""

    instance_id: str
    seconds: Annotated[float, msgspec.Meta(ge=0)]


class TrafficBody(_Body):
    """GB to count for an instance, or what its counter, or its quota, is from now on."""

    instance_id: str
    gb: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    counter_gb: float | None = None
    total_gb: float | None = None


class CdnBody(_Body):
    """Bytes to count for a CDN domain."""

    domain: str
    edge: Annotated[int, msgspec.Meta(ge=0)] = 0
    origin: Annotated[int, msgspec.Meta(ge=0)] = 0


class MetricBody(_Body):
    """Value of a metric from now on."""

    instance_id: str
    metric: str
    value: float


class Admin:
    """Handlers over one simulated cloud."""

    def __init__(self, cloud: "SimulatedCloud") -> None:
        self._cloud = cloud

    async def state(self, request: web.Request) -> web.Response:
        """Instances alive, offers, faults, calls by action."""
        cloud = self._cloud
        now = cloud.now()
        alive = [
            {
                "instance_id": one.instance_id,
                "name": one.order.name,
                "region": one.order.region,
                "bundle": one.order.bundle,
                "price_per_hour": one.order.price_per_hour,
                "state": one.state,
                "operation_state": one.operation_state(now),
                "address": one.address,
                "created": one.created,
                "traffic_gb": cloud.traffic(one.instance_id),
            }
            for one in cloud.instances()
            if one.state != "TERMINATED"
        ]
        faults = [{"id": number, **msgspec.to_builtins(fault)} for number, fault in cloud.faults().items()]
        counts, failures = cloud.counts(), cloud.hook_failures
        return _json({
            "now": now,
            "instances": alive,
            "offers": cloud.offers(),
            "applications": cloud.applications(),
            "faults": faults,
            "calls": counts,
            "hook_failures": failures,
        })  # fmt: skip

    async def ledger(self, request: web.Request) -> web.Response:
        """Bills and purchases."""
        bills = self._cloud.bills()
        total = sum(one.cost_cny for one in bills)
        return _json({"total_cny": total, "bills": bills, "purchases": self._cloud.purchases()})

    async def logs(self, request: web.Request) -> web.Response:
        """What the log service has taken, of one topic if `?topic=` names one."""
        return _json({"logs": self._cloud.logs(topic=request.query.get("topic"))})

    async def cdn(self, request: web.Request) -> web.Response:
        """Count bytes of a CDN domain."""
        body = await _read(request, CdnBody)
        self._cloud.add_cdn_bytes(body.domain, edge=body.edge, origin=body.origin)
        return _json({"status": self._cloud.cdn_status(body.domain)})

    async def stock(self, request: web.Request) -> web.Response:
        """Set the stock of an offer."""
        body = await _read(request, StockBody)
        self._cloud.set_stock(body.region, body.bundle, body.stock)
        return _json({"offers": self._cloud.offers()})

    async def price(self, request: web.Request) -> web.Response:
        """Set a price."""
        body = await _read(request, PriceBody)
        self._cloud.set_price(body.region, body.bundle, body.price_per_hour)
        return _json({"offers": self._cloud.offers()})

    async def region(self, request: web.Request) -> web.Response:
        """Open or close a region."""
        body = await _read(request, RegionBody)
        self._cloud.open_region(body.region, body.open)
        return _json({"offers": self._cloud.offers()})

    async def application(self, request: web.Request) -> web.Response:
        """Fix the state of an application, or remove it."""
        body = await _read(request, ApplicationBody)
        self._cloud.set_application(body.region, body.name, body.state)
        return _json({"applications": self._cloud.applications()})

    async def busy(self, request: web.Request) -> web.Response:
        """Make an instance busy."""
        body = await _read(request, BusyBody)
        self._cloud.set_busy(body.instance_id, body.seconds)
        return _json({})

    async def traffic(self, request: web.Request) -> web.Response:
        """Count traffic."""
        body = await _read(request, TrafficBody)
        if body.counter_gb is not None:
            self._cloud.set_traffic(body.instance_id, body.counter_gb)
        if body.total_gb is not None:
            self._cloud.set_quota(body.instance_id, body.total_gb)
        self._cloud.add_traffic(body.instance_id, body.gb)
        return _json({"used_gb": self._cloud.traffic(body.instance_id)})

    async def metric(self, request: web.Request) -> web.Response:
        """Set a metric."""
        body = await _read(request, MetricBody)
        self._cloud.set_metric(body.instance_id, body.metric, body.value)
        return _json({})

    async def add_fault(self, request: web.Request) -> web.Response:
        """Switch a fault on."""
        return _json({"id": self._cloud.add_fault(await _read(request, Fault))}, status=HTTPStatus.CREATED)

    async def clear_faults(self, request: web.Request) -> web.Response:
        """Switch all faults off."""
        self._cloud.clear_faults()
        return _json({})

    async def clear_fault(self, request: web.Request) -> web.Response:
        """Switch one fault off."""
        if not self._cloud.clear_fault(int(request.match_info["number"])):
            return _problem(HTTPStatus.NOT_FOUND, "this fault is not on")
        return _json({})


def admin_routes(cloud: "SimulatedCloud") -> list[web.RouteDef]:
    """The routes of the control API."""
    admin = Admin(cloud)
    return [
        web.get("/_sim/state", admin.state),
        web.get("/_sim/ledger", admin.ledger),
        web.get("/_sim/logs", admin.logs),
        web.post("/_sim/cdn", admin.cdn),
        web.post("/_sim/stock", _change(admin.stock)),
        web.post("/_sim/prices", _change(admin.price)),
        web.post("/_sim/regions", _change(admin.region)),
        web.post("/_sim/applications", _change(admin.application)),
        web.post("/_sim/busy", _change(admin.busy)),
        web.post("/_sim/traffic", _change(admin.traffic)),
        web.post("/_sim/metrics", _change(admin.metric)),
        web.post("/_sim/faults", _change(admin.add_fault)),
        web.delete("/_sim/faults", admin.clear_faults),
        web.delete(r"/_sim/faults/{number:\d+}", admin.clear_fault),
    ]


def _change(handler: Handler) -> Handler:
    """Refuse what is no JSON, and turn what the cloud refuses into 400."""

    async def checked(request: web.Request) -> web.StreamResponse:
        if request.content_type != "application/json":
            return _problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "send Content-Type: application/json")
        try:
            return await handler(request)
        except (msgspec.DecodeError, ValueError) as error:
            return _problem(HTTPStatus.BAD_REQUEST, str(error))

    return checked


async def _read(request: web.Request, shape: type[T]) -> T:
    return msgspec.json.decode(await request.read(), type=shape)


def _json(content: Any, *, status: HTTPStatus = HTTPStatus.OK) -> web.Response:
    return web.Response(body=msgspec.json.encode(content), status=status, content_type="application/json")


def _problem(status: HTTPStatus, detail: str) -> web.Response:
    body = {"type": "about:blank", "title": status.phrase, "status": int(status), "detail": detail}
    return web.Response(body=msgspec.json.encode(body), status=status, content_type="application/problem+json")
