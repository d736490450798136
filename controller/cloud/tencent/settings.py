"""How to reach Tencent Cloud and as whom: one frozen value, read once from the environment."""

import ipaddress
import os
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, get_args
from urllib.parse import urlsplit

CredentialSource = Literal["environment", "tke-oidc", "cvm-role"]

ENV_ENDPOINT: Final = "HAIPOOL_CLOUD_ENDPOINT"
ENV_ROOT_DOMAIN: Final = "HAIPOOL_CLOUD_ROOT_DOMAIN"
ENV_HOME_REGION: Final = "HAIPOOL_CLOUD_HOME_REGION"
ENV_TIMEOUT: Final = "HAIPOOL_CLOUD_TIMEOUT_SECONDS"
ENV_THREADS: Final = "HAIPOOL_CLOUD_THREADS"
ENV_CREDENTIALS: Final = "HAIPOOL_CREDENTIALS"
ENV_ROLE_NAME: Final = "HAIPOOL_CVM_ROLE_NAME"
ENV_STS_ENDPOINT: Final = "HAIPOOL_STS_ENDPOINT"
ENV_METADATA_ENDPOINT: Final = "HAIPOOL_METADATA_ENDPOINT"
ENV_SECRET_ID: Final = "TENCENTCLOUD_SECRET_ID"  # noqa: S105 - the name of a variable
ENV_SECRET_KEY: Final = "TENCENTCLOUD_SECRET_KEY"  # noqa: S105 - the name of a variable
ENV_TOKEN: Final = "TENCENTCLOUD_TOKEN"  # noqa: S105 - the name of a variable

DEFAULT_ROOT_DOMAIN: Final = "tencentcloudapi.com"
DEFAULT_METADATA_ENDPOINT: Final = "http://metadata.tencentyun.com"
#: HAI and Monitor want a region even for questions that have none (DescribeRegions, DescribeBaseMetrics).
DEFAULT_HOME_REGION: Final = "ap-guangzhou"
#: Connect and read time-out of one HTTP exchange, each. A listing of 100 instances takes well under a second; the
#: upper bound keeps one decision (and a stop of the process) from waiting for a dead connection.
DEFAULT_TIMEOUT_S: Final = 10.0
MAX_TIMEOUT_S: Final = 15.0
#: Calls in flight at once: two per domestic region plus room for purchases while a slow region fills its two.
DEFAULT_THREADS: Final = 16


class SettingsError(ValueError):
    """A setting is missing or wrong; the message names the environment variable and what to write."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Scheme and `host[:port]` of an API endpoint."""

    scheme: Literal["http", "https"]
    netloc: str

    @classmethod
    def parse(cls, text: str, *, name: str) -> "Endpoint":
        """Read `http(s)://host[:port]`.

        Raises:
            SettingsError: anything else, credentials or a path included.
        """
        parts = urlsplit(text.strip())
        try:
            wrong = not parts.hostname or parts.port == 0
        except ValueError:  # a port that is no number, or brackets that don't close
            wrong = True
        extra = parts.username or parts.query or parts.fragment or parts.path not in ("", "/")
        if wrong or extra or parts.scheme not in ("http", "https"):
            raise SettingsError(f"{name} must be http(s)://host[:port] with nothing after it")
        return cls("http" if parts.scheme == "http" else "https", parts.netloc)

    @property
    def url(self) -> str:
        """`scheme://host[:port]`."""
        return f"{self.scheme}://{self.netloc}"

    @property
    def is_loopback(self) -> bool:
        """Whether the host is this machine, which no proxy can reach for us."""
        host = urlsplit(self.url).hostname or ""
        if host == "localhost":
            return True
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return False

    def proxies(self) -> dict[str, str]:
        """The proxies for this endpoint, `{}` for none, from HTTP_PROXY, HTTPS_PROXY and NO_PROXY.

        The SDK's own reading compares `host:port` with NO_PROXY as one string, so it never exempts a host with a port.
        """
        if self.is_loopback or urllib.request.proxy_bypass(self.netloc):
            return {}
        proxy = urllib.request.getproxies().get(self.scheme)
        return {"http": proxy, "https": proxy} if proxy else {}


