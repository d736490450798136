"""The simulated API gateway: signature, routing, rate limit, faults, and Tencent's way of answering.

Business errors are HTTP 200; the Content-Type is exactly `application/json`, since the SDK looks for errors under no
other; every answer has a RequestId.
"""

import asyncio
import contextlib
import json
import uuid
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web

from controller.sandbox.cloudsim import billing, cdn, cls, hai, ledger, monitor
from controller.sandbox.cloudsim.actions import Action, Call, read_parameters
from controller.sandbox.cloudsim.applications import Applications
from controller.sandbox.cloudsim.errors import ApiError
from controller.sandbox.cloudsim.faults import REFUSALS, Fault, Faults
from controller.sandbox.cloudsim.tc3 import Identity, SignedRequest, verify
from controller.sandbox.cloudsim.world import World

#: Version and actions of each service.
SERVICES: Final[Mapping[str, tuple[str, Mapping[str, Action]]]] = {
    "hai": (hai.VERSION, hai.ACTIONS),
    "monitor": (monitor.VERSION, monitor.ACTIONS),
    "cls": (cls.VERSION, cls.ACTIONS),
    "billing": (billing.VERSION, billing.ACTIONS),
    "cdn": (cdn.VERSION, cdn.ACTIONS),
}
#: The services that have one set of things for all regions.
WITHOUT_REGION: Final = frozenset({"cdn"})
#: The actions that say in their own words that they were called too often.
THROTTLED: Final[Mapping[str, str]] = {"UploadLog": "FailedOperation.WriteQpsLimit"}
#: How many of the latest calls are remembered one by one.
REMEMBERED_CALLS: Final = 10_000


@dataclass(frozen=True, slots=True)
class CallRecord:
    """One request that reached the gateway."""

    at: float
    action: str
    region: str
    #: `ok` or the error code.
    outcome: str
    request_id: str
    faults: tuple[str, ...]


class TokenBucket:
    """`rate` requests per second for each key, and as many at once."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._level: defaultdict[tuple[str, ...], tuple[float, float]] = defaultdict(lambda: (rate, 0.0))

    def take(self, key: tuple[str, ...], now: float) -> bool:
        """Whether one more fits. `now` in seconds of any clock."""
        level, at = self._level[key]
        level = min(self._rate, level + max(0.0, now - at) * self._rate)
        self._level[key] = (level - 1 if level >= 1 else level, now)
        return level >= 1


class Gateway:
    """Answers the signed API on `POST /`."""

    def __init__(
        self,
        world: World,
        applications: Applications,
        faults: Faults,
        *,
        clock: Callable[[], float],
        auth_clock: Callable[[], float],
        settle: Callable[[], object],
    ) -> None:
        self._world = world
        self._applications = applications
        self._faults = faults
        self._clock = clock
        self._auth_clock = auth_clock
        self._settle = settle
        self._bucket = TokenBucket(world.config.calls_per_second)
        self._billing = TokenBucket(min(billing.CALLS_PER_SECOND, world.config.calls_per_second))
        #: Requests by action, whatever came of them.
        self.counts: Counter[str] = Counter()
        self.calls: deque[CallRecord] = deque(maxlen=REMEMBERED_CALLS)
        self.purchases: list[ledger.Purchase] = []
        #: Set when the late requests of an action may go on.
        self._late: dict[str, asyncio.Event] = {}

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """One API request, from the signature to the answer."""
        body = await request.read()
        action = request.headers.get("X-TC-Action", "")
        region = request.headers.get("X-TC-Region", "")
        request_id = str(uuid.uuid4())
        faults: dict[str, Fault] = {}
        self.counts[action] += 1
        try:
            identity, known = self._admit(request, body, action, region)
            faults = self._faults.take(action, region)
            _fail_before(faults)
            if "late" in faults:
                await self._overtaken(action, faults["late"].seconds)
            self._settle()
            headers = {name.lower(): value for name, value in request.headers.items()}
            now = self._clock()
            call = Call(self._world, self._applications, identity.secret_id, region, now, faults, headers, body)
            fields, outcome = self._work(call, action, known, body), "ok"
        except ApiError as error:
            fields, outcome = {"Error": {"Code": error.code, "Message": error.message}}, error.code
        self._overtakes(action)
        self.calls.append(CallRecord(self._clock(), action, region, outcome, request_id, tuple(faults)))
        return await _answer(request, {**fields, "RequestId": request_id}, faults)

    async def _overtaken(self, action: str, seconds: float) -> None:
        passed = self._late.setdefault(action, asyncio.Event())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await passed.wait()

    def _overtakes(self, action: str) -> None:
        """Let the late requests of this action go on: one that left after them has been dealt with."""
        passed = self._late.pop(action, None)
        if passed is not None:
            passed.set()

    def _admit(self, request: web.Request, body: bytes, action: str, region: str) -> tuple[Identity, Action]:
        headers = {name.lower(): value for name, value in request.headers.items()}
        signed = SignedRequest(headers, body, request.method, request.path, request.query_string)
        identity = verify(signed, self._world.config.keys, self._auth_clock())
        if identity.service not in SERVICES:
            raise ApiError("NoSuchProduct", f"There is no product {identity.service!r}.")
        version, actions = SERVICES[identity.service]
        if not action:
            raise ApiError("MissingParameter", "X-TC-Action is missing.")
        if headers.get("x-tc-version") != version:
            raise ApiError("NoSuchVersion", f"The version of {identity.service} is {version}.")
        if action not in actions:
            raise ApiError("InvalidAction", f"There is no action {action!r}.")
        if identity.service in WITHOUT_REGION:
            return identity, actions[action]
        if not region:
            raise ApiError("MissingParameter", "X-TC-Region is missing.")
        if region not in self._world.config.regions:
            raise ApiError("UnsupportedRegion", f"{region!r} is no region of {identity.service}.")
        return identity, actions[action]

    def _work(self, call: Call, action: str, known: Action, body: bytes) -> dict[str, Any]:
        """Rate limit, parameters, the action itself; a RunInstances leaves a record whatever comes of it."""
        params = {} if known.binary else _json_object(body)
        if action != "RunInstances":
            return self._run(call, action, known, params)
        offers, before = ledger.offers(self._world), len(self._world.instances)
        try:
            fields = self._run(call, action, known, params)
        except ApiError as error:
            self._record_purchase(call.region, params, error.code, (), offers)
            raise
        ids = tuple(fields["InstanceIdSet"])
        outcome = "bought" if len(self._world.instances) > before else "repeated" if ids else "dry_run"
        self._record_purchase(call.region, params, outcome, ids, offers)
        return fields

    def _run(self, call: Call, action: str, known: Action, params: dict[str, Any]) -> dict[str, Any]:
        bucket = self._billing if action in billing.ACTIONS else self._bucket
        if not bucket.take((action, call.region, call.secret_id), self._auth_clock()):
            raise ApiError(THROTTLED.get(action, "RequestLimitExceeded"), "Your request times exceed the limit.")
        _refuse(call.faults, action)
        return known.run(call, read_parameters(params, known.shape))

    def _record_purchase(
        self, region: str, params: dict[str, Any], outcome: str, ids: tuple[str, ...], offers: tuple[ledger.Offer, ...]
    ) -> None:
        bundle = str(params.get("BundleType", ""))
        self.purchases.append(
            ledger.Purchase(
                at=self._clock(),
                region=region,
                bundle=bundle,
                name=str(params.get("InstanceName", "")),
                token=str(params.get("ClientToken", "")),
                price_per_hour=self._world.prices.get((region, bundle)),
                outcome=outcome,
                instance_ids=ids,
                offers=offers,
            )
        )


def _fail_before(faults: Mapping[str, Fault]) -> None:
    """The recorded outcome is the fault's name; `_answer` sends no body for these."""
    for kind in ("http_500", "reset"):
        if kind in faults:
            raise ApiError(kind, "The request never reached the service.")


