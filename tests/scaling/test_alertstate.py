"""Who hears of an alert, and how often: once per crossing, again only if it was never delivered."""

from collections.abc import Iterable, Mapping
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from controller.api.alerts import AlertStatus
from controller.scaling.alerts import Alert, AlertLevel
from controller.scaling.alertstate import (
    EVENT,
    LEVELS,
    MAX_ENTRIES,
    MAX_FIRING,
    QUIET_SECONDS,
    RECORD,
    Destination,
    advance,
    due,
    rank,
)

T = 1_738_324_800.0
EVERYBODY = (Destination(RECORD), Destination(EVENT), Destination("oncall", "Warning"))
Alerts = tuple[AlertStatus, ...]


def alert(level: AlertLevel = "Warning", *, rule: str = "Traffic", subject: str = "", value: float = 1.0) -> Alert:
    return Alert(rule, level, value, 1.0, "GB", f"{rule} {value:g}", f"{rule} 为 {value:g}", subject)


def step(
    known: Iterable[AlertStatus], *firing: Alert, at: float, heard: Mapping[tuple[str, str, str], str] | None = None,
    to: tuple[Destination, ...] = EVERYBODY, unknown: tuple[str, ...] = (),
) -> Alerts:  # fmt: skip
    return advance(tuple(known), firing, destinations=to, heard=heard or {}, unknown=unknown, now=T + at)


def owed(alerts: Alerts, to: tuple[Destination, ...] = EVERYBODY) -> dict[str, str]:
    """What each destination has to hear of the only alert."""
    return {one.name: what for a in alerts for one in to if (what := due(a, one))}


def told(alerts: Alerts, to: tuple[Destination, ...] = EVERYBODY) -> dict[tuple[str, str, str], str]:
    """As if everything that is due had been delivered."""
    return {(*a.key, one.name): what for a in alerts for one in to if (what := due(a, one))}


def test_an_alert_that_begins_is_told_to_everybody_and_once() -> None:
    first = step((), alert(), at=0)
    assert owed(first) == dict.fromkeys(("Record", "Event", "oncall"), "Warning")
    second = step(first, alert(value=2.0), at=10, heard=told(first))
    assert owed(second) == {}
    assert (second[0].value, second[0].since) == (2.0, first[0].since)


def test_what_was_not_delivered_is_due_again_also_after_a_restart() -> None:
    first = step((), alert(), at=0)
    restarted = step(first, alert(), at=10, heard={("Traffic", "", "Record"): "Warning"})
    assert owed(restarted) == dict.fromkeys(("Event", "oncall"), "Warning")


def test_a_level_that_rises_is_told_at_once() -> None:
    first = step((), alert(), at=0)
    higher = step(first, alert("Critical"), at=1, heard=told(first))
    assert owed(higher) == dict.fromkeys(("Record", "Event", "oncall"), "Critical")
    assert higher[0].since == first[0].since != higher[0].changed_at


def test_a_level_that_falls_and_an_end_are_believed_after_a_while() -> None:
    alerts = step((), alert("Critical"), at=0)
    alerts = step(alerts, alert("Warning"), at=10, heard=told(alerts))
    assert (alerts[0].level, owed(alerts)) == ("Critical", {})
    alerts = step(alerts, alert("Warning"), at=10 + QUIET_SECONDS)
    assert (alerts[0].level, alerts[0].peak) == ("Warning", "Critical")
    alerts = step(alerts, at=11 + QUIET_SECONDS, heard=told(alerts))
    assert alerts[0].state == "Firing"
    alerts = step(alerts, at=11 + 2 * QUIET_SECONDS)
    assert owed(alerts) == dict.fromkeys(("Record", "Event", "oncall"), "Resolved")
    assert step(alerts, at=12 + 2 * QUIET_SECONDS, heard=told(alerts)) == ()


def test_an_alert_that_flaps_is_told_once() -> None:
    alerts: Alerts = ()
    count = 0
    heard: dict[tuple[str, str, str], str] = {}
    for second in range(0, 3600, 10):
        now_firing = (alert(),) if second % 100 < 30 else ()
        alerts = step(alerts, *now_firing, at=second, heard=heard)
        heard = told(alerts)
        count += len(heard)
    assert count == len(EVERYBODY)


@pytest.mark.parametrize(
    ("level", "minimum", "resolved", "expected"),
    [
        ("Warning", "Critical", True, ([], [])),
        ("Critical", "Critical", True, (["Critical"], ["Resolved"])),
        ("Critical", "Info", False, (["Critical"], [])),
        ("Emergency", "Warning", True, (["Emergency"], ["Resolved"])),
    ],
)
def test_a_destination_hears_what_it_asked_for(
    level: AlertLevel, minimum: AlertLevel, resolved: bool, expected: tuple[list[str], list[str]]
) -> None:
    to = (Destination("one", minimum, resolved),)
    firing = step((), alert(level), at=0, to=to)
    ending = step(firing, at=1, heard=told(firing, to), to=to)
    ended = step(ending, at=1 + QUIET_SECONDS, to=to)
    assert ([*owed(firing, to).values()], [*owed(ended, to).values()]) == expected


def test_who_missed_an_alert_from_begin_to_end_hears_of_it_in_the_end() -> None:
    to = (Destination("one", "Warning", resolved=False),)
    alerts = step(step((), alert(), at=0, to=to), at=1, to=to)
    alerts = step(alerts, at=1 + QUIET_SECONDS, to=to)
    assert owed(alerts, to) == {"one": "Resolved"}


