"""The last evening of a month: traffic goes through every level and over the month's end, and all books agree.

The story is told once (`story` of `monthend`: a real operator, its clock moved by hand); each test reads what it left
behind: statuses, metrics, notifications, the four logs, the simulated CLS, and the account's own ledger.
"""

import asyncio
import json
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest
from jsonschema import Draft202012Validator, FormatChecker

from controller.cloud.tencent.cls import ClsTopic
from controller.operator.objects import INSTANCES
from controller.sandbox.cloudsim import SANDBOX_TOPIC, SANDBOX_TOPIC_REGION, Bill, CloudConfig, StoredLog
from controller.scaling.periods import DAY, HOUR, MONTH
from controller.shipper.offsets import Offsets
from controller.shipper.ship import Shipper, Tally
from tests.operator.monthend import DOMAIN, IN_DEFAULT, Story, apply, running, settings_of, story
from tests.shipper.conftest import Folder, arrived

pytestmark = [pytest.mark.ledger, pytest.mark.processes]

SCHEMAS: Final = Path(__file__).parents[2] / "docs" / "schemas"
TYPES: Final = ("task_processing", "server_status", "cost_traffic", "alerts")
#: 20:00 on June 30th in Beijing, and the begin of July there.
EVENING: Final = datetime(2026, 6, 30, 12, tzinfo=UTC).timestamp()
JULY: Final = datetime(2026, 6, 30, 16, tzinfo=UTC).timestamp()
#: July 2nd, 6:00 in Beijing: the bill of June 30th can be compared.
COMPARED: Final = JULY + 30 * 3600.0
BYTE: Final = 1e-9
HALF_A_CENT: Final = 0.005
CDN: Final = f"https://{DOMAIN}"
LEVELS: Final = ("Normal", "Optimize", "Warning", "Critical", "Emergency")
#: What the WebUI encodes with, as (samples_format, jpeg_quality), before anything and from each level on.
PLAIN, OPTIMIZED, STRONGER = ("png", 80), ("webp", 80), ("webp", 60)


@dataclass(frozen=True)
class Moment:
    """What everybody says at one moment."""

    status: dict[str, Any]
    condition: tuple[str, str]
    metrics: dict[str, float]
    #: Settings of every WebUI that runs.
    webuis: dict[str, tuple[str, int]]
    #: What notifications said of the quota until then.
    told: list[tuple[str, str]]
    #: GB that the account has counted for all instances, destroyed ones included, and what they cost.
    counted: float
    bills: tuple[Bill, ...]
    cdn: str
    #: The image of a task that was sent then.
    image: bytes


@dataclass
class Evidence:
    """What the story left behind."""

    folder: Path
    moments: dict[str, Moment] = field(default_factory=dict)
    destroyed: dict[str, Any] = field(default_factory=dict)
    #: (reason, message) of the events about the quota, by their UID; the API forgets them after an hour.
    events: dict[str, tuple[str, str]] = field(default_factory=dict)
    shipped: tuple[StoredLog, ...] = ()
    tally: Tally = field(default_factory=Tally)
    written: dict[str, int] = field(default_factory=dict)

    def lines(self, kind: str) -> list[dict[str, Any]]:
        return [
            json.loads(line)
            for path in sorted(self.folder.rglob(f"{kind}_*.log"))
            for line in path.read_text(encoding="utf-8").splitlines()
        ]

    def costs(self, period: str) -> dict[str, dict[str, Any]]:
        """The lines of `cost_traffic` by the name of their period; there is one of each."""
        kind = HOUR if period == "hour" else DAY
        found = [line["data"] for line in self.lines("cost_traffic") if line["data"]["period"] == period]
        named = {kind.name(datetime.fromisoformat(one["period_start"]).timestamp()): one for one in found}
        assert len(named) == len(found)
        return named


# --- the story ---------------------------------------------------------------------------------------------------


