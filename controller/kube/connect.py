"""Where the API server is and how to log in: the pod's service account, or a kubeconfig."""

import base64
import os
import ssl
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")

#: What a kubeconfig may ask for and this client does not do. To leave it out silently would reach another server, or
#: the right one with other rights than were meant.
_NOT_DONE: Final = ("proxy-url", "tls-server-name", "as", "as-groups", "as-uid", "as-user-extra")


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
    #: User and password, where a kubeconfig still has them.
    basic: tuple[str, str] | None = None
    #: Fetches a token from a log-in plug-in, which may block: it starts a program when the last token has expired.
    fetch_token: Callable[[], str | None] | None = None

    def headers(self) -> dict[str, str]:
        """Headers that authenticate a request.

        Raises:
            OSError: the token file cannot be read.
        """
        if self.basic is not None:
            return {"Authorization": "Basic " + base64.b64encode(":".join(self.basic).encode()).decode()}
        if self.fetch_token is not None:
            token = self.fetch_token()
        else:
            token = self.token_file.read_text(encoding="utf-8").strip() if self.token_file else self.token
        return {"Authorization": f"Bearer {token}"} if token else {}


def load(kubeconfig: str | None = None, *, environ: Mapping[str, str] = os.environ) -> Connection:
    """The connection named by `kubeconfig`, $KUBECONFIG, the pod's service account, or ~/.kube/config, in that order.

    Raises:
        ConnectError: none of them is there or usable.
    """
    named = kubeconfig or environ.get("KUBECONFIG")
    if named:
        return from_kubeconfig(*(Path(part) for part in named.split(os.pathsep) if part))
    if environ.get("KUBERNETES_SERVICE_HOST") and (SERVICE_ACCOUNT / "token").exists():
        return from_service_account(environ)
    default = Path.home() / ".kube" / "config"
    if default.exists():
        return from_kubeconfig(default)
    raise ConnectError("no Kubernetes API: set KUBECONFIG, or run in a pod with a service account")


def from_service_account(environ: Mapping[str, str], folder: Path = SERVICE_ACCOUNT) -> Connection:
    """The connection every pod with a service account has.

    Raises:
        ConnectError: a file of the service account is missing or unreadable.
    """
    host, port = environ["KUBERNETES_SERVICE_HOST"], environ.get("KUBERNETES_SERVICE_PORT", "443")
    host = f"[{host}]" if ":" in host else host
    try:
        return Connection(
            server=f"https://{host}:{port}",
            namespace=(folder / "namespace").read_text(encoding="utf-8").strip(),
            tls=ssl.create_default_context(cafile=str(folder / "ca.crt")),
            token_file=folder / "token",
        )
    except OSError as error:  # ssl.SSLError is one
        raise ConnectError(f"service account in {folder}: {error}") from error


def from_kubeconfig(*paths: Path) -> Connection:
    """The current context of a kubeconfig; of several files, as kubectl does, the first to say something wins.

    Raises:
        ConnectError: no file is there, one is malformed, or the context is incomplete or asks for what is not done.
    """
    where = os.pathsep.join(map(str, paths))
    try:
        config = _merged([path for path in paths if len(paths) == 1 or path.exists()])
        context = _named(config, "contexts", config["current-context"])["context"]
        cluster, base = _part(config, "cluster", context["cluster"])
        user, user_base = _part(config, "user", context["user"]) if context.get("user") else ({}, base)
        _refuse_not_done(cluster, user)
        if "exec" in user or "auth-provider" in user:
            return _through_official_client(where, context.get("namespace", "default"))
        return _connection(context, (cluster, base), (user, user_base))
    except (OSError, yaml.YAMLError, LookupError, TypeError, AttributeError, ValueError) as error:
        detail = error.args[0] if isinstance(error, LookupError) and error.args else error
        raise ConnectError(
            f"kubeconfig {where}: {detail}; it needs current-context and the contexts, clusters and users it names"
        ) from error


