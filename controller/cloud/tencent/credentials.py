"""Keys that sign requests: fixed ones, and temporary ones fetched from TKE's OIDC exchange or the CVM metadata.

The SDK has classes for the temporary kinds, but its CVM class reads the network without a time-out and swallows every
error, and its OIDC class waits up to a minute. Both run while a request is being signed, so they are redone here with
time-outs and with errors that say what is missing. Runs on the adapter's threads.
"""

import json
import logging
import os
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from tencentcloud.common.common_client import CommonClient
from tencentcloud.common.credential import Credential
from tencentcloud.common.exception import TencentCloudSDKException
from tencentcloud.common.profile.client_profile import ClientProfile
from tencentcloud.common.profile.http_profile import HttpProfile

from controller.cloud.tencent.settings import Endpoint, Settings

#: Seconds before the end of a temporary key at which a new one is fetched. A signature may be 300 s old when checked.
REFRESH_BEFORE_S: Final = 600
#: Seconds between two attempts to renew while the old key still works, so that an outage of the source costs one
#: time-out a minute instead of one per call.
RETRY_EVERY_S: Final = 60
#: Life asked for at the OIDC exchange.
OIDC_DURATION_S: Final = 7200
STS_VERSION: Final = "2018-08-13"
ROLE_PATH: Final = "/latest/meta-data/cam/security-credentials/"

logger = logging.getLogger(__name__)


class CredentialsUnavailableError(Exception):
    """No key could be had; nothing was signed and nothing sent. Never contains a secret."""


class Signer(Protocol):
    """What the SDK asks of a credential."""

    def get_credential_info(self) -> tuple[str, str, str | None]:
        """Secret id, secret key and token to sign one request with."""


@dataclass(frozen=True, slots=True)
class TemporaryKey:
    """One set of temporary credentials."""

    secret_id: str
    secret_key: str = field(repr=False)
    token: str = field(repr=False)
    #: POSIX seconds.
    expires: float


class RefreshingCredential:
    """Hands out a temporary key and renews it in time. Safe from several threads."""

    def __init__(self, fetch: Callable[[], TemporaryKey], *, clock: Callable[[], float] = time.time) -> None:
        self._fetch = fetch
        self._clock = clock
        self._lock = threading.Lock()
        self._key: TemporaryKey | None = None
        self._not_before = 0.0

    def get_credential_info(self) -> tuple[str, str, str | None]:
        """Secret id, key and token, renewed when less than `REFRESH_BEFORE_S` are left.

        Raises:
            CredentialsUnavailableError: there is no key, or the old one has ended and no new one was given.
        """
        with self._lock:
            key = self._fresh()
        return key.secret_id, key.secret_key, key.token

    def known(self) -> tuple[str, str, str] | None:
        """The key in use, without fetching one."""
        key = self._key
        return None if key is None else (key.secret_id, key.secret_key, key.token)

    def _fresh(self) -> TemporaryKey:
        now, key = self._clock(), self._key
        alive = key is not None and now < key.expires
        if key is not None and alive and (now < key.expires - REFRESH_BEFORE_S or now < self._not_before):
            return key
        try:
            self._key = self._fetch()
        except CredentialsUnavailableError as error:
            if key is None or not alive:
                raise
            self._not_before = now + RETRY_EVERY_S
            logger.warning("temporary credentials were not renewed, the old ones hold until %d: %s", key.expires, error)
            return key
        return self._key


def signer(settings: Settings) -> Signer:
    """The credential that the settings ask for. Nothing is fetched yet."""
    if settings.credentials == "environment":
        fixed: Signer = Credential(settings.secret_id, settings.secret_key, settings.token or None)
        return fixed
    if settings.credentials == "tke-oidc":
        return RefreshingCredential(lambda: fetch_oidc(settings.sts, settings.timeout_s, os.environ))
    return RefreshingCredential(
        lambda: fetch_cvm_role(settings.metadata_endpoint, settings.role_name, settings.timeout_s)
    )


