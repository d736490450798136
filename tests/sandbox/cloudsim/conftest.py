"""A simulated cloud whose time is moved by hand, and a raw client that signs like the official algorithm says."""

import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest

from controller.sandbox.cloudsim import CPU_METRIC, SANDBOX_KEY, CloudConfig, Key, SimulatedCloud

REGION = "ap-beijing"
VERSIONS = {"hai": "2023-08-12", "monitor": "2018-07-24"}


class Clock:
    """The simulated cloud's time, moved by hand."""

    def __init__(self) -> None:
        self.now = 1_750_000_000.0

    def __call__(self) -> float:
        return self.now

    def pass_(self, seconds: float) -> None:
        self.now += seconds


def sign(key: Key, service: str, host: str, body: bytes, timestamp: int) -> dict[str, str]:
    """Headers of a TC3 request, written from the specification and sharing no code with the simulator."""
    date = datetime.fromtimestamp(timestamp, UTC).strftime("%Y-%m-%d")
    canonical = f"POST\n/\n\ncontent-type:application/json\nhost:{host}\n\ncontent-type;host\n"
    canonical += hashlib.sha256(body).hexdigest()
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    secret = b"TC3" + key.secret_key.encode()
    for part in (date, service, "tc3_request"):
        secret = hmac.new(secret, part.encode(), hashlib.sha256).digest()
    text = f"TC3-HMAC-SHA256\n{timestamp}\n{date}/{service}/tc3_request\n{digest}"
    signature = hmac.new(secret, text.encode(), hashlib.sha256).hexdigest()
    scope = f"{key.secret_id}/{date}/{service}/tc3_request"
    return {
        "Authorization": f"TC3-HMAC-SHA256 Credential={scope}, SignedHeaders=content-type;host, Signature={signature}",
        "Content-Type": "application/json",
        "Host": host,
        "X-TC-Timestamp": str(timestamp),
    }


class Client:
    """Sends one signed request and gives the `Response` object; every part can be bent."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self.url = url
        self.session = session

    async def __call__(
        self,
        action: str,
        params: Any = None,
        *,
        region: str = REGION,
        service: str = "hai",
        key: Key = SANDBOX_KEY,
        timestamp: int | None = None,
        **headers: str,
    ) -> dict[str, Any]:
        response = await self.send(
            action, params, region=region, service=service, key=key, timestamp=timestamp, **headers
        )
        assert response.status == 200
        assert response.headers["Content-Type"] == "application/json"
        content: dict[str, Any] = (await response.json())["Response"]
        assert content["RequestId"]
        return content

    async def send(
        self,
        action: str,
        params: Any = None,
        *,
        region: str = REGION,
        service: str = "hai",
        key: Key = SANDBOX_KEY,
        timestamp: int | None = None,
        **headers: str,
    ) -> aiohttp.ClientResponse:
        body = params if isinstance(params, bytes) else json.dumps(params or {}).encode()
        host = self.url.removeprefix("http://")
        fields = sign(key, service, host, body, int(time.time()) if timestamp is None else timestamp)
        fields |= {"X-TC-Action": action, "X-TC-Version": VERSIONS.get(service, "1"), "X-TC-Region": region}
        fields |= {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.session.post(self.url + "/", data=body, headers=fields)

    async def code(self, action: str, params: Any = None, **options: Any) -> str:
        """The error code of a request that must be refused."""
        answer = await self(action, params, **options)
        assert answer["Error"]["Message"]
        return str(answer["Error"]["Code"])


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def config() -> CloudConfig:
    """Tests override it to have another cloud."""
    return CloudConfig(metrics=(CPU_METRIC,))


@pytest.fixture
async def sim(config: CloudConfig, clock: Clock) -> AsyncIterator[SimulatedCloud]:
    simulated = SimulatedCloud(config, clock=clock)
    await simulated.start()
    yield simulated
    await simulated.stop()


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as made:
        yield made


@pytest.fixture
def client(sim: SimulatedCloud, session: aiohttp.ClientSession) -> Client:
    return Client(sim.url, session)


@pytest.fixture
def order(sim: SimulatedCloud) -> dict[str, Any]:
    """Parameters of the simplest purchase."""
    return {"ApplicationId": sim.application_id(REGION), "BundleType": "XL", "InstanceName": "one"}
