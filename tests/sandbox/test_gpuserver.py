"""Simulated GPU servers over real sockets."""

import asyncio
import socket
from collections.abc import AsyncIterator

import aiohttp
import pytest
import pytest_asyncio

from controller.sandbox import png
from controller.sandbox.gpuserver import Behaviour, Fleet

ADDRESS = "127.0.0.1"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((ADDRESS, 0))
        return int(probe.getsockname()[1])


@pytest_asyncio.fixture
async def fleet() -> AsyncIterator[Fleet]:
    fleet = Fleet(Behaviour(port=_free_port(), task_seconds=0.01, boot_seconds=0.0, speeds={"4XL": 100.0}))
    yield fleet
    await fleet.close()


@pytest_asyncio.fixture
async def client(fleet: Fleet) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(f"http://{ADDRESS}:{fleet.behaviour.port}") as session:
        yield session


async def test_a_started_server_is_healthy_and_says_which_instance_it_is(
    fleet: Fleet, client: aiohttp.ClientSession
) -> None:
    await fleet.start("hai-1", "XL", ADDRESS)
    async with client.get("/") as response:
        assert response.status == 200
        assert "hai-1" in await response.text()


async def test_a_booting_server_is_not_healthy_yet_and_takes_no_task() -> None:
    fleet = Fleet(Behaviour(port=_free_port(), boot_seconds=3600.0))
    await fleet.start("hai-1", "XL", ADDRESS)
    async with aiohttp.ClientSession(f"http://{ADDRESS}:{fleet.behaviour.port}") as client:
        for method in ("GET", "POST"):
            async with client.request(method, "/") as response:
                assert response.status == 503
    await fleet.close()


@pytest.mark.parametrize("path", ["/", "/sdapi/v1/txt2img", "/any/where"])
async def test_any_post_returns_a_png_of_its_prompt(fleet: Fleet, client: aiohttp.ClientSession, path: str) -> None:
    await fleet.start("hai-1", "XL", ADDRESS)
    async with client.post(path, json={"prompt": "a cat", "seconds": 0}) as response:
        assert response.content_type == "image/png"
        assert response.headers["X-Gpu-Instance"] == "hai-1"
        assert png.read(await response.read()).text == {"parameters": "a cat"}


async def test_a_body_that_is_not_json_is_its_own_prompt(fleet: Fleet, client: aiohttp.ClientSession) -> None:
    await fleet.start("hai-1", "XL", ADDRESS)
    async with client.post("/", data=b"a dog") as response:
        assert png.read(await response.read()).text == {"parameters": "a dog"}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ('{"seconds": -1}', "seconds"),
        ('{"seconds": 601}', "seconds"),
        ('{"seconds": "long"}', "seconds"),
        ('{"seconds": true}', "seconds"),
        ('{"prompt": 5}', "prompt"),
        ('{"prompt": ', "JSON"),
    ],
)
async def test_a_wrong_body_is_a_problem_that_names_the_field(
    fleet: Fleet, client: aiohttp.ClientSession, body: str, field: str
) -> None:
    await fleet.start("hai-1", "XL", ADDRESS)
    async with client.post("/", data=body) as response:
        assert response.status == 422
        assert response.content_type == "application/problem+json"
        problem = await response.json()
    assert field in problem["detail"]
    assert fleet.counters["hai-1"].served == 0


async def test_one_gpu_computes_one_task_at_a_time_and_counts_what_it_did(
    fleet: Fleet, client: aiohttp.ClientSession
) -> None:
    """Four tasks of 0.05 s at once: GPU time adds up, and the four were seen at the server together."""
    await fleet.start("hai-1", "XL", ADDRESS)

    async def one() -> None:
        async with client.post("/", json={"seconds": 0.05}) as response:
            assert response.status == 200

    loop = asyncio.get_running_loop()
    began = loop.time()
    await asyncio.gather(*(one() for _ in range(4)))
    counters = fleet.counters["hai-1"]
    assert counters.served == 4
    assert counters.max_in_flight == 4
    assert counters.in_flight == 0
    assert 0.2 <= counters.busy_seconds <= loop.time() - began


