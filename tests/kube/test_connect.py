"""Where the API server is and how to log in, for each way a kubeconfig or a pod says it."""

import base64
import json
import os
import ssl
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trustme
import yaml
from aiohttp import web
from aiohttp.test_utils import TestServer

from controller.kube.client import KubeClient, Resource, UnavailableError
from controller.kube.connect import ConnectError, Connection, from_service_account, load

PODS = Resource("", "v1", "pods")


def kubeconfig(
    path: Path, *, cluster: dict[str, Any] | None = None, user: dict[str, Any] | None = None, name: str = "here"
) -> Path:
    """Write a kubeconfig of one context."""
    path.parent.mkdir(parents=True, exist_ok=True)
    config = {
        "current-context": name,
        "contexts": [{"name": name, "context": {"cluster": name, "user": name, "namespace": "blue"}}],
        "clusters": [{"name": name, "cluster": cluster or {"server": "http://127.0.0.1:6443/"}}],
        "users": [{"name": name, "user": user or {}}],
    }
    path.write_text(yaml.safe_dump(config))
    return path


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
async def tls_server(authority: trustme.CA) -> AsyncIterator[TestServer]:
    """An https server that demands a client certificate of the same authority, and says whom it saw."""

    async def who(request: web.Request) -> web.Response:
        assert request.transport is not None
        certificate = request.transport.get_extra_info("peercert") or {}
        names = [value for part in certificate.get("subject", ()) for key, value in part if key == "commonName"]
        return web.json_response({"user": names, "authorization": request.headers.get("Authorization", "")})

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    app = web.Application()
    app.router.add_get("/{path:.*}", who)
    server = TestServer(app, scheme="https", host="127.0.0.1")
    await server.start_server(ssl=context)
    yield server
    await server.close()


async def ask(connection: Connection) -> dict[str, Any]:
    client = KubeClient(connection)
    try:
        return await client.get(PODS, "a", namespace="blue")
    finally:
        await client.close()


def address(server: TestServer) -> str:
    return f"https://127.0.0.1:{server.port}"


def encoded(blob: trustme.Blob) -> str:
    return base64.b64encode(blob.bytes()).decode()


def test_a_plain_context_gives_server_namespace_and_token(tmp_path: Path) -> None:
    connection = load(str(kubeconfig(tmp_path / "config", user={"token": "abc"})))
    assert (connection.server, connection.namespace) == ("http://127.0.0.1:6443", "blue")
    assert connection.headers() == {"Authorization": "Bearer abc"}
    assert connection.tls is None


def test_user_and_password_are_basic_authentication(tmp_path: Path) -> None:
    connection = load(str(kubeconfig(tmp_path / "config", user={"username": "a", "password": "b:c"})))
    assert connection.headers() == {"Authorization": "Basic " + base64.b64encode(b"a:b:c").decode()}


def test_relative_files_start_at_the_file_that_names_them_and_a_token_file_is_read_each_time(tmp_path: Path) -> None:
    path = kubeconfig(tmp_path / "deep" / "config", user={"tokenFile": "token"})
    connection = load(None, environ={"KUBECONFIG": str(path)})
    for token in ("first", "second"):
        (tmp_path / "deep" / "token").write_text(token + "\n")
        assert connection.headers() == {"Authorization": f"Bearer {token}"}


def test_several_files_are_one_and_the_first_to_say_something_wins(tmp_path: Path) -> None:
    first = kubeconfig(tmp_path / "one" / "config", user={"token": "one"}, name="first")
    second = kubeconfig(tmp_path / "two" / "config", user={"token": "two"}, name="second")
    only_context = tmp_path / "current"
    only_context.write_text(yaml.safe_dump({"current-context": "second"}))
    both = [str(tmp_path / "missing"), str(first), str(second)]
    assert load(os.pathsep.join(both)).token == "one"
    assert load(os.pathsep.join([str(only_context), *both])).token == "two"


async def test_tls_with_authority_and_client_certificate_as_data(
    tmp_path: Path, authority: trustme.CA, tls_server: TestServer
) -> None:
    me = authority.issue_cert("me@example.com", common_name="me")
    path = kubeconfig(
        tmp_path / "config",
        cluster={"server": address(tls_server), "certificate-authority-data": encoded(authority.cert_pem)},
        user={
            "client-certificate-data": encoded(me.cert_chain_pems[0]),
            "client-key-data": encoded(me.private_key_pem),
            "token": "abc",
        },
    )
    assert await ask(load(str(path))) == {"user": ["me"], "authorization": "Bearer abc"}


