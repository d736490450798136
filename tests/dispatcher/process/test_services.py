"""ComfyUI in front of the real process: what its server works on counts until it is done, and an orderly end waits."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp.test_utils import TestServer

from tests.dispatcher.services.comfyui import ComfyUI

pytestmark = pytest.mark.processes

Launch = Callable[..., Awaitable[Any]]

WORKFLOW = {
    "3": {"class_type": "KSampler", "inputs": {"text": "a cat"}},
    "9": {"class_type": "SaveImage", "inputs": {"images": ["3", 0]}},
}


@pytest.fixture
async def comfy() -> AsyncIterator[tuple[ComfyUI, str]]:
    comfy = ComfyUI()
    server = TestServer(comfy.app, host="127.0.0.1")
    await server.start_server()
    yield comfy, f"http://127.0.0.1:{server.port}"
    comfy.gpu.release()
    await server.close()


async def launched(launch: Launch, folder: Path, address: str, *arguments: str) -> Any:
    path = folder / "servers.yaml"
    servers = [{"name": "gpu-0", "address": address}]
    spec = {"queue": {"routeSet": "ComfyUI", "fairness": "Seconds"}, "server": {"healthPath": "/system_stats"}}
    path.write_text(yaml.safe_dump({"servers": servers, "spec": spec}), encoding="utf-8")
    dispatcher = await launch("--servers-file", str(path), *arguments)
    await dispatcher.listening()
    return dispatcher


async def prompt(dispatcher: Any) -> str:
    async with dispatcher.http.post(dispatcher.ports["data"] + "/prompt", json={"prompt": WORKFLOW}) as answer:
        assert answer.status == 200
        return str((await answer.json())["prompt_id"])


async def test_on_sigterm_a_workflow_whose_client_has_its_answer_is_waited_for(
    launch: Launch, comfy: tuple[ComfyUI, str], tmp_path: Path
) -> None:
    server, address = comfy
    server.gpu.hold()
    dispatcher = await launched(launch, tmp_path, address)
    await prompt(dispatcher)
    assert await dispatcher.figure('haipool_server_tasks{server="gpu-0"}') == 1
    dispatcher.terminate()
    looks = server.looks
    while server.looks < looks + 4:  # noqa: ASYNC110 - counted by another process's requests
        await asyncio.sleep(0.02)
    assert await dispatcher.figure('haipool_server_tasks{server="gpu-0"}') == 1
    assert dispatcher.process.returncode is None
    server.gpu.release()
    assert await dispatcher.ends() == 0
    assert len(server.history) == 1


async def test_the_grace_is_the_longest_that_it_is_waited_for(
    launch: Launch, comfy: tuple[ComfyUI, str], tmp_path: Path
) -> None:
    server, address = comfy
    server.gpu.hold()
    dispatcher = await launched(launch, tmp_path, address, "--grace", "0.2")
    await prompt(dispatcher)
    dispatcher.terminate()
    assert await dispatcher.ends() == 0
    said = "\n".join(dispatcher.lines)
    assert "1 tasks did not end in time" in said
    assert "Traceback" not in said
