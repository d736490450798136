"""The way of a CDN domain into service and back: one recorded step at a time, and everything as it was in the end."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from controller.api.optimization import Cdn, CdnStatus
from controller.api.times import rfc3339
from controller.scaling.cdn import COMPRESSION, Step, blocked, enter, idle, leave, leaving, wanted

NOW = 1_738_310_400.0
SPEC = Cdn(domain="cdn.example.com")
PLAIN: dict[str, Any] = {
    "Compression": {"Switch": "off"},
    "Origin": {"Origins": ["203.0.113.7:80"], "OriginType": "ip", "OriginPullProtocol": "http"},
}
READY = {**PLAIN, "Compression": dict(COMPRESSION)}


@pytest.mark.parametrize(
    ("spec", "config", "objects"),
    [
        (SPEC, PLAIN, {"Compression": COMPRESSION}),
        (SPEC, READY, {}),
        (SPEC, {**PLAIN, "Compression": {"Switch": "on", "CompressionRules": [{"RuleType": "all"}]}}, {}),
        (SPEC, {}, {"Compression": COMPRESSION}),
        (Cdn(domain="c.example.com", compression=False), PLAIN, {}),
        (Cdn(domain="c.example.com", compression=False, origin="203.0.113.7:80"), PLAIN, {}),
        (
            Cdn(domain="c.example.com", compression=False, origin="198.51.100.1:8080"),
            PLAIN,
            {"Origin": {**PLAIN["Origin"], "Origins": ["198.51.100.1:8080"], "OriginType": "ip"}},
        ),
        (
            Cdn(domain="c.example.com", compression=False, origin="tasks.example.com"),
            PLAIN,
            {"Origin": {**PLAIN["Origin"], "Origins": ["tasks.example.com"], "OriginType": "domain"}},
        ),
    ],
)
def test_only_what_differs_is_written_and_each_object_whole(
    spec: Cdn, config: dict[str, Any], objects: dict[str, Any]
) -> None:
    assert wanted(config, spec) == objects


def going_in(status: CdnStatus, seen: str, config: dict[str, Any]) -> Step:
    return enter(status, SPEC, seen=seen, config=config, now=NOW)


def test_an_offline_domain_is_started_and_that_is_recorded_first() -> None:
    step = going_in(CdnStatus(), "offline", PLAIN)
    assert (step.act, step.status.state, step.status.started, step.status.minting) == ("Start", "Starting", True, False)


def test_while_a_change_is_rolled_out_nothing_is_done() -> None:
    step = going_in(CdnStatus(state="Starting", started=True), "processing", PLAIN)
    assert (step.act, step.status.minting) == ("Look", False)


def test_what_is_changed_is_recorded_as_it_was() -> None:
    step = going_in(CdnStatus(state="Starting"), "online", PLAIN)
    assert step.act == "Configure"
    assert step.objects == {"Compression": COMPRESSION}
    assert json.loads(step.status.before) == {"Compression": {"Switch": "off"}}


def test_a_second_change_does_not_take_the_first_one_for_what_was_there() -> None:
    first = going_in(CdnStatus(), "online", PLAIN).status
    again = enter(
        first, replace(SPEC, origin="198.51.100.1"), seen="online", config=PLAIN | {"Compression": {}}, now=NOW
    )
    assert json.loads(again.status.before)["Compression"] == {"Switch": "off"}
    assert json.loads(again.status.before)["Origin"] == PLAIN["Origin"]


def test_links_are_made_only_on_a_domain_that_serves_as_wanted() -> None:
    step = going_in(CdnStatus(state="Starting"), "online", READY)
    assert (step.act, step.status.state, step.status.minting) == ("Look", "Online", True)


@pytest.mark.parametrize("seen", ["rejected", "closing", "deleted", ""])
def test_a_domain_in_any_other_state_needs_a_person_and_gets_no_links(seen: str) -> None:
    step = going_in(CdnStatus(state="Online", minting=True), seen, READY)
    assert (step.act, step.status.state, step.status.minting) == ("Look", "Blocked", False)
    assert "cdn.example.com" in step.status.error


ON = CdnStatus(
    domain="cdn.example.com",
    state="Online",
    minting=True,
    started=True,
    before=json.dumps({"Compression": {"Switch": "off"}}),
)


def test_leaving_stops_the_links_at_once_and_keeps_the_domain_for_the_life_of_the_last() -> None:
    step = leave(ON, seen="online", config=READY, link_life=3600, now=NOW)
    assert (step.act, step.status.state, step.status.minting) == ("Look", "Leaving", False)
    assert step.status.links_until == rfc3339(NOW + 3600)
    later = leave(step.status, seen="online", config=READY, link_life=3600, now=NOW + 3599)
    assert (later.act, later.status) == ("Look", step.status)


def test_then_the_configuration_is_put_back_and_the_domain_stopped_if_it_was_offline() -> None:
    status = replace(ON, minting=False, state="Leaving", links_until=rfc3339(NOW))
    first = leave(status, seen="online", config=READY, link_life=3600, now=NOW)
    assert (first.act, first.objects) == ("Configure", {"Compression": {"Switch": "off"}})
    second = leave(first.status, seen="online", config=PLAIN, link_life=3600, now=NOW)
    assert second.act == "Stop"
    third = leave(second.status, seen="offline", config=PLAIN, link_life=3600, now=NOW)
    assert (third.act, third.status, third.again) == ("Look", CdnStatus(), None)


def test_a_domain_that_served_before_is_not_stopped() -> None:
    status = replace(ON, minting=False, started=False, state="Leaving", links_until=rfc3339(NOW))
    step = leave(status, seen="online", config=PLAIN, link_life=3600, now=NOW)
    assert step.status == CdnStatus()


@pytest.mark.parametrize(
    ("status", "spec", "saving", "nothing", "back"),
    [
        (CdnStatus(), None, True, True, True),
        (CdnStatus(), SPEC, False, True, True),
        (CdnStatus(), SPEC, True, False, False),
        (ON, SPEC, True, False, False),
        (ON, SPEC, False, False, True),
        (ON, None, True, False, True),
        (ON, Cdn(domain="other.example.com"), True, False, True),
    ],
)
def test_when_the_cloud_is_asked_at_all_and_in_which_direction(
    status: CdnStatus, spec: Cdn | None, saving: bool, nothing: bool, back: bool
) -> None:
    assert idle(status, spec, saving=saving) is nothing
    assert leaving(status, spec, saving=saving) is back


class Domain:
    """A domain that does what it is told, later or never."""

    def __init__(self, *, online: bool) -> None:
        self.config: dict[str, Any] = json.loads(json.dumps(PLAIN))
        self.online, self.busy = online, False

    @property
    def seen(self) -> str:
        return "processing" if self.busy else "online" if self.online else "offline"

    def do(self, step: Step) -> None:
        if self.busy or step.act == "Look":
            return
        if step.act == "Configure":
            self.config.update(json.loads(json.dumps(step.objects)))
        else:
            self.online = step.act == "Start"
        self.busy = True


@given(online=st.booleans(), moves=st.lists(st.sampled_from(["on", "off", "roll", "lost", "crash"]), max_size=40))
def test_whatever_happens_on_the_way_the_domain_ends_as_it_was(online: bool, moves: list[str]) -> None:
    domain, status, saving, now = Domain(online=online), CdnStatus(), False, NOW

    def turn(*, answered: bool = True) -> None:
        nonlocal status
        if idle(status, SPEC, saving=saving):
            return
        if leaving(status, SPEC, saving=saving):
            step = leave(status, seen=domain.seen, config=domain.config, link_life=60.0, now=now)
        else:
            step = enter(status, SPEC, seen=domain.seen, config=domain.config, now=now)
        assert not step.status.minting or (domain.seen in ("online", "processing"))
        status = step.status
        if answered:
            domain.do(step)

    for move in moves:
        now += 20.0
        if move in ("on", "off"):
            saving = move == "on"
        elif move == "roll":
            domain.busy = False
        # A request that is lost, or a crash between the record and the request.
        turn(answered=move not in ("lost", "crash"))
    saving = False
    for _ in range(12):
        now += 100.0
        domain.busy = False
        turn()
    assert status == CdnStatus()
    assert domain.online is online
    assert domain.config == PLAIN


def test_a_blocked_domain_says_why_and_since_when() -> None:
    step = blocked(ON, "no such domain", now=NOW)
    assert (step.status.state, step.status.error, step.status.since) == ("Blocked", "no such domain", rfc3339(NOW))
