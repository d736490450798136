"""Checking TC3-HMAC-SHA256 signatures the way Tencent's gateway does. Pure: keys and time are parameters."""

import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from controller.sandbox.cloudsim.config import Key
from controller.sandbox.cloudsim.errors import ApiError

ALGORITHM: Final = "TC3-HMAC-SHA256"
#: Largest difference between X-TC-Timestamp and the server's clock, in seconds.
MAX_SKEW_S: Final = 300
UNSIGNED: Final = "UNSIGNED-PAYLOAD"
_AUTHORIZATION: Final = re.compile(
    rf"{ALGORITHM} Credential=(?P<id>[^/\s,]+)/(?P<date>\d{{4}}-\d{{2}}-\d{{2}})/(?P<service>[a-z]+)/tc3_request, "
    r"?SignedHeaders=(?P<headers>[a-z0-9;-]+), ?Signature=(?P<signature>[0-9a-f]{64})"
)


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """What a signature covers. Header names in lower case."""

    headers: Mapping[str, str]
    body: bytes
    method: str = "POST"
    path: str = "/"
    query: str = ""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who signed, and for which service."""

    secret_id: str
    service: str


def verify(request: SignedRequest, keys: Iterable[Key], now: float) -> Identity:
    """Check the Authorization header against the secret of the key it names.

    Raises:
        ApiError: AuthFailure.* with the code that the real gateway uses for the case.
    """
    match = _AUTHORIZATION.fullmatch(request.headers.get("authorization", ""))
    if match is None:
        raise ApiError("AuthFailure.InvalidAuthorization", "The Authorization header is missing or malformed.")
    signed = match["headers"].split(";")
    if not {"content-type", "host"} <= set(signed) or any(name not in request.headers for name in signed):
        raise ApiError("AuthFailure.InvalidAuthorization", "SignedHeaders must hold content-type and host.")
    timestamp = _timestamp(request.headers, match["date"], now)
    key = next((key for key in keys if key.secret_id == match["id"]), None)
    if key is None:
        raise ApiError("AuthFailure.SecretIdNotFound", "The SecretId is not found.")
    expected = sign(request, signed, key.secret_key, timestamp, match["service"])
    if not hmac.compare_digest(expected, match["signature"]):
        raise ApiError("AuthFailure.SignatureFailure", "The provided credentials could not be validated.")
    if not hmac.compare_digest(request.headers.get("x-tc-token", ""), key.token):
        raise ApiError("AuthFailure.TokenFailure", "The token does not belong to the SecretId, or has expired.")
    return Identity(key.secret_id, match["service"])


def sign(request: SignedRequest, signed: list[str], secret_key: str, timestamp: int, service: str) -> str:
    """The signature a request should carry, in hex."""
    date = _utc_date(timestamp)
    payload = UNSIGNED.encode() if request.headers.get("x-tc-content-sha256") == UNSIGNED else request.body
    canonical = "\n".join(
        [
            request.method,
            request.path,
            request.query,
            *(f"{name}:{request.headers[name].strip().lower()}" for name in signed),
            "",
            ";".join(signed),
            hashlib.sha256(payload).hexdigest(),
        ]
    )
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    text = f"{ALGORITHM}\n{timestamp}\n{date}/{service}/tc3_request\n{digest}"
    key = f"TC3{secret_key}".encode()
    for part in (date, service, "tc3_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.digest(key, text.encode(), "sha256").hex()


def _timestamp(headers: Mapping[str, str], date: str, now: float) -> int:
    text = headers.get("x-tc-timestamp", "")
    if not text.isascii() or not text.isdigit():
        raise ApiError("MissingParameter", "X-TC-Timestamp is missing or no number.")
    timestamp = int(text)
    if abs(now - timestamp) > MAX_SKEW_S:
        raise ApiError("AuthFailure.SignatureExpire", "The timestamp differs from the server's by over five minutes.")
    if _utc_date(timestamp) != date:
        raise ApiError("AuthFailure.SignatureFailure", "The Credential's date is not the UTC date of X-TC-Timestamp.")
    return timestamp


def _utc_date(timestamp: int) -> str:
    return datetime.fromtimestamp(timestamp, UTC).date().isoformat()
