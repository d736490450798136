"""One call to Tencent: the SDK's blocking client on the adapter's own threads, under limits, with typed errors.

The SDK's retryer and region breaker stay off: the first repeats calls that succeeded, the second swallows network
errors. A request leaves this module once for each `call`; what may be repeated is decided above it.
"""

import asyncio
import logging
import threading
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from tencentcloud.billing.v20180709.billing_client import BillingClient
from tencentcloud.cdn.v20180606.cdn_client import CdnClient
from tencentcloud.cls.v20201016.cls_client import ClsClient
from tencentcloud.common.abstract_client import LOGGER_NAME as SDK_LOGGER
from tencentcloud.common.exception import TencentCloudSDKException
from tencentcloud.common.profile.client_profile import ClientProfile
from tencentcloud.common.profile.http_profile import HttpProfile
from tencentcloud.hai.v20230812.hai_client import HaiClient
from tencentcloud.monitor.v20180724.monitor_client import MonitorClient

from controller.cloud.errors import (
    CloudError,
    IncompleteError,
    ThrottledError,
    UnauthorizedError,
    UnavailableError,
    UnclearError,
)
from controller.cloud.tencent.credentials import CredentialsUnavailableError, RefreshingCredential, signer
from controller.cloud.tencent.failures import failure
from controller.cloud.tencent.ratelimit import RateLimiter
from controller.cloud.tencent.settings import Settings

#: SDK client class of each service; it carries the service name and API version.
CLIENTS: Final[dict[str, Callable[..., Any]]] = {
    "billing": BillingClient,
    "cls": ClsClient,
    "hai": HaiClient,
    "monitor": MonitorClient,
    "cdn": CdnClient,
}

logger = logging.getLogger(__name__)