def test_a_new_destination_hears_what_fires_now() -> None:
    alerts = step((), alert(), at=0)
    alerts = step(alerts, alert(), at=1, heard=told(alerts))
    more = (*EVERYBODY, Destination("new"))
    assert owed(step(alerts, alert(), at=2, to=more), more) == {"new": "Warning"}


def test_one_that_was_taken_away_is_forgotten() -> None:
    alerts = step((), alert(), at=0)
    alerts = step(alerts, alert(), at=1, heard=told(alerts), to=EVERYBODY[:2])
    assert set(alerts[0].told) == {"Record", "Event"}


def test_what_begins_anew_while_its_end_is_not_delivered_is_told_to_who_cares_for_begins_only() -> None:
    to = (Destination("slow"), Destination("begins", resolved=False))
    alerts = step((), alert(), at=0, to=to)
    alerts = step(alerts, at=1, heard=told(alerts, to), to=to)
    alerts = step(alerts, at=1 + QUIET_SECONDS, to=to)
    assert owed(alerts, to) == {"slow": "Resolved"}
    alerts = step(alerts, at=400, to=to)
    assert owed(step(alerts, alert(), at=500, to=to), to) == {"begins": "Warning"}


def test_a_rule_of_which_nothing_is_known_stays_as_it_is() -> None:
    alerts = step((), alert(), at=0)
    alerts = step(alerts, at=10, heard=told(alerts))
    alerts = step(alerts, at=20, unknown=("Traffic",))
    alerts = step(alerts, at=20 + QUIET_SECONDS)
    assert alerts[0].state == "Firing"


def test_subjects_are_alerts_of_their_own() -> None:
    alerts = step((), alert(subject="pool-1"), alert("Critical", subject="pool-2"), at=0)
    assert [(a.subject, a.level) for a in alerts] == [("pool-1", "Warning"), ("pool-2", "Critical")]


def test_of_too_many_the_worst_are_told_and_how_many_there_are() -> None:
    many = [alert("Info", subject=f"s{n:03}") for n in range(100)]
    alerts = step((), *many, alert("Critical", subject="z"), at=0)
    assert len(alerts) == MAX_FIRING
    assert ("Traffic", "z") in {a.key for a in alerts}
    (more,) = [a for a in alerts if a.rule == "ManyAlerts"]
    assert more.value == 101.0
    again = step(alerts, *reversed(many), alert("Critical", subject="z"), at=1, heard=told(alerts))
    assert owed(again) == {}


def test_ends_that_cannot_be_told_do_not_pile_up() -> None:
    alerts: Alerts = ()
    for n in range(MAX_ENTRIES + 10):
        at = n * 2 * QUIET_SECONDS
        alerts = step(alerts, alert(subject=f"s{n:03}"), at=at)
        alerts = step(step(alerts, at=at + 1), at=at + 1 + QUIET_SECONDS)
    assert len(alerts) == MAX_ENTRIES
    assert alerts[-1].subject == f"s{MAX_ENTRIES + 9:03}"


class Telling(RuleBasedStateMachine):
    """An alert that comes and goes, a destination that fails at times, and crashes anywhere in between."""

    to = (Destination("one", "Warning"),)

    @initialize()
    def start(self) -> None:
        self.now = 0.0
        self.level: Any = None
        self.persisted: Alerts = ()
        self.heard: dict[tuple[str, str, str], str] = {}
        #: What the destination was told, in order, and how often the process died since the last of it.
        self.ears: list[str] = []
        self.crashes = 0

    @rule(level=st.sampled_from([None, *LEVELS]), after=st.sampled_from([1.0, 60.0, QUIET_SECONDS]))
    def change(self, level: Any, after: float) -> None:
        self.now += after
        self.level = level

    @rule(persists=st.booleans(), delivers=st.booleans(), dies=st.booleans())
    def decide(self, persists: bool, delivers: bool, dies: bool) -> None:
        self.now += 10.0
        firing = () if self.level is None else (alert(self.level),)
        alerts = step(self.persisted, *firing, at=self.now, heard=self.heard, to=self.to)
        if persists:
            self.persisted = alerts
            for entry in alerts if delivers else ():
                what = due(entry, self.to[0])
                if what and self.heard.get((*entry.key, "one")) != what:
                    self._hear(what)
                    self.heard[*entry.key, "one"] = what
        if dies:
            self.heard = {}
            self.crashes += 1

    def _hear(self, what: str) -> None:
        if self.ears and self.ears[-1] == what:
            assert self.crashes, f"told twice without a crash: {what}"
        self.ears.append(what)
        self.crashes = 0

    @rule()
    def settle(self) -> None:
        """However it came about: with time and a destination that works, it knows what is the case."""
        for _ in range(3):
            self.now += QUIET_SECONDS
            self.decide(persists=True, delivers=True, dies=False)
        self.decide(persists=True, delivers=True, dies=False)
        last = self.ears[-1] if self.ears else ""
        if self.level is None:
            assert last in ("", "Resolved")
            assert self.persisted == ()
        elif rank(self.level) >= rank("Warning"):
            assert last == self.level

    @invariant()
    def it_stays_bounded(self) -> None:
        assert len(getattr(self, "persisted", ())) <= 1


TestTelling = Telling.TestCase
TestTelling.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
