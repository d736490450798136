"""The admin port's bearer token: asked for by everything but the probes, and replaced while the process runs."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from controller.dispatcher.admin import AdminToken, make_admin

PROTECTED = ["/metrics", "/-/queue", "/-/nothing"]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text("s3cret\n")
    return path


@pytest.fixture
async def admin(bench: Any, file: Path) -> AsyncIterator[aiohttp.ClientSession]:
    """A client of an admin port that asks for the token."""
    runner = web.AppRunner(make_admin(bench.state, AdminToken(file)), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with aiohttp.ClientSession(f"http://127.0.0.1:{runner.addresses[0][1]}") as session:
        yield session
    await runner.cleanup()


def replace(file: Path, content: str | None) -> None:
    if content is None:
        file.unlink()
    else:
        file.write_text(content)


async def status(admin: aiohttp.ClientSession, path: str, authorization: str | None = None) -> int:
    headers = {} if authorization is None else {"Authorization": authorization}
    async with admin.get(path, headers=headers) as answer:
        if answer.status == 401:
            assert answer.headers["WWW-Authenticate"].startswith("Bearer")
            assert answer.content_type == "application/problem+json"
            assert "s3cret" not in await answer.text()
        return answer.status


@pytest.mark.parametrize("path", PROTECTED)
@pytest.mark.parametrize(
    "authorization",
    [None, "", "Bearer", "Bearer ", "Bearer wrong", "Bearer s3cret2", "Basic s3cret", "s3cret", "Bearer s3crét"],
)
async def test_without_the_token_nothing_is_told(
    admin: aiohttp.ClientSession, path: str, authorization: str | None
) -> None:
    assert await status(admin, path, authorization) == 401


@pytest.mark.parametrize("authorization", ["Bearer s3cret", "bearer s3cret", "Bearer  s3cret"])
async def test_with_the_token_everything_is(admin: aiohttp.ClientSession, authorization: str) -> None:
    assert [await status(admin, path, authorization) for path in PROTECTED] == [200, 200, 404]


async def test_the_probes_ask_for_none(admin: aiohttp.ClientSession) -> None:
    assert await status(admin, "/-/healthy") == 200
    assert await status(admin, "/-/ready") == 200


async def test_a_replaced_token_counts_at_once(admin: aiohttp.ClientSession, file: Path) -> None:
    replace(file, "another")
    assert await status(admin, "/metrics", "Bearer s3cret") == 401
    assert await status(admin, "/metrics", "Bearer another") == 200


@pytest.mark.parametrize("content", [None, "", " \n"])
async def test_a_token_that_vanishes_opens_nothing(
    admin: aiohttp.ClientSession, file: Path, content: str | None
) -> None:
    replace(file, content)
    assert await status(admin, "/metrics", "Bearer ") == 503


@pytest.mark.parametrize("content", [None, "", "\n"])
def test_a_start_without_a_token_is_refused_by_name(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "token"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ValueError, match=r"--admin-token-file .*token"):
        AdminToken(path)