class ClientPool:
    """SDK clients by (service, region), each used by one thread at a time.

    A client holds a `requests.Session`, which is not promised to be safe from several threads; a stack of idle clients
    keeps connections warm without sharing one.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._credential = signer(settings)
        self._lock = threading.Lock()
        self._idle: defaultdict[tuple[str, str], list[Any]] = defaultdict(list)

    def call(self, service: str, region: str, send: Callable[[Any], Any]) -> Any:
        """Send one request with a client and return the decoded body. Blocking; raises what the SDK raises."""
        with self._lock:
            idle = self._idle[service, region]
            client = idle.pop() if idle else None
        client = client or self._build(service, region)
        try:
            return send(client)
        finally:
            with self._lock:
                self._idle[service, region].append(client)

    def secrets(self) -> tuple[str, ...]:
        """Every part of the key that signs now, the longest first, so that none is left in pieces of another."""
        known = self._credential.known() if isinstance(self._credential, RefreshingCredential) else None
        parts = known or (self._settings.secret_id, self._settings.secret_key, self._settings.token)
        return tuple(sorted(filter(None, parts), key=len, reverse=True))

    def close(self) -> None:
        """Close the idle connections; call it when no thread runs any more."""
        with self._lock:
            clients = [client for idle in self._idle.values() for client in idle]
            self._idle.clear()
        for client in clients:
            _session(client).close()

    def _build(self, service: str, region: str) -> Any:
        endpoint = self._settings.endpoint_of(service)
        http = HttpProfile(protocol=endpoint.scheme, endpoint=endpoint.netloc, reqTimeout=self._settings.timeout_s)
        profile = ClientProfile(httpProfile=http, disable_region_breaker=True, retryer=None, request_client="haipool")
        client = CLIENTS[service](self._credential, region, profile)
        client.request.conn.proxy = endpoint.proxies()
        session = _session(client)
        session.trust_env = False  # no netrc entry may replace the signature; proxies are decided by `Endpoint`
        session.max_redirects = 0  # a 307 would send the purchase a second time
        return client


def _session(client: Any) -> Any:
    """The SDK offers no way to close its connections or to forbid redirects, so its session is reached into."""
    return client.request.conn._session  # noqa: SLF001


class Transport:
    """Calls to Tencent from coroutines: rate limited, bounded in time, raising only `controller.cloud.errors`."""

    def __init__(self, settings: Settings, *, limiter: RateLimiter | None = None) -> None:
        # At DEBUG the SDK logs whole requests, token and signature included.
        logging.getLogger(SDK_LOGGER).setLevel(logging.INFO)
        self._timeout_s = settings.call_timeout_s
        self._limiter = limiter or RateLimiter()
        self._clients = ClientPool(settings)
        self._executor = ThreadPoolExecutor(settings.threads, thread_name_prefix="tencent-api")
        self._closed = False

    async def call(
        self, service: str, region: str, action: str, params: dict[str, Any], *, changes: bool = False
    ) -> dict[str, Any]:
        """Send one request, once, and return the fields of its `Response`.

        Args:
            service: a key of `CLIENTS`.
            region: goes into X-TC-Region.
            action: the API's name.
            params: its fields, in the API's spelling.
            changes: whether it buys or destroys, so that every outcome left open is `UnclearError`.

        Raises:
            CloudError: any of its classes; `controller.cloud.tencent.failures` has the table.
        """
        return await self._send(
            service, region, action, lambda client: client.call_json(action, params), changes=changes
        )

    async def upload(
        self, service: str, region: str, action: str, headers: dict[str, str], body: bytes
    ) -> dict[str, Any]:
        """Send bytes, once, for an action whose parameters travel in headers.

        Raises:
            CloudError: as for `call`.
        """
        return await self._send(
            service, region, action, lambda client: client.call_octet_stream(action, headers, body), changes=False
        )

    async def _send(
        self, service: str, region: str, action: str, send: Callable[[Any], Any], *, changes: bool
    ) -> dict[str, Any]:
        if self._closed:
            raise UnavailableError("the connection to the cloud is closed", code="ClientClosed")
        await self._limiter.wait(action, region)
        try:
            body = await self._on_thread(lambda: self._clients.call(service, region, send), action, region)
        except TencentCloudSDKException as error:
            code, request_id = str(error.code), error.requestId or ""
            raise self._failure(
                action, region, code=code, message=error.message, request_id=request_id, changes=changes
            ) from None
        except CredentialsUnavailableError as error:
            raise UnauthorizedError(f"{action} in {region}: {error}", code="ClientCredentials") from None
        except TimeoutError:
            message = f"no answer within {self._timeout_s:.0f} s"
            raise self._failure(action, region, code="ClientTimeout", message=message, changes=changes) from None
        except (ThrottledError, UnavailableError):
            raise
        except Exception as error:  # noqa: BLE001 - the SDK lets anything through, from KeyError to decode errors
            # Without its cause: the text of an error below may hold the headers, and tracebacks are logged.
            raise self._failure(action, region, code=type(error).__name__, message=error, changes=changes) from None
        return self._response(body, action, region, changes=changes)

    async def close(self) -> None:
        """Refuse new calls, drop those that wait for a thread, and let those on the wire end by their time-outs."""
        if self._closed:
            return
        self._closed = True
        await asyncio.to_thread(self._executor.shutdown, wait=True, cancel_futures=True)
        self._clients.close()

    async def _on_thread(self, work: Callable[[], Any], action: str, region: str) -> Any:
        try:
            running = self._executor.submit(work)
        except RuntimeError:  # closed while this call waited for its turn
            raise UnavailableError("the connection to the cloud is closed", code="ClientClosed") from None
        try:
            async with asyncio.timeout(self._timeout_s):
                return await asyncio.wrap_future(running)
        except TimeoutError:
            if running.cancel():
                raise ThrottledError(
                    f"{action} in {region}: all threads were busy for {self._timeout_s:.0f} s; nothing was sent",
                    code="ClientBusy",
                ) from None
            raise

    def _failure(self, action: str, region: str, **told: Any) -> CloudError:
        return failure(action, region, hidden=self._clients.secrets(), **told)

    def _response(self, body: Any, action: str, region: str, *, changes: bool) -> dict[str, Any]:
        """Open the envelope. The SDK looks for errors only under one exact Content-Type, so look here again."""
        response = body.get("Response") if isinstance(body, dict) else None
        if not isinstance(response, dict):
            message = f"{action} in {region}: the answer has no Response object"
            raise (UnclearError if changes else IncompleteError)(message, code="ClientNoResponse")
        request_id = str(response.get("RequestId") or "")
        if isinstance(error := response.get("Error"), dict):
            code, message = str(error.get("Code", "")), error.get("Message", "")
            raise self._failure(action, region, code=code, message=message, request_id=request_id, changes=changes)
        logger.debug("%s in %s answered, request %s", action, region, request_id)
        return response
