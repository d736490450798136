"""`haipool dispatcher --api-keys FILE`: users behind one address, and a file that changes while it runs."""

import hashlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

pytestmark = pytest.mark.processes

Launch = Callable[..., Awaitable[Any]]
Start = Callable[[], Awaitable[Any]]


def line(name: str, key: str) -> str:
    return f"{name}: {hashlib.sha256(key.encode()).hexdigest()}\n"


async def user(dispatcher: Any, key: str) -> str:
    """Whom a task with this key is counted for."""
    status, headers, _ = await dispatcher.task(headers={"Authorization": f"Bearer {key}"})
    assert status == 200
    return str(headers["X-Haipool-User"]).rpartition("_")[0]


async def test_keys_follow_the_file_and_a_bad_one_changes_nothing(
    launch: Launch, gpu_server: Start, tmp_path: Path
) -> None:
    gpu = await gpu_server()
    for _ in range(1000):
        gpu.go.release()
    servers, keys = tmp_path / "servers.yaml", tmp_path / "keys"
    servers.write_text(yaml.safe_dump({"servers": [{"name": "gpu-0", "address": gpu.url}]}))
    keys.write_text(line("alice", "key-of-alice"))
    dispatcher = await launch("--servers-file", str(servers), "--api-keys", str(keys))
    await dispatcher.listening()
    assert await user(dispatcher, "key-of-alice") == "user_127.0.0.1+alice"
    assert await user(dispatcher, "key-of-bob") == "user_127.0.0.1"

    keys.write_text(line("alice", "key-of-alice") + line("bob", "key-of-bob"))

    async def bob_is_known() -> bool:
        return await user(dispatcher, "key-of-bob") == "user_127.0.0.1+bob"

    await dispatcher.until(bob_is_known)

    keys.write_text("alice: key-of-alice\n")

    async def told() -> bool:
        return any("the last good API keys stay in force" in said for said in dispatcher.lines)

    await dispatcher.until(told)
    assert await user(dispatcher, "key-of-alice") == "user_127.0.0.1+alice"
    assert "key-of-" not in "\n".join(dispatcher.lines), "a key must never be in the log"


async def test_a_key_file_that_does_not_fit_is_one_line_and_an_exit_status(launch: Launch, tmp_path: Path) -> None:
    servers, keys = tmp_path / "servers.yaml", tmp_path / "keys"
    servers.write_text("servers: []\n")
    keys.write_text("alice: s3cret\n")
    dispatcher = await launch("--servers-file", str(servers), "--api-keys", str(keys))
    assert await dispatcher.ends() == 1
    (said,) = dispatcher.lines
    assert f"API keys {keys}: line 1: write NAME: SHA256" in said
    assert "s3cret" not in said