def _refuse(faults: Mapping[str, Fault], action: str) -> None:
    for kind, fault in faults.items():
        if kind == "error":
            raise ApiError(fault.code, fault.message)
        if kind == "throttled" and action in THROTTLED:
            raise ApiError(THROTTLED[action], "The simulated fault throttled.")
        if kind in REFUSALS:
            raise ApiError(REFUSALS[kind], f"The simulated fault {kind}.")


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        params = json.loads(body or b"{}")
    except ValueError:
        raise ApiError("InvalidParameter", "The body is no JSON.") from None
    if not isinstance(params, dict):
        raise ApiError("InvalidParameter", "The body is no JSON object.")
    return params


async def _answer(request: web.Request, fields: dict[str, Any], faults: Mapping[str, Fault]) -> web.StreamResponse:
    """Send the answer, or fail to, as the faults say."""
    if "http_500" in faults or "commit_then_500" in faults:
        return web.Response(status=500, text="Internal Server Error")
    if "reset" in faults or "commit_then_reset" in faults:
        return _abort(request)
    if "commit_then_timeout" in faults:
        await asyncio.sleep(faults["commit_then_timeout"].seconds)
        return _abort(request)
    if "slow" in faults:
        await asyncio.sleep(faults["slow"].seconds)
    if "missing_fields" in faults and "Error" not in fields:
        fields = {}
    data = json.dumps({"Response": fields}, ensure_ascii=False).encode()
    if "broken_json" in faults:
        data = data[: len(data) // 2]
    content_type = "application/json; charset=utf-8" if "charset" in faults else "application/json"
    if "slow_body" in faults:
        return await _trickle(request, data, content_type, faults["slow_body"].seconds)
    return web.Response(body=data, headers={"Content-Type": content_type})


def _abort(request: web.Request) -> web.Response:
    """Cut the connection off; what is returned never leaves."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


async def _trickle(request: web.Request, data: bytes, content_type: str, seconds: float) -> web.StreamResponse:
    """Headers and half the body at once, the rest later."""
    response = web.StreamResponse(headers={"Content-Type": content_type, "Content-Length": str(len(data))})
    await response.prepare(request)
    await response.write(data[: len(data) // 2])
    await asyncio.sleep(seconds)
    await response.write(data[len(data) // 2 :])
    await response.write_eof()
    return response
