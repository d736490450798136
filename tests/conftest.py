"""What all tests share: a Kubernetes API to test against.

`cluster` is the sandbox's local API, or a real control plane where the environment variable KUBEBUILDER_ASSETS names a
folder with `etcd` and `kube-apiserver`. Tests that use it pass on both. It is shared by a whole test run, so every
test works in a `namespace` of its own; a real API server without its controllers cannot delete one.
"""

import asyncio
import contextlib
import json
import os
import secrets
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from controller.sandbox.kubeapi.server import LocalKubernetes
from controller.sandbox.kubectl import find_kubectl

CRDS = Path(__file__).parents[1] / "crds"
#: How long a real control plane may take to start, seconds.
START_TIMEOUT = 90.0


def pytest_configure() -> None:
    """Say that the main thread has no event loop until a test brings one.

    looptime asks the policy for the current loop around synchronous tests too. Where nothing was ever set, the policy
    answers by making a loop that nobody closes, and its ResourceWarning fails whichever test comes later.
    """
    asyncio.set_event_loop(None)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How many moments processes died at, and how many cases of the fault list were gone through."""
    tried: Counter[str] = Counter()
    for report in terminalreporter.getreports("passed"):
        if getattr(report, "when", "") == "call":
            tried.update({name: count for name, count in report.user_properties if isinstance(count, int)})
    if tried:
        terminalreporter.write_line(", ".join(f"{count} {name}" for name, count in sorted(tried.items())))


class Cluster:
    """A Kubernetes API with haipool's CRDs.

    Attributes:
        url: base URL.
        kubeconfig: path of a kubeconfig whose user may do everything.
        local: whether it is the sandbox's; a test may ask this only to skip what the other cannot do.
        token: bearer token, None where none is needed.
        ca: path of the certificate to trust, None over plain HTTP.
        home: an empty home directory for processes that keep caches there, as kubectl does.
    """

    def __init__(self, url: str, folder: Path, *, token: str | None = None, ca: Path | None = None) -> None:
        self.url = url
        self.kubeconfig = folder / "kubeconfig"
        self.local = token is None
        self.token = token
        self.ca = ca
        self.home = folder / "home"
        self.home.mkdir()

    @property
    def environment(self) -> dict[str, str]:
        """Environment for processes that are to talk to this cluster."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith("KUBE")}
        return kept | {"KUBECONFIG": str(self.kubeconfig), "HOME": str(self.home)}

    def kubectl(
        self,
        *arguments: str,
        input: str | None = None,  # noqa: A002 - the name subprocess.run has for it
        check: bool = True,
        program: Path | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run kubectl; `check` fails the test with its error output if it fails."""
        command = [str(program or find_kubectl()), *arguments]
        done = subprocess.run(
            command, input=input, capture_output=True, text=True, check=False, timeout=60, env=self.environment
        )
        assert not check or done.returncode == 0, f"{' '.join(arguments)}: {done.stderr}"
        return done

    def request(
        self, method: str, path: str, body: Any = None, content_type: str = "application/json"
    ) -> tuple[int, Any]:
        """One request to a path of the API: the answer's status and document. Much quicker than kubectl."""
        headers = {"Content-Type": content_type} | ({"Authorization": f"Bearer {self.token}"} if self.token else {})
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=data, method=method, headers=headers)
        context = ssl.create_default_context(cafile=str(self.ca)) if self.ca else None
        try:
            with urllib.request.urlopen(request, context=context, timeout=60) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    def connect(self) -> aiohttp.ClientSession:
        """An HTTP session for requests to paths of the API."""
        context: ssl.SSLContext | bool = ssl.create_default_context(cafile=str(self.ca)) if self.ca else True
        return aiohttp.ClientSession(
            self.url,
            headers={"Authorization": f"Bearer {self.token}"} if self.token else {},
            connector=aiohttp.TCPConnector(ssl=context, limit=0),
            timeout=aiohttp.ClientTimeout(total=60),
        )


@contextlib.contextmanager
def _local(folder: Path) -> Iterator[Cluster]:
    """The sandbox's API, in a thread with its own loop, so that tests may block."""
    ready, problem, cluster = threading.Event(), list[BaseException](), list[Cluster]()
    ending: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def serve() -> None:
        kubernetes = LocalKubernetes()
        cluster.append(Cluster(await kubernetes.start(), folder))
        kubernetes.write_kubeconfig(folder / "kubeconfig")
        stop = asyncio.Event()
        ending.append((asyncio.get_running_loop(), stop))
        ready.set()
        await stop.wait()
        await kubernetes.stop()

    def run() -> None:
        try:
            asyncio.run(serve())
        except BaseException as error:  # noqa: BLE001 - it belongs to the thread that waits
            problem.append(error)
        ready.set()

    thread = threading.Thread(target=run, name="local-kubernetes")
    thread.start()
    ready.wait()
    try:
        if problem:
            raise problem[0]
        yield cluster[0]
    finally:
        for loop, stop in ending:
            loop.call_soon_threadsafe(stop.set)
        thread.join()
    if problem:
        raise problem[0]