async def tell(place: Story, evidence: Evidence) -> None:
    await place.until(lambda: serving(place, 2), "two servers serve")
    one, two = [i["status"]["instanceId"] for i in await place.ready()]
    await place.use(one, 200.123456789)
    await place.use(two, 98.876543211)
    await reach(place, evidence, "299", 299.0)
    await place.use(one, 1.0 - BYTE)
    await reach(place, evidence, "a byte less than 300", 300.0 - BYTE)
    await place.use(two, BYTE)
    await reach(place, evidence, "300", 300.0)
    await place.use(one, 100.0)
    await reach(place, evidence, "400", 400.0)
    three = await replace_server(place, evidence, one)
    await reach(place, evidence, "a server later", 412.345678901)
    await place.use(three, 37.654321099)
    await reach(place, evidence, "450", 450.0)
    await place.use(two, 30.0)
    await reach(place, evidence, "480", 480.0)
    await place.pass_until(JULY - 90.0)
    evidence.moments["the month's last minute"] = await look(place, "480")
    await over_the_end(place, evidence, two)
    await place.pass_until(COMPARED, step=3 * 3600.0)
    assert place.life is not None
    await place.life._reconciliation.look()
    await place.until(lambda: all_logged(place), "every hour that is over is in the log", step=10.0)
    evidence.moments["two days later"] = await look(place, "the end")


async def serving(place: Story, count: int) -> bool:
    return len(await place.ready()) == count == len(await place.instances())


async def reach(place: Story, evidence: Evidence, name: str, gb: float) -> None:
    """Let the cloud's counters be read, and everything be done that follows."""
    await place.pass_(600.0)

    async def read() -> bool:
        return bool((await place.status())["traffic"]["usedGB"] == gb)

    await place.until(read, f"{gb} GB are in status", step=10.0)
    saving = gb >= 300.0

    async def done() -> bool:
        status = await place.status()
        tellers = [a["told"] for a in status.get("alerts", []) if a["rule"] == "TrafficQuota"]
        levels = {level for told in tellers for level in told.values()}
        wanted = {alert_level(status["traffic"]["level"])} if saving else set()
        well = STRONGER if gb >= 450.0 else OPTIMIZED if saving else PLAIN
        return (
            levels == wanted
            and all(len(told) == 3 for told in tellers)
            and {settings(w.options) for w in place.webuis.running.values()} == {well}
            and status.get("cdn", {}).get("minting", False) is saving
        )

    await place.until(done, f"what follows {gb} GB")
    evidence.moments[name] = await look(place, name)
    await note_events(place, evidence)


def alert_level(level: str) -> str:
    return {"Optimize": "Info"}.get(level, level)


async def note_events(place: Story, evidence: Evidence) -> None:
    for uid, reason, message, count in await place.events("TrafficQuota"):
        assert count == 1
        evidence.events[uid] = (reason, message)


async def look(place: Story, name: str) -> Moment:
    """Everything at one moment; figures that only moved are written to status within half a minute."""
    minting = (await place.status()).get("cdn", {}).get("minting", False)
    image = await place.task(name, link=CDN if minting else "")
    await place.pass_(31.0)
    ever = [bill.instance_id for bill in place.cloud.bills()]
    return Moment(
        status=await place.status(),
        condition=await place.condition("TrafficWithinQuota"),
        metrics=await place.metrics(),
        webuis={name: settings(webui.options) for name, webui in place.webuis.running.items()},
        told=place.receiver.told("TrafficQuota"),
        counted=sum(place.cloud.traffic(instance) for instance in ever),
        bills=place.cloud.bills(),
        cdn=place.cloud.cdn_status(DOMAIN),
        image=image,
    )


def settings(options: dict[str, Any]) -> tuple[str, int]:
    return options["samples_format"], int(options["jpeg_quality"])


async def replace_server(place: Story, evidence: Evidence, instance_id: str) -> str:
    """A person deletes a server just after it has sent something; returns the one that is bought in its place."""
    (gone,) = [i for i in await place.instances() if i["status"]["instanceId"] == instance_id]
    before = {i["status"]["instanceId"] for i in await place.instances()}
    await place.use(instance_id, 12.345678901)
    await place.kube.delete(INSTANCES, gone["metadata"]["name"], **IN_DEFAULT)

    async def replaced() -> bool:
        return instance_id not in place.webuis.running and await serving(place, 2)

    await place.until(replaced, "another server in its place")
    (new,) = {i["status"]["instanceId"] for i in await place.ready()} - before
    evidence.destroyed = gone | {"successor": {"id": new, "settings": settings(place.webuis.running[new].options)}}
    return str(new)


