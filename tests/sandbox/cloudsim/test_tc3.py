"""Signatures: the vendor's published vector and one of ours, against the simulator's verifier and the real SDK."""

import json
from typing import Any

import pytest
from tencentcloud.common.common_client import CommonClient
from tencentcloud.common.credential import Credential
from tencentcloud.common.http.request import RequestInternal
from tencentcloud.common.profile.client_profile import ClientProfile
from tencentcloud.common.profile.http_profile import HttpProfile

from controller.sandbox.cloudsim.config import Key
from controller.sandbox.cloudsim.errors import ApiError
from controller.sandbox.cloudsim.tc3 import Identity, SignedRequest, sign, verify

#: The example of Tencent's signature documentation (its key is published there).
OFFICIAL: dict[str, Any] = {
    "key": Key("AKIDz8krbsJ5yKBZQpn74WFkmLPx3EXAMPLE", "Gu5t9xGARNpq86cd98joQYCN3EXAMPLE"),
    "timestamp": 1551113065,
    "service": "cvm",
    "host": "cvm.tencentcloudapi.com",
    "content_type": "application/json; charset=utf-8",
    "body": rb'{"Limit": 1, "Filters": [{"Values": ["\u672a\u547d\u540d"], "Name": "instance-name"}]}',
    "date": "2019-02-25",
    "signature": "72e494ea809ad7a8c8f7a4507b9bddcbaa8e581f516e8da2f66e2c5a96525168",
}
#: What the SDK sends to a local endpoint.
LOCAL: dict[str, Any] = {
    "key": Key("AKIDtest", "testsecretkey"),
    "timestamp": 1700000000,
    "service": "hai",
    "host": "127.0.0.1:8080",
    "content_type": "application/json",
    "body": b'{"Limit": 20, "Offset": 0}',
    "date": "2023-11-14",
    "signature": "96c190acf0993a867b273aea0011f286056c5b8b1d3752d026c5f837dc029dca",
}
VECTORS = pytest.mark.parametrize("vector", [OFFICIAL, LOCAL], ids=["official", "local"])


def request_of(vector: dict[str, Any], **headers: str) -> SignedRequest:
    scope = f"{vector['key'].secret_id}/{vector['date']}/{vector['service']}/tc3_request"
    fields = {
        "authorization": f"TC3-HMAC-SHA256 Credential={scope}, SignedHeaders=content-type;host, "
        f"Signature={vector['signature']}",
        "content-type": vector["content_type"],
        "host": vector["host"],
        "x-tc-timestamp": str(vector["timestamp"]),
    }
    return SignedRequest(fields | headers, vector["body"])


def refused(request: SignedRequest, vector: dict[str, Any], *, late: float = 0.0) -> str:
    with pytest.raises(ApiError) as caught:
        verify(request, [vector["key"]], vector["timestamp"] + late)
    return caught.value.code


@VECTORS
def test_the_verifier_accepts_the_vector(vector: dict[str, Any]) -> None:
    identity = verify(request_of(vector), [vector["key"]], vector["timestamp"])
    assert identity == Identity(vector["key"].secret_id, vector["service"])


@VECTORS
def test_the_sdk_signs_the_vector(vector: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    profile = ClientProfile(httpProfile=HttpProfile(endpoint=vector["host"]))
    key = vector["key"]
    client = CommonClient(vector["service"], "2017-03-12", Credential(key.secret_id, key.secret_key), "r", profile)
    headers = {
        "Content-Type": vector["content_type"],
        "Host": vector["host"],
        "X-TC-Timestamp": str(vector["timestamp"]),
    }
    request = RequestInternal(vector["host"], "POST", "/", header=headers, data=vector["body"].decode())
    signature = client._get_tc3_signature(None, request, vector["date"], vector["service"], key.secret_key)
    assert signature == vector["signature"]


def test_the_sdk_writes_the_body_of_the_local_vector() -> None:
    assert json.dumps({"Limit": 20, "Offset": 0}).encode() == LOCAL["body"]


@VECTORS
def test_any_change_breaks_it(vector: dict[str, Any]) -> None:
    good = request_of(vector)
    changed = [
        SignedRequest(good.headers, good.body + b" "),
        SignedRequest(good.headers, good.body, path="/other"),
        SignedRequest(good.headers, good.body, query="a=b"),
        SignedRequest(good.headers, good.body, method="GET"),
        request_of(vector, host="elsewhere"),
        request_of({**vector, "signature": "0" * 64}),
        request_of({**vector, "key": Key(vector["key"].secret_id, "x"), "date": "2001-01-01"}),
    ]
    assert {refused(one, vector) for one in changed} == {"AuthFailure.SignatureFailure"}


@pytest.mark.parametrize(("late", "ok"), [(300, True), (-300, True), (301, False), (-301, False)])
def test_the_clock_may_be_off_by_five_minutes(late: float, ok: bool) -> None:
    if ok:
        verify(request_of(LOCAL), [LOCAL["key"]], LOCAL["timestamp"] + late)
    else:
        assert refused(request_of(LOCAL), LOCAL, late=late) == "AuthFailure.SignatureExpire"


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"authorization": ""}, "AuthFailure.InvalidAuthorization"),
        ({"authorization": "Bearer x"}, "AuthFailure.InvalidAuthorization"),
        ({"x-tc-timestamp": "soon"}, "MissingParameter"),
        ({"x-tc-token": "stale"}, "AuthFailure.TokenFailure"),
    ],
)
def test_malformed_requests_have_their_own_codes(headers: dict[str, str], code: str) -> None:
    assert refused(request_of(LOCAL, **headers), LOCAL) == code


def test_the_host_must_be_signed() -> None:
    request = request_of(LOCAL)
    text = request.headers["authorization"].replace("content-type;host", "content-type")
    code = refused(request_of(LOCAL, authorization=text), LOCAL)
    assert code == "AuthFailure.InvalidAuthorization"


def test_an_unknown_id_and_a_missing_token_are_told_apart() -> None:
    with pytest.raises(ApiError, match="SecretId") as caught:
        verify(request_of(LOCAL), [OFFICIAL["key"]], LOCAL["timestamp"])
    assert caught.value.code == "AuthFailure.SecretIdNotFound"
    temporary = Key(LOCAL["key"].secret_id, LOCAL["key"].secret_key, "token")
    with pytest.raises(ApiError) as caught:
        verify(request_of(LOCAL), [temporary], LOCAL["timestamp"])
    assert caught.value.code == "AuthFailure.TokenFailure"
    verify(request_of(LOCAL, **{"x-tc-token": "token"}), [temporary], LOCAL["timestamp"])


def test_an_unsigned_payload_is_accepted_when_announced() -> None:
    request = SignedRequest(
        {"content-type": "application/json", "host": "h", "x-tc-content-sha256": "UNSIGNED-PAYLOAD"}, b"anything"
    )
    key = LOCAL["key"]
    signature = sign(request, ["content-type", "host"], key.secret_key, LOCAL["timestamp"], "hai")
    headers = {
        **request_of({**LOCAL, "signature": signature}, host="h").headers,
        "x-tc-content-sha256": "UNSIGNED-PAYLOAD",
    }
    verify(SignedRequest(headers, b"something else"), [key], LOCAL["timestamp"])
