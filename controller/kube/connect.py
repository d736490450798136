"""Where the API server is and how to log in: the pod's service account, or a kubeconfig."""

import base64
import os
import ssl
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class ConnectError(Exception):
    """There is no usable way to an API server; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Connection:
    """How to reach one API server."""

    server: str
    #: Namespace of the context or of the pod.
    namespace: str = "default"
    tls: ssl.SSLContext | None = None
    token: str | None = None
    #: Read anew for each request: the kubelet rotates it.
    token_file: Path | None = None

    def headers(self) -> dict[str, str]:
        """Headers that authenticate a request."""
        token = self.token_file.read_text().strip() if self.token_file else self.token
        return {"Authorization": f"Bearer {token}"} if token else {}


def load(kubeconfig: str | None = None, *, environ: Mapping[str, str] = os.environ) -> Connection:
    """The connection named by `kubeconfig`, $KUBECONFIG, the pod's service account, or ~/.kube/config, in that order.

    Raises:
        ConnectError: none of them is there or usable.
    """
    named = kubeconfig or environ.get("KUBECONFIG")
    if named:
        return from_kubeconfig(Path(named.split(os.pathsep)[0]))
    if environ.get("KUBERNETES_SERVICE_HOST") and (SERVICE_ACCOUNT / "token").exists():
        return from_service_account(environ)
    default = Path.home() / ".kube" / "config"
    if default.exists():
        return from_kubeconfig(default)
    raise ConnectError("no Kubernetes API: set KUBECONFIG, or run in a pod with a service account")


def from_service_account(environ: Mapping[str, str]) -> Connection:
    """The connection every pod with a service account has."""
    host, port = environ["KUBERNETES_SERVICE_HOST"], environ.get("KUBERNETES_SERVICE_PORT", "443")
    host = f"[{host}]" if ":" in host else host
    return Connection(
        server=f"https://{host}:{port}",
        namespace=(SERVICE_ACCOUNT / "namespace").read_text().strip(),
        tls=ssl.create_default_context(cafile=str(SERVICE_ACCOUNT / "ca.crt")),
        token_file=SERVICE_ACCOUNT / "token",
    )


def from_kubeconfig(path: Path) -> Connection:
    """The current context of a kubeconfig.

    Raises:
        ConnectError: the file is missing or malformed, or its context is incomplete.
    """
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
        context = _named(config, "contexts", config["current-context"])["context"]
        cluster = _named(config, "clusters", context["cluster"])["cluster"]
        user = _named(config, "users", context["user"]).get("user") or {} if context.get("user") else {}
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        raise ConnectError(f"kubeconfig {path}: {error!r}; check current-context, clusters and users") from error
    namespace = context.get("namespace", "default")
    if "exec" in user or "auth-provider" in user:
        return _through_official_client(path, namespace)
    token_file = user.get("tokenFile")
    return Connection(
        server=cluster["server"].rstrip("/"),
        namespace=namespace,
        tls=_tls(cluster, user, path.parent) if cluster["server"].startswith("https:") else None,
        token=user.get("token"),
        token_file=path.parent / token_file if token_file else None,
    )


def _named(config: Mapping[str, Any], section: str, name: str) -> dict[str, Any]:
    for entry in config.get(section) or ():
        if entry["name"] == name:
            return dict(entry)
    raise KeyError(f"{section} has no {name!r}")


def _tls(cluster: Mapping[str, Any], user: Mapping[str, Any], base: Path) -> ssl.SSLContext:
    data = cluster.get("certificate-authority-data")
    file = cluster.get("certificate-authority")
    context = ssl.create_default_context(
        cadata=base64.b64decode(data).decode() if data else None, cafile=str(base / file) if file else None
    )
    if cluster.get("insecure-skip-tls-verify"):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    _client_certificate(context, user, base)
    return context


def _client_certificate(context: ssl.SSLContext, user: Mapping[str, Any], base: Path) -> None:
    if user.get("client-certificate"):
        context.load_cert_chain(base / user["client-certificate"], base / user["client-key"])
    elif user.get("client-certificate-data"):
        # The ssl module reads certificates from files only; these are gone again before anyone else could look.
        with tempfile.TemporaryDirectory() as folder:
            cert, key = Path(folder) / "cert.pem", Path(folder) / "key.pem"
            cert.write_bytes(base64.b64decode(user["client-certificate-data"]))
            key.touch(mode=0o600)
            key.write_bytes(base64.b64decode(user["client-key-data"]))
            context.load_cert_chain(cert, key)


def _through_official_client(path: Path, namespace: str) -> Connection:
    """Log-in plug-ins are the official client's business."""
    from kubernetes import client, config  # noqa: PLC0415 - 40 MB that only such kubeconfigs need

    settings = client.Configuration()
    config.load_kube_config(config_file=str(path), client_configuration=settings)  # type: ignore[no-untyped-call]
    tls = ssl.create_default_context(cafile=settings.ssl_ca_cert)
    if not settings.verify_ssl:
        tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    if settings.cert_file:
        tls.load_cert_chain(settings.cert_file, settings.key_file)
    bearer = settings.get_api_key_with_prefix("authorization") or ""
    return Connection(settings.host, namespace, tls, token=bearer.removeprefix("Bearer ") or None)
