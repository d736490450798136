"""No secret in anything that is written or shown, at debug verbosity and in trouble: everything is searched for all.

The secrets are made up for the run, so finding one means that it came from there. Looked for in every form in which it
could have got there: whole, each half, quoted for URLs, in base64 at any alignment, in hex, as Python prints it.
"""

import base64
import hashlib
import json
import secrets
import string
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import aiohttp
import pytest
from aiohttp import web

from controller.api.crd import files
from controller.sandbox.cloudsim import CloudConfig, Key
from controller.sandbox.loopback import free_port

Make = Callable[..., dict[str, Any]]
HOST = "127.0.0.1"
ROOT = Path(__file__).parents[2] / "controller"
#: Shorter pieces would be found by chance.
PIECE = 12


def made_up(*, end: str = "+/=%") -> str:
    """A secret with characters that look different when quoted; valid in an HTTP header."""
    letters = string.ascii_letters + string.digits
    return "".join(secrets.choice(letters) for _ in range(32)) + end


def forms(secret: str) -> Iterator[str]:
    """Every way in which the secret may be spelled."""
    raw, half = secret.encode(), len(secret) // 2
    yield from (secret, secret[:half], secret[half:], quote(secret, safe=""), quote_plus(secret))
    yield from (repr(secret)[1:-1], json.dumps(secret)[1:-1], raw.hex(), raw.hex().upper())
    for offset in range(3):
        # What stands before and after changes the first and the last characters, and nothing between.
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            yield encode(b"-" * offset + raw + b"-" * 3).decode()[4:][: len(raw) * 4 // 3 - 8]


def found(haystack: str, known: dict[str, str]) -> list[str]:
    """The names of the secrets that are in the text, in any form."""
    return [name for name, secret in known.items() if any(f in haystack for f in forms(secret) if len(f) >= PIECE)]


@pytest.mark.parametrize("spell", [
    lambda s: s, lambda s: s[: len(s) // 2], lambda s: s[len(s) // 2 :], lambda s: quote(s, safe=""), repr, json.dumps,
    lambda s: s.encode().hex(), lambda s: base64.b64encode(s.encode()).decode(),
    lambda s: base64.b64encode(b"id:" + s.encode() + b"x").decode(),
    lambda s: base64.urlsafe_b64encode(b"k=" + s.encode()).decode(), lambda s: str({"key": s}),
])  # fmt: skip
def test_a_planted_secret_is_found_in_every_spelling(spell: Callable[[str], str]) -> None:
    planted, other = made_up(), made_up()
    text = f"2026-01-15 ERROR it went wrong: {spell(planted)}; trying again"
    assert found(text, {"planted": planted, "other": other}) == ["planted"]
    assert found("2026-01-15 ERROR it went wrong; trying again", {"planted": planted}) == []


#: Nothing but letters and digits fits into the place that a secret id has in a signature.
KEY = Key(made_up(end=""), made_up())
SECRETS = {
    "the secret id": KEY.secret_id,
    "the secret key": KEY.secret_key,
    "a wrong secret key": made_up(),
    "the scrape token": made_up(),
    "an API key": made_up(),
    "another token of a client": made_up(),
    "a cookie of a client": made_up(),
    "the key of a robot": made_up(),
    "the signing secret of a robot": made_up(),
}


@pytest.fixture
def cloud_config() -> CloudConfig:
    return CloudConfig(keys=(KEY,), deploy_s=0.5, terminate_s=0.3)


async def page(url: str, **headers: str) -> str:
    """An answer, headers and all; empty where nobody listens."""
    try:
        async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as answer:
            return f"{answer.status} {dict(answer.headers)} {await answer.text(errors='replace')}"
    except aiohttp.ClientConnectionError:
        return ""


class Everything:
    """Collects what the processes wrote and showed."""

    def __init__(self, rig: Any, pages: dict[str, dict[str, str]]) -> None:
        self._rig = rig
        self._pages = pages
        self._parts: list[str] = []

    def add(self, text: str) -> None:
        """Something else that was shown."""
        self._parts.append(text)

    async def look(self) -> None:
        """Pages, and objects and events, as they are now."""
        self._parts += [await page(url, **headers) for url, headers in self._pages.items()]
        for kind in ("gpupools", "gpuinstances", "regionpresets", "events", "leases"):
            self._parts.append(await self._rig.kubectl("get", kind, "-o", "json"))
        self._parts.append(await self._rig.kubectl("describe", "gp,gi,rp"))

    def text(self, *folders: Path) -> str:
        """All of it, with logs, records and whatever else was written to files."""
        files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
        return "\n".join([*self._parts, *(path.read_bytes().decode("utf-8", "replace") for path in files)])


async def ask(rig: Any, *, path: str = "/sdapi/v1/txt2img") -> str:
    """A client with secrets of its own; returns the answer, headers and all."""
    headers = {
        "Authorization": f"Bearer {SECRETS['another token of a client']}",
        "X-Api-Key": SECRETS["an API key"],
        "Cookie": f"session={SECRETS['a cookie of a client']}",
    }
    url = f"http://{HOST}:{rig.data_port}{path}"
    async with (
        aiohttp.ClientSession() as session,
        session.post(url, json={"prompt": "x", "seconds": 0.1}, headers=headers) as answer,
    ):
        return f"{answer.status} {dict(answer.headers)} {await answer.text(errors='replace')}"


def quoting(text: str, **options: Any) -> dict[str, Any]:
    """A fault whose message quotes what the request was signed with, as some of Tencent's do."""
    return {"code": text, "message": f"The SecretId {KEY.secret_id} is not valid: {KEY.secret_key}.", **options}


async def parrot(stack: AsyncExitStack) -> str:
    """A receiver of notifications that takes none, and repeats what it was sent; returns its base URL."""

    async def answer(request: web.Request) -> web.Response:
        said = (
            f"{request.raw_path} {request.path_qs} {dict(request.query)} {dict(request.headers)} {await request.text()}"
        )
        return web.json_response({"errcode": 310000, "errmsg": said})

    app = web.Application()
    app.router.add_post("/{path:.*}", answer)
    runner = web.AppRunner(app)
    stack.push_async_callback(runner.cleanup)
    await runner.setup()
    await web.TCPSite(runner, HOST, 0).start()
    return f"http://{HOST}:{runner.addresses[0][1]}"


def robots(base: str) -> tuple[dict[str, str], list[dict[str, Any]]]:
    """The Secret's entries and the pool's destinations: one that repeats, one that is not there, one that is no URL."""
    key, sign = SECRETS["the key of a robot"], SECRETS["the signing secret of a robot"]
    entries = {
        "ding": f"{base}/robot/send?access_token={quote(key, safe='')}",
        "feishu": f"{base}/open-apis/bot/v2/hook/{quote(key, safe='')}",
        "dead": f"http://{HOST}:1/{quote(key, safe='')}?k={quote(key, safe='')}",
        "bad": f"htp:/{key}",
        "sign": sign,
    }
    kinds = {"ding": "DingTalk", "feishu": "Feishu", "dead": "Webhook", "bad": "Webhook"}
    told = [{"name": n, "type": kind, "urlSecret": {"name": "secrets", "key": n}} for n, kind in kinds.items()]
    for one in told[:2]:
        one["signSecret"] = {"name": "secrets", "key": "sign"}
    return entries, told


@dataclass
class Scene:
    """One run with everything that has a secret, and everything it shows."""

    rig: Any
    folder: Path
    private: Path
    everything: Everything
    operator: tuple[str, ...]
    metrics_port: int

    async def start_operator(self, **options: Any) -> Any:
        return await self.rig.start_operator(*self.operator, metrics_port=self.metrics_port, **options)

    async def start_dispatcher(self) -> None:
        files = ("--admin-token-file", str(self.private / "token"), "--api-keys", str(self.private / "keys"))
        shown = ("--logs", str(self.folder / "records"), "--data", str(self.folder / "data"))
        await self.rig.start_dispatcher("-v", *files, *shown)

    async def tells(self, kind: str, name: str, condition: str, text: str) -> None:
        async def told() -> bool:
            return text in (await self.rig.condition(kind, name, condition)).get("message", "")

        await self.rig.until(told, f"{condition} of {name} tells of {text}")
        await self.everything.look()

    async def asks(self, path: str = "/sdapi/v1/txt2img") -> bool:
        """A task of a client with secrets; whether it was done."""
        answer = await ask(self.rig, path=path)
        self.everything.add(answer)
        return answer.startswith("200")


async def scene(rig: Any, folder: Path) -> Scene:
    private = folder.parent / f"{folder.name}-private"
    private.mkdir()
    (private / "token").write_text(SECRETS["the scrape token"])
    digest = hashlib.sha256(SECRETS["an API key"].encode()).hexdigest()
    (private / "keys").write_text(f"alice: {digest}\n")
    metrics_port, liveness_port = free_port(), free_port()
    bearer = {"Authorization": f"Bearer {SECRETS['the scrape token']}"}
    admin = f"http://{HOST}:{rig.admin_port}"
    pages = {
        f"http://{HOST}:{metrics_port}/metrics": dict[str, str](),
        f"http://{HOST}:{liveness_port}/healthz": {},
        **{f"{admin}{path}": bearer for path in ("/metrics", "/-/queue", "/-/ready", "/-/healthy")},
        f"{admin}/metrics?wrong": {"Authorization": "Bearer not-the-token"},
    }
    records = ("--logs", str(folder / "operator-records"))
    operator = ("-v", "--liveness-port", str(liveness_port), "--allow-webhooks-to", "127.0.0.0/8", *records)
    return Scene(rig, folder, private, Everything(rig, pages), operator, metrics_port)


def trouble(rig: Any) -> int:
    """Each sort of failure once, in words that hold the key; returns the one that stays until it is cleared."""
    for action in ("DescribeInstances", "RunInstances", "TerminateInstances"):
        rig.cloud.set_fault("error", **quoting("InternalError", action=action, count=1))
    rig.cloud.set_fault("broken_json", action="DescribeInstances", count=2)
    rig.cloud.set_fault("commit_then_500", action="TerminateInstances", count=1)
    return int(rig.cloud.set_fault("error", **quoting("AuthFailure.SecretIdNotFound", action="DescribeApplications")))


@pytest.mark.processes
@pytest.mark.timeout(180)
async def test_whatever_goes_wrong_no_secret_is_written_or_shown(
    rig: Any, make_pool: Make, make_preset: Make, tmp_path: Path
) -> None:
    on, (entries, destinations) = await scene(rig, tmp_path), robots(await parrot(rig.stack))
    entries["token"] = SECRETS["the scrape token"]
    scrape = {"tokenSecret": {"name": "secrets", "key": "token"}}
    made = make_pool(metrics=scrape, queue={"apiKeyHeader": "X-Api-Key"}, notifications=destinations)
    kept = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "secrets"}, "stringData": entries}
    await rig.apply(kept, make_preset("ap-beijing"), made)
    # A key that is wrong, and then a cloud that quotes the right one while it refuses it.
    wrong = await on.start_operator(secret_key=SECRETS["a wrong secret key"])
    await on.tells("regionpreset", "beijing", "Ready", "AuthFailure.SignatureFailure")
    await wrong.stop()
    refusal = trouble(rig)
    await rig.apply(make_preset("ap-beijing", 2))  # a change is looked at now
    await on.start_operator()
    await on.start_dispatcher()
    await on.tells("regionpreset", "beijing", "Ready", "AuthFailure.SecretIdNotFound")
    for name in ("ding", "feishu", "dead", "bad"):
        await on.tells("gpupool", "pool", "NotificationsDelivered", name)
    rig.cloud.clear_fault(refusal)
    await rig.apply(make_preset("ap-beijing", 3))
    (server,) = await rig.ready(1, seconds=60.0)
    await rig.until(on.asks, "an answer from the server")
    await on.asks("/-/no-such-path")
    await rig.fleet.stop(server["status"]["instanceId"])
    await on.asks()
    await on.everything.look()
    await rig.kubectl("delete", "gpupool", "pool", "--timeout=60s")
    await on.everything.look()
    for child in rig.children.values():
        await child.stop()
    text = on.everything.text(tmp_path)
    # It is the right haystack: what is looked for could have been in it.
    said = ("AuthFailure.SecretIdNotFound", "DEBUG", "OutcomeUnknown", "haipool_leaked", "task_processing", "alice")
    missing = [word for word in (*said, '"type":"alerts"', "310000") if word not in text]
    assert not missing, f"{missing} were to be in what was searched"
    assert found(text, SECRETS) == []
    assert "Signature=" not in text


def test_no_log_in_of_an_instance_is_ever_asked_for_or_kept() -> None:
    """HAI hands out tokens that open an instance to whoever holds them. None is wanted, so none can leak."""
    words = ("ServiceLogin", "LoginSetting", "LoginService", "LoginToken", "JupyterToken")
    sources = [path for path in ROOT.rglob("*.py") if "sandbox" not in path.parts]
    assert len(sources) > 100
    assert [f"{p.name}: {word}" for p in sources for word in words if word in p.read_text(encoding="utf-8")] == []


def test_a_secret_is_read_from_a_secret_or_the_workloads_identity_and_from_nowhere_else() -> None:
    """No option of the command line and no field of a kind takes one: both are shown to everybody."""
    fields = "".join(files().values())
    assert "tokenSecret:" in fields
    for word in ("secretId", "secretKey", "password", "accessKey"):
        assert f" {word}:" not in fields
    options = [path.read_text(encoding="utf-8") for path in (ROOT / "operator", ROOT / "dispatcher")
               for path in path.glob("main.py")]  # fmt: skip
    assert len(options) == 2
    assert "add_argument" in options[0]
    for word in ("secret-id", "secret-key", "password", '"--token"'):
        assert not [text for text in options if word in text]
