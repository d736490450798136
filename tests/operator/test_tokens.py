"""The operator reads a dispatcher whose admin port asks for a token, and says what is wrong when it cannot."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiohttp import web

from controller.api.gpupool import GpuPool
from controller.api.model import read
from controller.kube.client import KubeClient
from controller.kube.connect import load
from controller.operator.scrape import Scraper
from controller.operator.tokens import KEPT_SECONDS, SECRETS, TokenError, Tokens


@pytest.fixture
async def kube(cluster: Any) -> AsyncIterator[KubeClient]:
    client = KubeClient(load(str(cluster.kubeconfig)))
    yield client
    await client.close()


@pytest.fixture
def pool(namespace: str) -> Callable[..., GpuPool]:
    def make(**metrics: Any) -> GpuPool:
        return read(GpuPool, {"metadata": {"name": "a", "namespace": namespace}, "spec": {"metrics": metrics}})

    return make


async def keep(kube: KubeClient, namespace: str, **values: str) -> None:
    """A Secret named `admin`."""
    body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "admin"}, "stringData": values}
    await kube.create(SECRETS, body, namespace=namespace)


async def test_a_pool_that_names_no_secret_has_no_token(kube: KubeClient, pool: Any) -> None:
    assert await Tokens(kube, lambda: 0.0).of(pool()) is None


async def test_the_token_is_the_secrets_value(kube: KubeClient, namespace: str, pool: Any) -> None:
    await keep(kube, namespace, token="s3cret\n", other="another")
    tokens = Tokens(kube, lambda: 0.0)
    assert await tokens.of(pool(tokenSecret={"name": "admin"})) == "s3cret"
    assert await tokens.of(pool(tokenSecret={"name": "admin", "key": "other"})) == "another"


async def test_a_replaced_token_is_read_after_a_while(kube: KubeClient, namespace: str, pool: Any) -> None:
    await keep(kube, namespace, token="old")
    now = [0.0]
    tokens = Tokens(kube, lambda: now[0])
    wanted = pool(tokenSecret={"name": "admin"})
    assert await tokens.of(wanted) == "old"
    await kube.patch(SECRETS, "admin", {"stringData": {"token": "new"}}, namespace=namespace)
    now[0] = KEPT_SECONDS - 1
    assert await tokens.of(wanted) == "old"
    now[0] = KEPT_SECONDS
    assert await tokens.of(wanted) == "new"


@pytest.mark.parametrize(
    ("values", "said"),
    [(None, "cannot be read"), ({"other": "x"}, "has no key token"), ({"token": ""}, "is no token"),
     ({"token": "a\nb"}, "is no token"), ({"token": "密"}, "is no token")],
)  # fmt: skip
async def test_what_is_wrong_with_it_is_said_by_name(
    kube: KubeClient, namespace: str, pool: Any, values: dict[str, str] | None, said: str
) -> None:
    if values is not None:
        await keep(kube, namespace, **values)
    with pytest.raises(TokenError, match=f"metrics.tokenSecret: Secret {namespace}/admin.*{said}"):
        await Tokens(kube, lambda: 0.0).of(pool(tokenSecret={"name": "admin"}))


async def test_it_is_sent_and_a_wrong_one_is_a_failed_scrape(kube: KubeClient, namespace: str, pool: Any) -> None:
    await keep(kube, namespace, token="s3cret")
    seen = []

    async def answer(request: web.Request) -> web.Response:
        seen.append(request.headers.get("Authorization"))
        return web.Response(status=401)

    app = web.Application()
    app.router.add_get("/metrics", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/metrics"
    scraper = Scraper(lambda: 0.0, tokens=Tokens(kube, lambda: 0.0))
    try:
        wrong = await scraper.scrape(pool(urls=[url], tokenSecret={"name": "admin"}))
        missing = await scraper.scrape(pool(urls=[url], tokenSecret={"name": "none"}))
    finally:
        await scraper.close()
        await runner.cleanup()
    assert seen == ["Bearer s3cret"]
    assert "tokenSecret" in wrong.failed[0][1]
    assert "cannot be read" in missing.failed[0][1]
