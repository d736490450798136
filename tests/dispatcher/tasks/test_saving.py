"""Asynchronous tasks and saved traffic: stored as its sender accepts it, sent as who fetches it does."""

import base64
import gzip
import json
from typing import Any

from aiohttp import web

from tests.dispatcher.saving.pictures import encoded, opened, picture

DOCUMENT = json.dumps({"images": ["iVBORw0KGgo" + "A" * 400_000]}).encode()


async def serve(request: web.Request) -> web.Response:
    headers = {"Content-Type": "application/json", "X-Asked": request.headers.get("Accept-Encoding", "")}
    if "gzip" in headers["X-Asked"]:
        return web.Response(body=gzip.compress(DOCUMENT), headers=headers | {"Content-Encoding": "gzip"})
    return web.Response(body=DOCUMENT, headers=headers)


async def test_the_server_compresses_and_the_store_gets_the_content(bench: Any, desk: Any) -> None:
    bench.spec(level="Optimize")
    await bench.upstream(serve)
    where = await desk.hand_in(headers={"Accept-Encoding": "identity"})
    await desk.until(where, "succeeded")
    answer = await desk.get(f"{where}/result", headers={"Accept-Encoding": "gzip"})
    assert (answer.body, answer.headers["X-Asked"]) == (DOCUMENT, "gzip")
    assert answer.headers["Content-Length"] == str(len(DOCUMENT))
    assert "Content-Encoding" not in answer.headers


async def test_a_result_is_compressed_for_whoever_fetches_it_and_accepts_that(bench: Any, desk: Any) -> None:
    bench.spec(traffic={"optimization": {"compression": {"toClients": "Always"}}})
    await bench.upstream(serve)
    where = await desk.hand_in(headers={"Accept-Encoding": "identity"})
    await desk.until(where, "succeeded")
    plain = await desk.get(f"{where}/result", headers={"Accept-Encoding": "identity"})
    assert (plain.body, plain.headers["Content-Length"]) == (DOCUMENT, str(len(DOCUMENT)))
    packed = await desk.get(f"{where}/result", headers={"Accept-Encoding": "gzip"})
    assert gzip.decompress(packed.body) == DOCUMENT
    assert (packed.headers["Content-Encoding"], packed.headers["Vary"]) == ("gzip", "Accept-Encoding")
    head = await desk.get(f"{where}/result", "HEAD", headers={"Accept-Encoding": "gzip"})
    assert (head.headers["Content-Encoding"], head.body) == ("gzip", b"")


async def test_broken_gzip_is_a_lost_server_and_another_one_may_do_better(bench: Any, desk: Any) -> None:
    bench.spec(level="Optimize", queue={"routes": [{"name": "run", "pathPrefix": "/run", "idempotent": True}]})
    tries = []

    async def broken_once(request: web.Request) -> web.Response:
        tries.append(1)
        packed = gzip.compress(DOCUMENT)
        return web.Response(body=packed[:-9] if len(tries) == 1 else packed, headers={"Content-Encoding": "gzip"})

    await bench.upstream(broken_once)
    await bench.upstream(broken_once, "demo-2")
    where = await desk.hand_in(headers={"Accept-Encoding": "identity"})
    await desk.until(where, "succeeded")
    assert (await desk.get(f"{where}/result")).body == DOCUMENT
    assert len(tries) == 2


async def test_images_are_re_encoded_before_they_are_kept(bench: Any, desk: Any) -> None:
    picture_, document = picture(256), {"level": "Always", "inJSON": True, "timeoutSeconds": 100}
    bench.spec(traffic={"optimization": {"reencode": document}})

    async def paint(request: web.Request) -> web.Response:
        if request.path == "/run":
            return web.Response(body=picture_, content_type="image/png")
        return web.json_response({"images": [encoded(picture_)]})

    await bench.upstream(paint)
    for path in ("/run", "/json"):
        where = await desk.hand_in(path=path, headers={"Accept": "*/*"})
        await desk.until(where, "succeeded")
        answer = await desk.get(f"{where}/result")
        assert answer.headers["X-Haipool-Reencoded"] == "webp"
        assert answer.headers["Content-Length"] == str(len(answer.body))
        image = answer.body if path == "/run" else base64.b64decode(json.loads(answer.body)["images"][0])
        assert opened(image).format == "WEBP"


async def test_an_answer_that_is_too_large_to_keep_is_refused_as_ever(bench: Any, desk: Any) -> None:
    reencode = {"level": "Always", "maxPixels": 1}
    bench.spec(traffic={"optimization": {"reencode": reencode}}, queue={"asyncTasks": {"maxResultBytes": 1024}})

    async def paint(request: web.Request) -> web.Response:
        return web.Response(body=picture(256), content_type="image/png")

    await bench.upstream(paint)
    where = await desk.hand_in()
    document = await desk.until(where, "failed")
    assert document["failure"]["title"] == "Answer too large"