async def over_the_end(place: Story, evidence: Evidence, instance_id: str) -> None:
    """The month turns: everything is undone, and counting begins at nothing."""
    await place.pass_until(JULY + 1.0)

    async def undone() -> bool:
        status = await place.status()
        plain = {settings(w.options) for w in place.webuis.running.values()} == {PLAIN}
        return plain and not status["cdn"]["minting"] and status["traffic"]["level"] == "Normal"

    await place.until(undone, "servers and links are as they were before")
    evidence.moments["July"] = await look(place, "July")

    async def over() -> bool:
        status = await place.status()
        return not status["alerts"] and status["cdn"]["state"] == "Off"

    await place.until(over, "the alert has ended, and the domain is as it was", step=20.0)
    await place.use(instance_id, 1.500000001)

    async def counted() -> bool:
        return bool((await place.status())["traffic"]["usedGB"] == 1.500000001)

    await place.until(counted, "the new month's traffic is counted", step=300.0)
    evidence.moments["July, later"] = await look(place, "July, later")
    await note_events(place, evidence)


async def all_logged(place: Story) -> bool:
    log, closed = (await place.status())["costLog"], HOUR.name(place.clock.now - 3600.0)
    return bool(log["hour"] == closed and log["day"] == DAY.name(place.clock.now - 86400.0))


async def ship(place: Story, evidence: Evidence) -> None:
    """What `haipool ship` does with the folder; a second time there is nothing left."""
    target = f"{SANDBOX_TOPIC_REGION}/{SANDBOX_TOPIC}"
    sink = ClsTopic(settings_of(place.cloud), region=SANDBOX_TOPIC_REGION, topic=SANDBOX_TOPIC)
    try:
        shipper = Shipper(place.logs, sink, Offsets(place.logs, target), pod="sandbox")
        await shipper.round()
        await shipper.round()
        evidence.shipped, evidence.tally = place.cloud.logs(topic=SANDBOX_TOPIC), shipper.tally
    finally:
        await sink.close()


async def record_counts(place: Story) -> dict[str, int]:
    """Lines that the operator says it has written, once none waits."""

    async def idle() -> bool:
        return (await place.metrics())["haipool_records_backlog"] == 0.0

    await place.until(idle, "no record waits", step=0.0)
    return {kind: int((await place.metrics())[f"haipool_records_written_total {kind}"]) for kind in TYPES[1:]}


async def told_once(folder: Path) -> Evidence:
    evidence = Evidence(folder / "records")
    async with story(folder, EVENING, config=CloudConfig(deploy_s=60.0, terminate_s=20.0)) as place:
        await apply(place)
        async with running(place, folder):
            await tell(place, evidence)
            evidence.written = await record_counts(place)
            errors = {name: count for name, count in (await place.metrics()).items() if "_errors_total" in name}
            assert not any(errors.values()), errors
        await ship(place, evidence)
    return evidence


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    return asyncio.run(told_once(tmp_path_factory.mktemp("month")))


# --- what it shows -----------------------------------------------------------------------------------------------

REACHED: Final = [
    ("299", 299.0, "Normal", PLAIN),
    ("a byte less than 300", 300.0 - BYTE, "Normal", PLAIN),
    ("300", 300.0, "Optimize", OPTIMIZED),
    ("400", 400.0, "Warning", OPTIMIZED),
    ("a server later", 412.345678901, "Warning", OPTIMIZED),
    ("450", 450.0, "Critical", STRONGER),
    ("480", 480.0, "Emergency", STRONGER),
    ("the month's last minute", 480.0, "Emergency", STRONGER),
    ("July", 0.0, "Normal", PLAIN),
    ("July, later", 1.500000001, "Normal", PLAIN),
    ("two days later", 1.500000001, "Normal", PLAIN),
]