def fetch_oidc(sts: Endpoint, timeout_s: float, environ: Mapping[str, str]) -> TemporaryKey:
    """Exchange the pod's projected service-account token for a key (the four TKE_* variables TKE sets).

    Raises:
        CredentialsUnavailableError: a variable or the token file is missing, or the exchange was refused.
    """
    region, provider, token_file, role = (
        _required(environ, name)
        for name in ("TKE_REGION", "TKE_PROVIDER_ID", "TKE_WEB_IDENTITY_TOKEN_FILE", "TKE_ROLE_ARN")
    )
    try:
        identity = Path(token_file).read_text(encoding="utf-8")
    except OSError as error:
        raise CredentialsUnavailableError(f"TKE_WEB_IDENTITY_TOKEN_FILE cannot be read: {error.strerror}") from None
    http = HttpProfile(protocol=sts.scheme, endpoint=sts.netloc, reqTimeout=timeout_s)
    client = CommonClient("sts", STS_VERSION, None, region, ClientProfile(httpProfile=http))
    client.request.conn.proxy = sts.proxies()
    params = {
        "ProviderId": provider,
        "WebIdentityToken": identity,
        "RoleArn": role,
        "RoleSessionName": f"haipool-{os.getpid()}",
        "DurationSeconds": OIDC_DURATION_S,
    }
    try:
        answer = client.call_json("AssumeRoleWithWebIdentity", params, options={"SkipSign": True})
    except TencentCloudSDKException as error:
        raise CredentialsUnavailableError(f"AssumeRoleWithWebIdentity: {error.code}") from None
    except ValueError as error:
        raise CredentialsUnavailableError(f"AssumeRoleWithWebIdentity: no JSON: {type(error).__name__}") from None
    finally:
        client.request.conn._session.close()  # noqa: SLF001 - the SDK offers no way to close its connection
    body = answer.get("Response", {}) if isinstance(answer, dict) else {}
    return _key(body.get("Credentials"), body.get("ExpiredTime"), source="AssumeRoleWithWebIdentity")


def fetch_cvm_role(metadata: Endpoint, role: str, timeout_s: float) -> TemporaryKey:
    """Read the key of the CVM's role from the machine's metadata service, never through a proxy.

    Raises:
        CredentialsUnavailableError: the service does not answer, or the machine has no such role.
    """
    base = metadata.url + ROLE_PATH
    name = role or _read(base, timeout_s).strip()
    if not name:
        raise CredentialsUnavailableError("this machine has no CVM role bound to it")
    try:
        body = json.loads(_read(base + urllib.parse.quote(name, safe=""), timeout_s))
    except ValueError:
        raise CredentialsUnavailableError(f"CVM role {name}: the metadata service sent no JSON") from None
    if not isinstance(body, dict) or body.get("Code") != "Success":
        raise CredentialsUnavailableError(f"CVM role {name}: the metadata service has no credentials for it")
    return _key(body, body.get("ExpiredTime"), source=f"CVM role {name}")


def _read(url: str, timeout_s: float) -> str:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=timeout_s) as answer:
            return str(answer.read().decode("utf-8"))
    except urllib.error.HTTPError as error:
        error.close()  # it holds the connection
        raise CredentialsUnavailableError(f"the CVM metadata service did not answer: HTTP {error.code}") from None
    except (OSError, ValueError) as error:
        name = type(error).__name__
        raise CredentialsUnavailableError(f"the CVM metadata service did not answer: {name}") from None


def _required(environ: Mapping[str, str], name: str) -> str:
    value = environ.get(name, "").strip()
    if not value:
        raise CredentialsUnavailableError(f"{name} is not set; TKE sets it in pods that have a service-account role")
    return value


def _key(fields: Any, expires: Any, *, source: str) -> TemporaryKey:
    if not isinstance(fields, dict):
        raise CredentialsUnavailableError(f"{source}: the answer lacks the credentials")
    if not isinstance(expires, int | float):
        raise CredentialsUnavailableError(f"{source}: the answer lacks ExpiredTime")
    return TemporaryKey(
        secret_id=_secret(fields, "TmpSecretId", source),
        secret_key=_secret(fields, "TmpSecretKey", source),
        token=_secret(fields, "Token", source),
        expires=float(expires),
    )


def _secret(fields: dict[str, Any], name: str, source: str) -> str:
    """A part of a key; what no HTTP header can carry is refused here, since the header's error would quote it."""
    value = fields.get(name)
    if not isinstance(value, str) or not value or not (value.isascii() and value.isprintable()) or " " in value:
        raise CredentialsUnavailableError(f"{source}: {name} is missing or malformed")
    return value
