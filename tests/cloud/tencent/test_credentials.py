"""Temporary keys: from TKE's OIDC exchange and from the CVM's metadata, bounded in time, renewed, never shown."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from controller.cloud.errors import UnauthorizedError
from controller.cloud.tencent import TencentCloud
from controller.cloud.tencent.credentials import (
    REFRESH_BEFORE_S,
    RETRY_EVERY_S,
    CredentialsUnavailableError,
    RefreshingCredential,
    TemporaryKey,
)
from controller.cloud.tencent.settings import Endpoint
from controller.sandbox.cloudsim import CloudConfig, Key, SimulatedCloud

TEMPORARY = Key("AKIDtemporary", "temporary-secret", "temporary-token")
KEYS = {
    "TmpSecretId": TEMPORARY.secret_id,
    "TmpSecretKey": TEMPORARY.secret_key,
    "Token": TEMPORARY.token,
}
FAR = 4_000_000_000


@pytest.fixture
def config() -> CloudConfig:
    return CloudConfig(keys=(TEMPORARY,))


class Source:
    """STS and the metadata service on one port; answers can be replaced, requests are kept."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.answers: dict[str, Any] = {
            "sts": {"Response": {"Credentials": KEYS, "ExpiredTime": FAR, "RequestId": "r"}},
            "roles": "bound-role",
            "role": {"Code": "Success", "ExpiredTime": FAR, **KEYS},
        }
        self.url = ""
        #: While set to an event, answers wait for it.
        self.held: asyncio.Event | None = None

    async def handle(self, request: web.Request) -> web.Response:
        self.requests.append((request.path, dict(request.headers), await request.read()))
        if self.held is not None:
            await self.held.wait()
        role = request.path.rpartition("/security-credentials/")[2]
        name = "sts" if request.method == "POST" else "role" if role else "roles"
        answer = self.answers[name]
        if isinstance(answer, web.Response):
            return answer
        text = answer if isinstance(answer, str) else json.dumps(answer)
        return web.Response(body=text.encode(), headers={"Content-Type": "application/json"})


@pytest.fixture
async def source() -> AsyncIterator[Source]:
    made = Source()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", made.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield made
    await runner.cleanup()