@pytest.mark.parametrize(("name", "gb", "level", "encoding"), REACHED, ids=[row[0] for row in REACHED])
def test_each_stage_happens_at_its_threshold_and_is_undone_at_the_months_end(
    evidence: Evidence, name: str, gb: float, level: str, encoding: tuple[str, int]
) -> None:
    moment, saving = evidence.moments[name], level != "Normal"
    traffic, metrics = moment.status["traffic"], moment.metrics
    assert (traffic["usedGB"], traffic["level"]) == (gb, level)
    assert moment.counted == pytest.approx(gb, abs=BYTE / 10), "to the byte as the account counted it"
    assert metrics["haipool_pool_traffic_month_gigabytes"] == gb
    assert metrics["haipool_pool_traffic_level"] == LEVELS.index(level)
    assert moment.condition == ("True" if level in LEVELS[:2] else "False", level)
    assert set(moment.webuis.values()) == {encoding}
    assert len(moment.webuis) == 2
    assert moment.image.startswith(b"RIFF" if saving else b"\x89PNG")
    assert metrics["haipool_pool_optimized_servers"] == (2 if saving else 0)
    assert metrics["haipool_pool_cdn_minting"] == int(saving)
    fires = {n.split()[1]: v for n, v in metrics.items() if n.startswith("haipool_alerts ") and "TrafficQuota" in n}
    if name != "July":  # that it is over is believed after five minutes
        assert fires == ({alert_level(level): 1.0} if saving else {})


def test_the_domain_is_switched_on_and_put_back_when_the_last_link_is_over(evidence: Evidence) -> None:
    seen = {
        name: (moment.cdn, moment.status.get("cdn", {}).get("state", "Off"))
        for name, moment in evidence.moments.items()
    }
    assert seen["299"] == ("offline", "Off")
    assert seen["300"] == seen["480"] == ("online", "Online")
    assert seen["July"] == ("online", "Leaving")
    assert seen["July, later"] == ("offline", "Off")


def test_a_server_that_was_destroyed_still_counts_and_its_successor_begins_optimised(evidence: Evidence) -> None:
    moment, successor = evidence.moments["480"], evidence.destroyed["successor"]
    assert moment.status["traffic"]["endedGB"] == pytest.approx(200.123456789 + 1.0 - BYTE + 100.0 + 12.345678901)
    assert successor["settings"] == OPTIMIZED
    assert len(moment.bills) == 3
    (ended,) = [bill for bill in moment.bills if bill.ended is not None]
    assert ended.instance_id == evidence.destroyed["status"]["instanceId"]


LEVELS_TOLD: Final = [
    *(("Firing", level) for level in ("Info", "Warning", "Critical", "Emergency")),
    ("Resolved", "Emergency"),
]


def test_each_crossing_is_told_once_to_the_log_as_an_event_and_to_the_webhook(evidence: Evidence) -> None:
    lines = [line["data"] for line in evidence.lines("alerts") if line["data"]["rule"] == "TrafficQuota"]
    assert [(one["state"], one["level"]) for one in lines] == LEVELS_TOLD
    assert [one["threshold"] for one in lines] == [300.0, 400.0, 450.0, 480.0, 480.0]
    assert [one["value"] for one in lines] == [300.0, 400.0, 450.0, 480.0, 480.0]
    assert evidence.moments["two days later"].told == LEVELS_TOLD
    assert evidence.moments["480"].told == LEVELS_TOLD[:4]
    assert [(reason, message.split(":")[0]) for reason, message in evidence.events.values()] == [
        *(("TrafficQuota", level) for _, level in LEVELS_TOLD[:4]),
        ("TrafficQuotaResolved", "over"),
    ]


# --- the agreement -----------------------------------------------------------------------------------------------


def billed(bills: tuple[Bill, ...], since: float, until: float, *, now: float) -> float:
    """What the account charges for a span, by its own ledger."""
    return sum(
        max(0.0, min(bill.ended or now, until) - max(bill.started, since)) * bill.price_per_hour / 3600.0
        for bill in bills
    )


