"""Bodies: in memory while they are small and few, else on disk; whole each time they are sent; gone at the end."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp.base_protocol import BaseProtocol
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.dispatcher import files as module
from controller.dispatcher.spool import MEMORY_BYTES, Body, BodyTooLargeError, Spool, SpoolError


def content(*chunks: bytes) -> aiohttp.StreamReader:
    """A request's content as it comes from a socket."""
    loop = asyncio.get_running_loop()
    reader = aiohttp.StreamReader(BaseProtocol(loop), 2**30, loop=loop)
    for chunk in chunks:
        reader.feed_data(chunk)
    reader.feed_eof()
    return reader


async def whole(body: Body) -> bytes:
    payload = body.payload()
    return payload if isinstance(payload, bytes) else b"".join([chunk async for chunk in payload])


def open_files(folder: Path) -> list[str]:
    """Files of the folder that this process has open; the spool's have no name."""
    found = []
    for link in Path("/proc/self/fd").iterdir():
        try:
            target = str(link.readlink())
        except FileNotFoundError:
            continue  # the descriptor that listed the folder
        if target.startswith(str(folder)):
            found.append(target)
    return found


async def test_a_small_body_stays_in_memory(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    body = await spool.receive(content(b"a prompt"), limit=1000)
    assert await whole(body) == b"a prompt"
    assert (spool.in_memory, open_files(tmp_path)) == (8, [])
    body.close()
    assert spool.in_memory == 0


async def test_a_large_body_goes_to_disk_and_comes_back_whole_as_often_as_asked(tmp_path: Path) -> None:
    spool, sent = Spool(tmp_path), os.urandom(MEMORY_BYTES + 700_001)
    body = await spool.receive(content(sent[:1000], sent[1000:]), limit=len(sent))
    assert body.size == len(sent)
    assert spool.in_memory == 0
    assert [await whole(body) == sent for _ in range(2)] == [True, True]
    assert len(open_files(tmp_path)) == 1
    body.close()
    assert open_files(tmp_path) == []


async def test_many_small_bodies_do_not_fill_the_memory(tmp_path: Path) -> None:
    spool = Spool(tmp_path, memory_limit=1000)
    bodies = [await spool.receive(content(bytes([n]) * 400), limit=1000) for n in range(4)]
    assert spool.in_memory == 800
    assert [await whole(body) for body in bodies] == [bytes([n]) * 400 for n in range(4)]
    for body in bodies:
        body.close()
    assert (spool.in_memory, open_files(tmp_path)) == (0, [])


@pytest.mark.parametrize("memory_limit", [0, 1000])
async def test_a_body_above_the_limit_is_not_taken_and_leaves_nothing(tmp_path: Path, memory_limit: int) -> None:
    spool = Spool(tmp_path, memory_limit=memory_limit)
    with pytest.raises(BodyTooLargeError):
        await spool.receive(content(b"x" * 60, b"x" * 60), limit=100)
    assert (spool.in_memory, open_files(tmp_path)) == (0, [])
    body = await spool.receive(content(b"x" * 100), limit=100)
    body.close()


async def test_a_folder_that_takes_nothing_is_named(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "missing", memory_limit=0)
    with pytest.raises(SpoolError, match="missing"):
        await spool.receive(content(b"x"), limit=10)


async def test_an_attempt_that_was_given_up_does_not_disturb_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The request of the first attempt may still read while the second begins, and after the body is closed."""
    monkeypatch.setattr(module, "CHUNK_BYTES", 10)
    spool, sent = Spool(tmp_path, memory_limit=0), os.urandom(100)
    body = await spool.receive(content(sent), limit=100)
    first = body.payload()
    assert isinstance(first, AsyncIterator)
    assert await anext(first) == sent[:10]
    assert await whole(body) == sent
    assert await anext(first) == sent[10:20]
    body.close()
    assert await anext(first) == sent[20:30]
    await first.aclose()  # type: ignore[attr-defined]
    assert open_files(tmp_path) == []


async def test_a_client_that_leaves_while_its_body_is_written_leaves_no_file(tmp_path: Path) -> None:
    spool = Spool(tmp_path, memory_limit=0)
    for patience in range(6):
        job = asyncio.create_task(spool.receive(content(b"x" * 1000, b"y" * 1000), limit=10_000))
        for _ in range(patience):
            await asyncio.sleep(0)
        job.cancel()
        done, _ = await asyncio.wait([job])
        for task in done:
            if not task.cancelled():
                task.result().close()
    assert open_files(tmp_path) == []


@settings(max_examples=60, deadline=None)
@given(
    chunks=st.lists(st.binary(max_size=300), max_size=8),
    memory_limit=st.sampled_from([0, 100, 10_000]),
    limit=st.sampled_from([0, 400, 10_000]),
)
def test_what_comes_out_is_what_went_in_or_it_was_too_large(
    tmp_path_factory: pytest.TempPathFactory, chunks: list[bytes], memory_limit: int, limit: int
) -> None:
    sent = b"".join(chunks)

    async def through() -> bytes:
        spool = Spool(tmp_path_factory.getbasetemp(), memory_limit=memory_limit)
        body = await spool.receive(content(*chunks), limit=limit)
        try:
            return await whole(body)
        finally:
            body.close()
            assert spool.in_memory == 0

    if len(sent) > limit:
        with pytest.raises(BodyTooLargeError):
            asyncio.run(through())
    else:
        assert asyncio.run(through()) == sent