async def test_tls_with_authority_and_client_certificate_as_files(
    tmp_path: Path, authority: trustme.CA, tls_server: TestServer
) -> None:
    me = authority.issue_cert("me@example.com", common_name="me")
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    me.cert_chain_pems[0].write_to_path(str(tmp_path / "me.pem"))
    me.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    path = kubeconfig(
        tmp_path / "config",
        cluster={"server": address(tls_server), "certificate-authority": "ca.pem"},
        user={"client-certificate": "me.pem", "client-key": "key.pem"},
    )
    assert (await ask(load(str(path))))["user"] == ["me"]


async def test_a_foreign_authority_is_refused_unless_verification_is_off(
    tmp_path: Path, authority: trustme.CA, tls_server: TestServer
) -> None:
    me = authority.issue_cert("me@example.com", common_name="me")
    user = {
        "client-certificate-data": encoded(me.cert_chain_pems[0]),
        "client-key-data": encoded(me.private_key_pem),
    }
    server = {"server": address(tls_server)}
    foreign = {**server, "certificate-authority-data": encoded(trustme.CA().cert_pem)}
    with pytest.raises(UnavailableError, match="certificate"):
        await ask(load(str(kubeconfig(tmp_path / "config", cluster=foreign, user=user))))
    careless = {**server, "insecure-skip-tls-verify": True}
    assert (await ask(load(str(kubeconfig(tmp_path / "config", cluster=careless, user=user)))))["user"] == ["me"]


async def test_a_log_in_program_is_run_for_its_token(tmp_path: Path) -> None:
    credential = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "kind": "ExecCredential",
        "status": {"token": "from-the-program"},
    }
    program = tmp_path / "login.py"
    program.write_text(f"print({json.dumps(json.dumps(credential))})\n")
    path = kubeconfig(
        tmp_path / "config",
        user={
            "exec": {
                "apiVersion": "client.authentication.k8s.io/v1",
                "command": sys.executable,
                "args": [str(program)],
                "interactiveMode": "Never",
            }
        },
    )
    connection = load(str(path))
    assert connection.namespace == "blue"
    assert await KubeClient(connection).headers() == {"Authorization": "Bearer from-the-program"}


def test_a_service_account_gives_server_namespace_authority_and_token_file(
    tmp_path: Path, authority: trustme.CA
) -> None:
    (tmp_path / "namespace").write_text("blue\n")
    (tmp_path / "token").write_text("abc\n")
    authority.cert_pem.write_to_path(str(tmp_path / "ca.crt"))
    environ = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "6443"}
    connection = from_service_account(environ, tmp_path)
    assert (connection.server, connection.namespace) == ("https://[fd00::1]:6443", "blue")
    assert connection.headers() == {"Authorization": "Bearer abc"}
    (tmp_path / "ca.crt").unlink()
    with pytest.raises(ConnectError, match="service account"):
        from_service_account(environ, tmp_path)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "current-context"),
        ("a: [", "kubeconfig"),
        ("just text", "kubeconfig"),
        ("current-context: x", "contexts has no 'x'"),
        ("current-context: x\ncontexts: [{name: x, context: {cluster: y}}]", "clusters has no 'y'"),
        (
            "current-context: x\ncontexts: [{name: x, context: {cluster: x}}]\nclusters: [{name: x, cluster: {}}]",
            "server",
        ),
    ],
)
def test_an_incomplete_kubeconfig_is_one_clear_error(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "config"
    path.write_text(text)
    with pytest.raises(ConnectError, match=says):
        load(str(path))


@pytest.mark.parametrize(
    ("cluster", "user"),
    [
        ({"certificate-authority-data": "%%%"}, {}),
        ({"certificate-authority-data": base64.b64encode(b"no certificate").decode()}, {}),
        ({"certificate-authority": "missing.pem"}, {}),
        ({}, {"client-certificate": "missing.pem", "client-key": "missing.pem"}),
        ({}, {"client-certificate-data": "AAAA"}),
    ],
)
def test_unusable_certificates_are_one_clear_error(
    tmp_path: Path, cluster: dict[str, Any], user: dict[str, Any]
) -> None:
    path = kubeconfig(tmp_path / "config", cluster={"server": "https://127.0.0.1:6443", **cluster}, user=user)
    with pytest.raises(ConnectError, match="kubeconfig"):
        load(str(path))


@pytest.mark.parametrize("field", [{"as": "admin"}, {"as-groups": ["system:masters"]}])
def test_rights_asked_for_that_are_not_taken_on_are_refused_rather_than_left_out(
    tmp_path: Path, field: dict[str, Any]
) -> None:
    with pytest.raises(ConnectError, match="not supported"):
        load(str(kubeconfig(tmp_path / "config", user={"token": "abc", **field})))


def test_without_any_way_the_error_says_what_to_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ConnectError, match="KUBECONFIG"):
        load(None, environ={})
    with pytest.raises(ConnectError, match="missing"):
        load(str(tmp_path / "missing"))