@pytest.fixture
def tke(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The variables that TKE puts into a pod; returns the token file."""
    token = tmp_path / "token"
    token.write_text("identity-token")
    monkeypatch.setenv("TKE_REGION", "ap-beijing")
    monkeypatch.setenv("TKE_PROVIDER_ID", "provider")
    monkeypatch.setenv("TKE_ROLE_ARN", "qcs::cam::uin/1:roleName/haipool")
    monkeypatch.setenv("TKE_WEB_IDENTITY_TOKEN_FILE", str(token))
    return token


@pytest.fixture
def with_role(
    sim: SimulatedCloud, source: Source, connect_to: Callable[..., TencentCloud]
) -> Callable[..., TencentCloud]:
    """An adapter without a key of its own, in front of a cloud that only knows the temporary one."""

    def make(kind: str, **changes: Any) -> TencentCloud:
        endpoint = Endpoint.parse(source.url, name="source")
        return connect_to(
            sim.url,
            secret_id="",
            secret_key="",
            credentials=kind,
            sts_endpoint=endpoint,
            metadata_endpoint=endpoint,
            **changes,
        )

    return make


async def test_a_pod_exchanges_its_identity_token_for_a_key(
    with_role: Callable[..., TencentCloud], source: Source, tke: Path
) -> None:
    cloud = with_role("tke-oidc")
    assert await cloud.available_regions()
    assert await cloud.available_regions()
    [(_, headers, body)] = source.requests  # the second call used the same key
    assert headers["X-TC-Action"] == "AssumeRoleWithWebIdentity"
    assert headers["Authorization"] == "SKIP"
    asked = json.loads(body)
    assert asked["WebIdentityToken"] == "identity-token"
    assert asked["RoleArn"] == "qcs::cam::uin/1:roleName/haipool"


@pytest.mark.parametrize(("role", "asked"), [("", "bound-role"), ("other role", "other%20role")])
async def test_a_cvm_reads_its_role_from_the_metadata_service(
    with_role: Callable[..., TencentCloud], source: Source, role: str, asked: str
) -> None:
    assert await with_role("cvm-role", role_name=role).available_regions()
    assert source.requests[-1][0].endswith(f"/security-credentials/{asked.replace('%20', ' ')}")


@pytest.mark.parametrize("name", ["TKE_REGION", "TKE_PROVIDER_ID", "TKE_ROLE_ARN", "TKE_WEB_IDENTITY_TOKEN_FILE"])
async def test_a_pod_without_the_tke_variables_is_told_which_one_is_missing(
    with_role: Callable[..., TencentCloud], tke: Path, name: str, monkeypatch: pytest.MonkeyPatch, sim: SimulatedCloud
) -> None:
    monkeypatch.delenv(name)
    with pytest.raises(UnauthorizedError, match=f"{name} is not set"):
        await with_role("tke-oidc").available_regions()
    assert sim.count("DescribeRegions") == 0


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"Response": {"Error": {"Code": "InvalidParameter.WebIdentityTokenError", "Message": "m"}, "RequestId": "r"}},
         "InvalidParameter.WebIdentityTokenError"),
        ({"Response": {"RequestId": "r"}}, "lacks the credentials"),
        ({"Response": {"Credentials": KEYS}}, "ExpiredTime"),
        ({"Response": {"Credentials": {**KEYS, "Token": "two\nlines"}, "ExpiredTime": FAR}}, "Token is missing"),
        ("<html>", "JSON"),
    ],
)  # fmt: skip
async def test_an_exchange_that_gives_no_key_is_unauthorised(
    with_role: Callable[..., TencentCloud], source: Source, tke: Path, answer: Any, message: str
) -> None:
    source.answers["sts"] = answer
    with pytest.raises(UnauthorizedError, match=message) as caught:
        await with_role("tke-oidc").available_regions()
    assert "two" not in str(caught.value)


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ({"roles": web.Response(status=404)}, "HTTP 404"),
        ({"roles": ""}, "no CVM role"),
        ({"role": {"Code": "NotFound"}}, "has no credentials"),
        ({"role": "<html>"}, "no JSON"),
    ],
)
async def test_a_machine_without_a_role_is_unauthorised(
    with_role: Callable[..., TencentCloud], source: Source, answers: dict[str, Any], message: str
) -> None:
    source.answers |= answers
    with pytest.raises(UnauthorizedError, match=message):
        await with_role("cvm-role").available_regions()


async def test_a_metadata_service_that_never_answers_is_given_up(
    with_role: Callable[..., TencentCloud], source: Source
) -> None:
    source.held = asyncio.Event()
    with pytest.raises(UnauthorizedError, match="did not answer"):
        await with_role("cvm-role", timeout_s=0.2).available_regions()
    source.held.set()


class Fetching:
    """A source in memory, counted."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.count = 0
        self.down = False

    def __call__(self) -> TemporaryKey:
        self.count += 1
        if self.down:
            raise CredentialsUnavailableError("down")
        return TemporaryKey(f"id-{self.count}", "key", "token", self.clock() + 7200)


def test_a_key_is_renewed_before_it_ends_and_an_outage_is_bridged_by_the_old_one(
    clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    fetch = Fetching(clock)
    credential = RefreshingCredential(fetch, clock=clock)
    assert credential.get_credential_info() == ("id-1", "key", "token")
    clock.pass_(7200 - REFRESH_BEFORE_S - 1)
    assert credential.get_credential_info()[0] == "id-1"

    fetch.down = True
    clock.pass_(2)
    assert credential.get_credential_info()[0] == "id-1"
    assert credential.get_credential_info()[0] == "id-1"
    assert fetch.count == 2  # asked once, not for every call
    assert "were not renewed" in caplog.text

    clock.pass_(RETRY_EVERY_S)
    fetch.down = False
    assert credential.get_credential_info()[0] == "id-3"


def test_an_ended_key_is_not_used(clock: Any) -> None:
    fetch = Fetching(clock)
    credential = RefreshingCredential(fetch, clock=clock)
    credential.get_credential_info()
    fetch.down = True
    clock.pass_(7200)
    with pytest.raises(CredentialsUnavailableError):
        credential.get_credential_info()


async def test_neither_logs_nor_errors_hold_a_secret(
    with_role: Callable[..., TencentCloud], tke: Path, sim: SimulatedCloud, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    cloud = with_role("tke-oidc")
    await cloud.available_regions()
    sim.set_fault("error", code="UnauthorizedOperation.UnauthorizedUser")
    with pytest.raises(UnauthorizedError) as caught:
        await cloud.available_regions()
    for secret in (TEMPORARY.secret_key, TEMPORARY.token, "identity-token", "Signature="):
        assert secret not in caplog.text
        assert secret not in repr(caught.value)
    assert TEMPORARY.secret_key not in repr(TemporaryKey("id", TEMPORARY.secret_key, TEMPORARY.token, 0.0))
