"""Images re-encoded on their way, over real sockets, by real worker processes."""

import asyncio
import base64
import contextlib
import gzip
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from controller.dispatcher.saving import workers
from tests.dispatcher.saving.pictures import encoded, opened, picture
from tests.dispatcher.services.a1111 import A1111

PICTURE = picture(256)
PNG_HEADERS = {"Content-Type": "image/png", "ETag": '"abc"', "Accept-Ranges": "bytes"}


@pytest.fixture
def reencode(bench: Any) -> Callable[..., None]:
    """Switches re-encoding on, and everything else off."""

    def switch(*, compression: Any = None, **settings: Any) -> None:
        optimization = {
            "reencode": {"level": "Always", "timeoutSeconds": 100} | settings,
            "compression": {"fromServers": "Never"},
        }
        bench.spec(traffic={"optimization": optimization | ({"compression": compression} if compression else {})})

    return switch


def outcomes(bench: Any) -> dict[str, float]:
    """How often each outcome was counted, where it was."""
    return {
        sample.labels["outcome"]: sample.value
        for family in bench.state.metrics.reencoded.collect()
        for sample in family.samples
        if sample.name.endswith("_total") and sample.value
    }


def children() -> set[int]:
    """Worker processes of this process."""
    found = set()
    for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text(encoding="ascii").split():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended since
            if b"imageworker" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.add(int(pid))
    return found


async def serve_picture(request: web.Request) -> web.Response:
    await request.read()
    return web.Response(body=PICTURE, headers=PNG_HEADERS)


@pytest.fixture(params=["GET", "POST"])
def method(request: pytest.FixtureRequest) -> str:
    """Passed through, and a task."""
    return str(request.param)


@pytest.mark.parametrize(("kind", "mime"), [("WebP", "image/webp"), ("JPEG", "image/jpeg")])
async def test_a_picture_goes_on_in_fewer_bytes(bench: Any, reencode: Any, method: str, kind: str, mime: str) -> None:
    reencode(format=kind)
    await bench.upstream(serve_picture)
    answer = await bench.send(method=method, headers={"Accept": "image/*"})
    assert opened(answer.body).format == kind.upper()
    assert answer.headers["Content-Type"] == mime
    assert answer.headers["Content-Length"] == str(len(answer.body))
    assert answer.headers["X-Haipool-Reencoded"] == kind.lower()
    assert (answer.headers["ETag"], answer.headers["Vary"]) == ('W/"abc"', "Accept")
    assert "Accept-Ranges" not in answer.headers
    saved = bench.state.metrics.registry.get_sample_value("haipool_saved_bytes_total", {"by": "reencoding"})
    assert saved == len(PICTURE) - len(answer.body)
    assert outcomes(bench) == {"smaller": 1}


@pytest.mark.parametrize(
    ("accept", "taken"),
    [
        (None, True),
        ("*/*", True),
        ("image/*", True),
        ("text/html, image/webp;q=0.1", True),
        ("image/png", False),
        ("image/png, */*;q=0", False),
        ("image/*, image/webp;q=0", False),
        ("image/webp;q=0, */*", False),
    ],
)
async def test_only_who_accepts_it_gets_another_format(
    bench: Any, reencode: Any, accept: str | None, taken: bool
) -> None:
    reencode()
    await bench.upstream(serve_picture)
    answer = await bench.send(headers={"Accept": accept} if accept else {}, skip_auto_headers=("Accept",))
    assert (opened(answer.body).format == "WEBP") is taken
    assert answer.headers["Vary"] == "Accept"
    if not taken:
        assert (answer.body, answer.headers["ETag"]) == (PICTURE, '"abc"')


@pytest.mark.parametrize(
    "answer",
    [
        {"headers": {"Cache-Control": "no-transform"}},
        {"headers": {"Content-Digest": "sha-256=:AAAA:"}},
        {"headers": {"Content-Range": "bytes 0-9/10"}, "status": 206},
        {"status": 404},
        {"headers": {"Content-Encoding": "br"}},
        {"headers": {"Content-Type": "image/gif"}},
        {"body": b"x" * 5000},
        {"body": PICTURE[:-100]},
    ],
    ids=["no-transform", "digest", "a part", "an error", "coded", "another format", "no picture", "broken"],
)
async def test_what_must_not_change_does_not(bench: Any, reencode: Any, answer: Any) -> None:
    reencode()
    wanted = {"body": PICTURE} | answer | {"headers": PNG_HEADERS | answer.get("headers", {})}

    async def serve(request: web.Request) -> web.Response:
        return web.Response(**wanted)

    await bench.upstream(serve)
    got = await bench.send()
    assert (got.status, got.body) == (wanted.get("status", 200), wanted["body"])
    assert (got.headers["Content-Type"], got.headers["ETag"]) == (wanted["headers"]["Content-Type"], '"abc"')
    assert "X-Haipool-Reencoded" not in got.headers