@contextlib.contextmanager
def _process(command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT) as process:
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [int(found.getsockname()[1]) for found in sockets]


@contextlib.contextmanager
def _real(assets: Path, folder: Path) -> Iterator[Cluster]:
    """etcd and kube-apiserver, nothing else: no controllers, so nothing is collected and no namespace goes."""
    client_port, peer_port, port = _free_ports(3)
    key, public, tokens, certificates = (folder / name for name in ("sa.key", "sa.pub", "tokens.csv", "certificates"))
    openssl = shutil.which("openssl")
    assert openssl, "a real control plane needs openssl on PATH, for the key of its service accounts"
    subprocess.run([openssl, "genrsa", "-out", str(key), "2048"], check=True, capture_output=True)
    subprocess.run([openssl, "rsa", "-in", str(key), "-pubout", "-out", str(public)], check=True, capture_output=True)
    token = secrets.token_hex(16)
    tokens.write_text(f'{token},admin,admin-uid,"system:masters"\n', encoding="utf-8")
    etcd_url, peer_url = f"http://127.0.0.1:{client_port}", f"http://127.0.0.1:{peer_port}"
    etcd = [str(assets / "etcd"), "--name=default", f"--data-dir={folder / 'etcd'}", "--unsafe-no-fsync"]
    etcd += [f"--listen-client-urls={etcd_url}", f"--advertise-client-urls={etcd_url}", "--log-level=warn"]
    etcd += [f"--listen-peer-urls={peer_url}", f"--initial-advertise-peer-urls={peer_url}"]
    etcd += [f"--initial-cluster=default={peer_url}"]
    url = f"https://127.0.0.1:{port}"
    server = [str(assets / "kube-apiserver"), f"--etcd-servers={etcd_url}", f"--secure-port={port}"]
    server += ["--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", f"--cert-dir={certificates}"]
    server += ["--service-cluster-ip-range=10.0.0.0/24", "--endpoint-reconciler-type=none"]
    server += ["--authorization-mode=RBAC", f"--token-auth-file={tokens}", "--allow-privileged=true"]
    server += [f"--service-account-issuer={url}/", f"--service-account-signing-key-file={key}"]
    server += [f"--service-account-key-file={public}", "--disable-admission-plugins=ServiceAccount"]
    with _process(etcd, folder / "etcd.log"), _process(server, folder / "server.log") as process:
        _wait_until_ready(url, token, process, folder / "server.log")
        cluster = Cluster(url, folder, token=token, ca=certificates / "apiserver.crt")
        cluster.kubectl(
            "config", "set-cluster", "real", f"--server={url}", f"--certificate-authority={cluster.ca}", "--embed-certs"
        )
        cluster.kubectl("config", "set-credentials", "admin", f"--token={token}")
        cluster.kubectl("config", "set-context", "real", "--cluster=real", "--user=admin", "--namespace=default")
        cluster.kubectl("config", "use-context", "real")
        yield cluster


def _wait_until_ready(url: str, token: str, process: subprocess.Popen[bytes], log: Path) -> None:
    # The server writes its own certificate at the start, so nothing can be verified before it is ready.
    context = ssl._create_unverified_context()
    request = urllib.request.Request(f"{url}/readyz", headers={"Authorization": f"Bearer {token}"})
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(request, context=context, timeout=5):
                return
        except (OSError, urllib.error.HTTPError):
            time.sleep(0.2)
    raise AssertionError(f"the API server did not become ready: {log.read_text(errors='replace')[-2000:]}")


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A Kubernetes API with haipool's CRDs, shared by the test run."""
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    with tempfile.TemporaryDirectory(prefix="haipool-test-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        found = stack.enter_context(_real(Path(assets), folder) if assets else _local(folder))
        found.kubectl("apply", "-k", str(CRDS))
        found.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
        yield found


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    """A namespace of the test's own. Names are never used twice: a real control plane keeps them."""
    name = f"test-{secrets.token_hex(4)}"
    body: dict[str, Any] = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    status, answer = cluster.request("POST", "/api/v1/namespaces", body)
    assert status == 201, answer
    yield name
    # What waits for finalizers stays, and the namespace with it.
    status, answer = cluster.request("DELETE", f"/api/v1/namespaces/{name}")
    assert status in {200, 404, 409}, answer