def _merged(paths: Iterable[Path]) -> dict[str, Any]:
    """The files as one; every entry remembers the folder its relative paths start from."""
    merged: dict[str, Any] = {"contexts": [], "clusters": [], "users": []}
    for path in paths:
        config = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        for section in ("contexts", "clusters", "users"):
            merged[section] += [{**entry, "folder": path.parent} for entry in config.get(section) or ()]
        if config.get("current-context"):
            merged.setdefault("current-context", config["current-context"])
    return merged


def _named(config: Mapping[str, Any], section: str, name: str) -> dict[str, Any]:
    for entry in config[section]:
        if entry["name"] == name:
            return dict(entry)
    raise LookupError(f"{section} has no {name!r}")


def _part(config: Mapping[str, Any], kind: str, name: str) -> tuple[dict[str, Any], Path]:
    """A cluster or user, and the folder of the file it stands in."""
    entry = _named(config, f"{kind}s", name)
    return dict(entry.get(kind) or {}), entry["folder"]


def _refuse_not_done(cluster: Mapping[str, Any], user: Mapping[str, Any]) -> None:
    for name in _NOT_DONE:
        if cluster.get(name) or user.get(name):
            raise ValueError(f"`{name}` is not supported; use a context without it")


def _connection(
    context: Mapping[str, Any], cluster: tuple[Mapping[str, Any], Path], user: tuple[Mapping[str, Any], Path]
) -> Connection:
    server, login = str(cluster[0]["server"]).rstrip("/"), user[0]
    token_file = login.get("tokenFile")
    return Connection(
        server=server,
        namespace=context.get("namespace", "default"),
        tls=_tls(*cluster, *user) if server.startswith("https:") else None,
        token=login.get("token"),
        token_file=user[1] / token_file if token_file else None,
        basic=(str(login["username"]), str(login.get("password", ""))) if login.get("username") else None,
    )


def _tls(cluster: Mapping[str, Any], base: Path, user: Mapping[str, Any], user_base: Path) -> ssl.SSLContext:
    data = cluster.get("certificate-authority-data")
    file = cluster.get("certificate-authority")
    context = ssl.create_default_context(
        cadata=_decoded(data).decode() if data else None, cafile=str(base / file) if file else None
    )
    if cluster.get("insecure-skip-tls-verify"):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    _client_certificate(context, user, user_base)
    return context


def _decoded(data: str) -> bytes:
    return base64.b64decode("".join(data.split()), validate=True)


def _client_certificate(context: ssl.SSLContext, user: Mapping[str, Any], base: Path) -> None:
    if user.get("client-certificate"):
        context.load_cert_chain(base / user["client-certificate"], base / user["client-key"])
    elif user.get("client-certificate-data"):
        # The ssl module reads certificates from files only; these are gone again before anyone else could look.
        with tempfile.TemporaryDirectory() as folder:
            cert, key = Path(folder) / "cert.pem", Path(folder) / "key.pem"
            cert.write_bytes(_decoded(user["client-certificate-data"]))
            key.touch(mode=0o600)
            key.write_bytes(_decoded(user["client-key-data"]))
            context.load_cert_chain(cert, key)


def _through_official_client(where: str, namespace: str) -> Connection:
    """Log-in plug-ins are the official client's business; so is when their tokens have to be fetched anew."""
    from kubernetes import client, config  # noqa: PLC0415 - 40 MB that only such kubeconfigs need

    settings = client.Configuration()
    try:
        config.load_kube_config(config_file=where, client_configuration=settings)  # type: ignore[no-untyped-call]
    except config.ConfigException as error:
        raise ValueError(f"log-in failed: {error}") from error
    tls = ssl.create_default_context(cafile=settings.ssl_ca_cert)
    if not settings.verify_ssl:
        tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    if settings.cert_file:
        tls.load_cert_chain(settings.cert_file, settings.key_file)

    def fetch() -> str | None:
        bearer = settings.get_api_key_with_prefix("BearerToken") or settings.get_api_key_with_prefix("authorization")
        return bearer.removeprefix("Bearer ") if bearer else None

    return Connection(settings.host, namespace, tls, fetch_token=fetch)