async def test_a_client_can_forbid_it(bench: Any, reencode: Any) -> None:
    reencode()
    await bench.upstream(serve_picture)
    assert (await bench.send(headers={"Cache-Control": "no-transform"})).body == PICTURE


@pytest.mark.parametrize("chunked", [False, True], ids=["with a length", "chunked"])
async def test_what_is_too_large_streams_on_as_ever(bench: Any, reencode: Any, chunked: bool) -> None:
    reencode(maxBytes=2048)

    async def serve(request: web.Request) -> web.StreamResponse:
        if not chunked:
            return web.Response(body=PICTURE, headers=PNG_HEADERS)
        response = web.StreamResponse(headers=PNG_HEADERS)
        await response.prepare(request)
        for at in range(0, len(PICTURE), 1500):
            await response.write(PICTURE[at : at + 1500])
        return response

    await bench.upstream(serve)
    answer = await bench.send()
    assert (answer.body, answer.headers["ETag"]) == (PICTURE, '"abc"')
    assert (bench.state.images.held, outcomes(bench)) == (0, {})


async def test_a_picture_of_too_many_pixels_stays(bench: Any, reencode: Any) -> None:
    reencode(maxPixels=255 * 256)
    await bench.upstream(serve_picture)
    assert (await bench.send()).body == PICTURE
    assert outcomes(bench) == {"unchanged": 1}


async def test_the_slot_is_free_while_the_picture_is_made_smaller(bench: Any, reencode: Any) -> None:
    reencode()
    await bench.upstream(serve_picture)
    await bench.send()
    (worker,) = children()
    os.kill(worker, signal.SIGSTOP)
    try:
        sending = asyncio.create_task(bench.send())
        await bench.until(lambda: bench.state.images.held > 0 and bench.in_flight() == 0)
        assert not sending.done()
    finally:
        os.kill(worker, signal.SIGCONT)
    assert opened((await sending).body).format == "WEBP"
    assert bench.state.images.held == 0


# --- inside JSON ------------------------------------------------------------------------------------------------------


class Painter(A1111):
    """The WebUI with pictures of some size."""

    def _encode(self, text: str) -> str:
        return encoded(PICTURE)


async def test_a_webuis_images_are_smaller_and_the_rest_is_the_same(bench: Any, reencode: Any) -> None:
    server = await bench.upstream(_app(webui := Painter()))
    body = json.dumps({"prompt": "a cat", "batch_size": 2})
    before = await bench.send(body, path="/sdapi/v1/txt2img")
    reencode(inJSON=True)
    after = await bench.send(body, path="/sdapi/v1/txt2img", headers={"Accept": "application/json"})
    assert webui.began == ["a cat", "a cat"]
    images = [opened(base64.b64decode(text)) for text in json.loads(after.body)["images"]]
    assert [(image.format, image.size) for image in images] == [("WEBP", (256, 256))] * 2
    assert json.loads(after.body) | {"images": 0} == json.loads(before.body) | {"images": 0}
    assert after.headers["Content-Type"] == before.headers["Content-Type"]
    assert len(after.body) < len(before.body) / 2
    assert server is not None


def _app(webui: A1111) -> Any:
    async def serve(request: web.Request) -> web.StreamResponse:
        body = await request.json()
        return web.json_response(await webui._generate({"steps": 1, "seed": 1, "override_settings": {}} | body))

    return serve


async def test_images_in_json_are_left_alone_unless_the_pool_says_so(bench: Any, reencode: Any) -> None:
    reencode()
    await bench.upstream(_app(Painter()))
    answer = await bench.send(json.dumps({"prompt": "a cat", "batch_size": 1}), path="/sdapi/v1/txt2img")
    assert json.loads(answer.body)["images"] == [encoded(PICTURE)]