def test_hours_days_months_status_and_the_accounts_ledger_agree_to_the_cent(evidence: Evidence) -> None:
    last = evidence.moments["two days later"]
    history = {kind: {p["period"]: p["cny"] for p in periods} for kind, periods in last.status["spendHistory"].items()}
    hours, days = evidence.costs("hour"), evidence.costs("day")
    assert {name: one["instance_cost"] for name, one in hours.items()} == history["hours"]
    assert {name: one["instance_cost"] for name, one in days.items()} == history["days"]
    assert (list(days), list(history["months"])) == (["2026-06-30", "2026-07-01"], ["2026-06"])
    assert len(hours) == 4 + 24 + 6
    for kind, named in ((HOUR, hours), (DAY, days)):
        for name, one in named.items():
            theirs = billed(last.bills, kind.start(name), kind.end(name), now=COMPARED)
            assert one["instance_cost"] == pytest.approx(theirs, abs=HALF_A_CENT), name
    for day, one in days.items():
        inside = [data["instance_cost"] for hour, data in hours.items() if hour.startswith(day)]
        assert sum(inside) == pytest.approx(one["instance_cost"], abs=1e-9), day
    assert history["months"]["2026-06"] == days["2026-06-30"]["instance_cost"] == days["2026-06-30"]["month_to_date"]
    assert last.metrics["haipool_pool_last_month_cny"] == last.status["spend"]["lastMonth"]
    assert last.status["spend"]["lastMonth"] == pytest.approx(history["months"]["2026-06"], abs=HALF_A_CENT)


@pytest.mark.parametrize("name", ["300", "a server later", "480", "two days later"])
def test_what_status_and_metrics_say_at_any_moment_is_on_the_accounts_ledger(evidence: Evidence, name: str) -> None:
    moment = evidence.moments[name]
    spend = moment.status["spend"]
    assert moment.metrics["haipool_pool_month_cny"] == spend["thisMonth"]
    assert moment.metrics["haipool_pool_today_cny"] == spend["today"]
    month_began = MONTH.start(spend["month"])
    now = max(bill.started + bill.billed_seconds for bill in moment.bills if bill.ended is None)
    assert spend["thisMonth"] == pytest.approx(billed(moment.bills, month_began, now, now=now), abs=HALF_A_CENT)


def test_the_bill_as_tencent_would_send_it_agrees(evidence: Evidence) -> None:
    billing = evidence.moments["two days later"].status["billing"]
    assert (billing["day"], billing["state"]) == ("2026-06-30", "Agrees"), billing
    assert abs(billing["difference"]) < 2 * HALF_A_CENT
    assert billing["ours"] == pytest.approx(evidence.costs("day")["2026-06-30"]["instance_cost"], abs=HALF_A_CENT)


def test_the_traffic_of_hours_and_days_adds_up_to_the_month_to_the_byte(evidence: Evidence) -> None:
    last = evidence.moments["two days later"].status["traffic"]
    months = {last["lastMonth"]: last["lastMonthGB"], last["month"]: last["usedGB"]}
    assert months == {"2026-06": 480.0, "2026-07": 1.500000001}
    for period in ("hour", "day"):
        sums: defaultdict[str, float] = defaultdict(float)
        for name, one in evidence.costs(period).items():
            sums[name[:7]] += one["traffic_gb"] or 0.0
            if name.startswith("2026-06-30T23") or name == "2026-06-30":
                assert one["traffic_month_gb"] == 480.0, "of the month that it belongs to"
        assert {month: round(gb, 9) for month, gb in sums.items()} == months, period


def test_every_line_is_as_its_schema_says(evidence: Evidence) -> None:
    counts = Counter[str]()
    for kind in TYPES:
        schema = json.loads((SCHEMAS / f"{kind}.schema.json").read_text(encoding="utf-8"))
        validator = Draft202012Validator(schema, format_checker=FormatChecker())
        for line in evidence.lines(kind):
            validator.validate(line)
            counts[kind] += 1
    assert counts["task_processing"] == len(evidence.moments), "a task at each moment"
    assert {kind: counts[kind] for kind in TYPES[1:]} == evidence.written, "as the operator's metrics say"


def test_every_line_is_in_cls_once_and_nothing_else(evidence: Evidence) -> None:
    found, wanted = arrived(evidence.shipped), Folder(evidence.folder).expected()
    assert Counter(found.values()) == wanted
    assert len(evidence.shipped) == len(found) == sum(wanted.values()) == evidence.tally.shipped
    assert {log.filename.rpartition("/")[2].rpartition("_")[0] for log in evidence.shipped} == set(TYPES)