@dataclass(frozen=True, slots=True)
class Settings:
    """All the adapter is told. Secrets never show in `repr`."""

    credentials: CredentialSource = "environment"
    secret_id: str = field(default="", repr=False)
    secret_key: str = field(default="", repr=False)
    #: Token of temporary credentials, empty for a long-lived key.
    token: str = field(default="", repr=False)
    #: One endpoint for all services (the sandbox, a gateway); None means `{service}.{root_domain}` over https.
    endpoint: Endpoint | None = None
    #: `internal.tencentcloudapi.com` inside a VPC without a way out.
    root_domain: str = DEFAULT_ROOT_DOMAIN
    home_region: str = DEFAULT_HOME_REGION
    #: Seconds to connect, and seconds between two bytes of the answer.
    timeout_s: float = DEFAULT_TIMEOUT_S
    threads: int = DEFAULT_THREADS
    #: CVM role to use; empty takes the one bound to the machine.
    role_name: str = ""
    #: Where TKE OIDC tokens are exchanged; None means `https://sts.{root_domain}`.
    sts_endpoint: Endpoint | None = None
    metadata_endpoint: Endpoint = field(default_factory=lambda: Endpoint.parse(DEFAULT_METADATA_ENDPOINT, name="-"))

    def __post_init__(self) -> None:
        if not 0 < self.timeout_s < MAX_TIMEOUT_S:
            raise SettingsError(f"{ENV_TIMEOUT} must be above 0 and below {MAX_TIMEOUT_S:.0f} seconds")
        if self.threads < 1:
            raise SettingsError(f"{ENV_THREADS} must be at least 1")
        if self.credentials == "environment":
            _check_secret(ENV_SECRET_ID, self.secret_id)
            _check_secret(ENV_SECRET_KEY, self.secret_key)
            if self.token:
                _check_secret(ENV_TOKEN, self.token)

    @property
    def call_timeout_s(self) -> float:
        """Seconds after which one call is given up as a whole: connect, read, and an answer that only trickles."""
        return 2 * self.timeout_s + 5.0

    def endpoint_of(self, service: str) -> Endpoint:
        """Where the calls of a service go."""
        return self.endpoint or Endpoint("https", f"{service}.{self.root_domain}")

    @property
    def sts(self) -> Endpoint:
        """Where OIDC tokens are exchanged for keys."""
        return self.sts_endpoint or Endpoint("https", f"sts.{self.root_domain}")

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> "Settings":
        """Read the settings; docs/cloud.md lists the variables.

        Raises:
            SettingsError: one is missing or malformed. Values of secrets are never in the message.
        """
        env = os.environ if environ is None else environ
        source = env.get(ENV_CREDENTIALS, "").strip() or "environment"
        if source not in get_args(CredentialSource):
            raise SettingsError(f"{ENV_CREDENTIALS} must be one of {', '.join(get_args(CredentialSource))}")
        return cls(
            credentials=source,  # type: ignore[arg-type]  # checked just above
            secret_id=env.get(ENV_SECRET_ID, ""),
            secret_key=env.get(ENV_SECRET_KEY, ""),
            token=env.get(ENV_TOKEN, ""),
            endpoint=_endpoint(env, ENV_ENDPOINT),
            root_domain=env.get(ENV_ROOT_DOMAIN, "").strip() or DEFAULT_ROOT_DOMAIN,
            home_region=env.get(ENV_HOME_REGION, "").strip() or DEFAULT_HOME_REGION,
            timeout_s=_number(env, ENV_TIMEOUT, DEFAULT_TIMEOUT_S),
            threads=int(_number(env, ENV_THREADS, DEFAULT_THREADS)),
            role_name=env.get(ENV_ROLE_NAME, "").strip(),
            sts_endpoint=_endpoint(env, ENV_STS_ENDPOINT),
            metadata_endpoint=_endpoint(env, ENV_METADATA_ENDPOINT)
            or Endpoint.parse(DEFAULT_METADATA_ENDPOINT, name=ENV_METADATA_ENDPOINT),
        )


def _check_secret(name: str, value: str) -> None:
    """Refuse what would only fail later, inside an HTTP header, with the secret in the error text."""
    if not value:
        raise SettingsError(f"{name} is not set; set it, or choose another source with {ENV_CREDENTIALS}")
    if not (value.isascii() and value.isprintable()) or " " in value:
        raise SettingsError(f"{name} contains spaces, line breaks or other characters that no key has")


def _endpoint(env: Mapping[str, str], name: str) -> Endpoint | None:
    text = env.get(name, "").strip()
    return Endpoint.parse(text, name=name) if text else None


def _number(env: Mapping[str, str], name: str, default: float) -> float:
    text = env.get(name, "").strip()
    try:
        return float(text) if text else default
    except ValueError:
        raise SettingsError(f"{name} must be a number, not {text!r}") from None