async def test_a_faster_bundle_needs_less_gpu_time(fleet: Fleet, client: aiohttp.ClientSession) -> None:
    await fleet.start("hai-1", "4XL", ADDRESS)
    async with client.post("/", json={"seconds": 10}, timeout=aiohttp.ClientTimeout(20)) as response:
        assert response.status == 200
    assert fleet.counters["hai-1"].busy_seconds >= 0.1


async def test_a_client_that_goes_away_frees_the_gpu(fleet: Fleet, client: aiohttp.ClientSession) -> None:
    await fleet.start("hai-1", "XL", ADDRESS)
    with pytest.raises(TimeoutError):
        await client.post("/", json={"seconds": 600}, timeout=aiohttp.ClientTimeout(0.1))
    async with client.post("/", json={"seconds": 0}) as response:
        assert response.status == 200
    assert fleet.counters["hai-1"].cut == 1


async def test_a_destroyed_instance_cuts_its_connections_and_closes_its_port(
    fleet: Fleet, client: aiohttp.ClientSession
) -> None:
    await fleet.start("hai-1", "XL", ADDRESS)
    counters = fleet.counters["hai-1"]
    running = asyncio.create_task(client.post("/", json={"seconds": 600}))
    while counters.in_flight == 0:
        async with client.get("/") as response:
            assert response.status == 200
    await fleet.stop("hai-1")
    with pytest.raises(aiohttp.ClientError):
        await running
    with pytest.raises(aiohttp.ClientConnectorError):
        await client.get("/")
    assert (counters.in_flight, counters.cut, counters.served) == (0, 1, 0)


async def test_the_address_of_a_destroyed_instance_can_be_given_to_another(
    fleet: Fleet, client: aiohttp.ClientSession
) -> None:
    await fleet.start("hai-1", "XL", ADDRESS)
    await fleet.stop("hai-1")
    await fleet.start("hai-2", "XL", ADDRESS)
    async with client.get("/") as response:
        assert "hai-2" in await response.text()
    assert set(fleet.counters) == {"hai-1", "hai-2"}


async def test_two_instances_cannot_have_one_address(fleet: Fleet) -> None:
    await fleet.start("hai-1", "XL", ADDRESS)
    with pytest.raises(OSError, match="address already in use"):
        await fleet.start("hai-2", "XL", ADDRESS)


async def test_metrics_show_the_counters(fleet: Fleet, client: aiohttp.ClientSession) -> None:
    await fleet.start("hai-1", "XL", ADDRESS)
    async with client.post("/", json={}) as response:
        assert response.status == 200
    async with client.get("/metrics") as response:
        assert "gpu_tasks_served_total 1" in await response.text()


async def test_its_settings_are_those_of_the_webui_and_its_bytes_are_counted(
    fleet: Fleet, client: aiohttp.ClientSession
) -> None:
    await fleet.start("hai-1", "XL", ADDRESS)
    sent = 0
    async with client.post("/sdapi/v1/options", json={"samples_format": "webp"}) as response:
        assert (response.status, await response.text()) == (200, "null")
        sent += 4
    async with client.get("/sdapi/v1/options") as response:
        text = await response.read()
        sent += len(text)
    assert fleet.options("hai-1") == {"samples_format": "webp", "jpeg_quality": 80}
    for body, status in ((b'{"sample_format": "webp"}', 422), (b"[]", 422), (b"{", 422)):
        async with client.post("/sdapi/v1/options", data=body) as response:
            assert response.status == status
            sent += len(await response.read())
    async with client.post("/sdapi/v1/txt2img", json={"prompt": "a cat"}) as response:
        sent += len(await response.read())
    assert fleet.bytes_sent("hai-1") == sent
    await fleet.stop("hai-1")
    assert (fleet.bytes_sent("hai-1"), fleet.bytes_sent("hai-2")) == (sent, 0)