@pytest.mark.parametrize("accepts", ["identity", "gzip"])
async def test_compressed_json_is_unpacked_for_it_and_compressed_again(bench: Any, reencode: Any, accepts: str) -> None:
    document = json.dumps({"images": [encoded(PICTURE)], "info": "x" * 2000}).encode()

    async def serve(request: web.Request) -> web.Response:
        assert "gzip" in request.headers["Accept-Encoding"]
        headers = {"Content-Type": "application/json", "Content-Encoding": "gzip", "Vary": "Accept-Encoding"}
        return web.Response(body=gzip.compress(document), headers=headers)

    reencode(inJSON=True, compression={"fromServers": "Always"})
    await bench.upstream(serve)
    answer = await bench.send(headers={"Accept-Encoding": accepts})
    assert answer.headers.get("Content-Encoding") == ("gzip" if accepts == "gzip" else None)
    body = gzip.decompress(answer.body) if accepts == "gzip" else answer.body
    assert opened(base64.b64decode(json.loads(body)["images"][0])).format == "WEBP"


async def test_json_without_images_needs_no_worker(bench: Any, reencode: Any) -> None:
    reencode(inJSON=True)

    async def serve(request: web.Request) -> web.Response:
        return web.json_response({"text": "x" * 5000})

    await bench.upstream(serve)
    assert json.loads((await bench.send()).body) == {"text": "x" * 5000}
    assert (children(), outcomes(bench)) == (set(), {})


# --- when it fails ----------------------------------------------------------------------------------------------------


async def test_a_worker_that_hangs_is_killed_and_the_picture_sent_as_it_is(bench: Any, reencode: Any) -> None:
    reencode()
    await bench.upstream(serve_picture)
    await bench.send()
    (worker,) = children()
    os.kill(worker, signal.SIGSTOP)
    reencode(timeoutSeconds=1)
    assert (await bench.send()).body == PICTURE
    assert outcomes(bench) == {"smaller": 1, "late": 1}
    await bench.until(lambda: worker not in children())


async def test_a_worker_that_ended_is_replaced(bench: Any, reencode: Any) -> None:
    reencode()
    await bench.upstream(serve_picture)
    await bench.send()
    (worker,) = children()
    os.kill(worker, signal.SIGKILL)
    assert opened((await bench.send()).body).format == "WEBP"
    assert children() != {worker}
    assert outcomes(bench) == {"smaller": 2}


async def test_a_worker_has_so_much_memory_and_no_more(
    bench: Any, reencode: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A picture within the pixel limit whose decoding takes more memory than there is: it is sent as it is."""
    monkeypatch.setattr(workers, "BASE_BYTES", 90 * 1024 * 1024)
    monkeypatch.setattr(workers, "BYTES_PER_PIXEL", 0)
    monkeypatch.setattr(workers, "BYTES_PER_BYTE", 0)
    large = picture(4000, "L")
    reencode()

    async def serve(request: web.Request) -> web.Response:
        return web.Response(body=large, headers=PNG_HEADERS)

    await bench.upstream(serve)
    assert (await bench.send()).body == large
    assert outcomes(bench).keys() <= {"unchanged", "failed"}
    assert outcomes(bench)


async def test_without_the_library_all_goes_on_as_it_is(
    bench: Any, reencode: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    reencode()
    await bench.upstream(serve_picture)
    for _ in range(2):
        assert (await bench.send()).body == PICTURE
    assert outcomes(bench) == {"unavailable": 2}
    assert caplog.text.count("install haipool[reencode]") == 1


async def test_other_settings_are_other_workers(bench: Any, reencode: Any) -> None:
    await bench.upstream(serve_picture)
    reencode(quality=95)
    fine = await bench.send()
    reencode(quality=10)
    coarse = await bench.send()
    assert len(coarse.body) < len(fine.body)


async def test_many_at_a_time_are_all_served(bench: Any, reencode: Any) -> None:
    reencode()
    await bench.upstream(serve_picture, slots=8)
    answers = await asyncio.gather(*(bench.send(of=f"127.0.0.{n}") for n in range(2, 10)))
    assert {opened(answer.body).format for answer in answers} == {"WEBP"}
    assert len(children()) <= workers.WORKERS


async def test_held_answers_have_a_limit_in_all(bench: Any, reencode: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "HELD_BYTES", 1000)
    reencode()
    await bench.upstream(serve_picture)
    assert (await bench.send()).body == PICTURE
    assert bench.state.images.held == 0


@pytest.fixture(autouse=True)
def none_left() -> Iterator[None]:
    """No worker outlives its dispatcher."""
    yield
    assert not children()
