"""Buying: when more servers are wanted, what holds a purchase back, and what is taken back instead of bought."""

from collections.abc import Callable
from typing import Any

import pytest

from controller.scaling.plan import Plan
from controller.scaling.snapshot import NOT_VERIFIED, ServerState

Decide = Callable[..., Plan]
Words = Callable[[Plan], tuple[str, list[str]]]

BUSY = {"queue_length": 16}
BUY = "Launch XL ap-beijing"
OURS = {"draining": True, "drained_by_pool": True}
THEIRS = {"draining": True}
FIVE = [{"name": f"s{n}"} for n in range(5)]


def row(name: str, verdict: str, actions: list[str], **given: Any) -> Any:
    """A requirement: what it says, what follows, and what differs from an idle pool of one old server."""
    return pytest.param(given, verdict, actions, id=name)


ROWS = [
    # The minimum
    row("an empty pool buys its minimum", "ScaleUp/BelowMinimum", [BUY], servers=[]),
    row("all that is missing at once", "ScaleUp/BelowMinimum", [BUY] * 3, servers=[], spec={"replicas": {"min": 3}}),
    row("what is being deployed counts", "Hold/Deploying", [], servers=[{"name": "new", "age": None}]),
    row(
        "the minimum does not wait for a step in flight",
        "ScaleUp/BelowMinimum",
        [BUY],
        servers=[{"name": "new", "age": None}],
        spec={"replicas": {"min": 2}},
    ),
    row("a server that leaves does not count", "ScaleUp/BelowMinimum", [BUY], servers=[{"name": "s1", **THEIRS}]),
    row(
        "nor one that is being destroyed",
        "ScaleUp/BelowMinimum",
        [BUY],
        servers=[{"name": "s1", "state": ServerState.TERMINATING}],
    ),
    row(
        "an unhealthy one counts until it is agreed dead",
        "Hold/AtMinimum",
        [],
        servers=[{"name": "s1", "state": ServerState.UNHEALTHY}],
    ),
    row("a minimum of 0 buys nothing for nobody", "Hold/AtMinimum", [], servers=[], spec={"replicas": {"min": 0}}),
    row("from 0 a trigger buys", "ScaleUp/LongQueue", [BUY], servers=[], spec={"replicas": {"min": 0}}, signals=BUSY),
    row(
        "the minimum needs no signal",
        "ScaleUp/BelowMinimum",
        [BUY],
        servers=[],
        signals=dict.fromkeys(("mean_response", "queue_length", "cpu", "longest_wait")),
    ),
    # Steps
    row("a trigger buys one step", "ScaleUp/LongQueue", [BUY], signals=BUSY),
    row("of the configured size", "ScaleUp/LongQueue", [BUY] * 3, signals=BUSY, spec={"scaling": {"up": {"step": 3}}}),
    row(
        "one step is in flight: asked for",
        "Hold/StepInFlight",
        [],
        signals=BUSY,
        servers=[{"name": "s1"}, {"name": "new", "age": None, "state": ServerState.LAUNCHING}],
    ),
    row(
        "one step is in flight: being deployed",
        "Hold/StepInFlight",
        [],
        signals=BUSY,
        servers=[{"name": "s1"}, {"name": "new", "age": None}],
    ),
    row(
        "a step of three is in flight until its last server is Ready",
        "Hold/StepInFlight",
        [],
        signals=BUSY,
        spec={"scaling": {"up": {"step": 3}}},
        servers=[*FIVE, {"name": "new", "age": None}],
    ),
    row(
        "the step has failed and is being destroyed",
        "ScaleUp/LongQueue",
        [BUY],
        signals=BUSY,
        servers=[{"name": "s1"}, {"name": "new", "age": None, "state": ServerState.TERMINATING}],
    ),
    row(
        "a deployment that a person gave up is no step in flight",
        "ScaleUp/LongQueue",
        [BUY],
        signals=BUSY,
        servers=[{"name": "s1"}, {"name": "new", "age": None, **THEIRS}],
    ),
    # The maximum
    row(
        "without a maximum there is no limit",
        "ScaleUp/LongQueue",
        [BUY],
        signals=BUSY,
        servers=[{"name": f"s{n}"} for n in range(500)],
    ),
    row(
        "at the maximum nothing is bought",
        "Hold/AtMaximum",
        [],
        signals=BUSY,
        servers=FIVE,
        spec={"replicas": {"max": 5}},
    ),
    row("below it one is", "ScaleUp/LongQueue", [BUY], signals=BUSY, servers=FIVE[:4], spec={"replicas": {"max": 5}}),
    row(
        "a step is cut to the maximum",
        "ScaleUp/LongQueue",
        [BUY],
        signals=BUSY,
        servers=FIVE[:4],
        spec={"replicas": {"max": 5}, "scaling": {"up": {"step": 3}}},
    ),
    row(
        "above a maximum that was lowered nothing is bought",
        "Hold/AtMaximum",
        [],
        signals=BUSY,
        servers=FIVE,
        spec={"replicas": {"max": 3}},
    ),
    row(
        "a maximum of 0 buys nothing",
        "Hold/AtMaximum",
        [],
        signals=BUSY,
        servers=[],
        spec={"replicas": {"min": 0, "max": 0}},
    ),
    # Pauses
    *[
        row(
            f"paused {paused}: no purchase for a trigger",
            "Hold/ScaleUpPaused",
            [],
            signals=BUSY,
            spec={"paused": paused},
        )
        for paused in ("All", "ScaleUp")
    ],
    *[
        row(
            f"paused {paused}: no purchase below the minimum either",
            "Hold/ScaleUpPaused",
            [],
            servers=[],
            spec={"paused": paused},
        )
        for paused in ("All", "ScaleUp")
    ],
    row("paused ScaleDown: a trigger buys", "ScaleUp/LongQueue", [BUY], signals=BUSY, spec={"paused": "ScaleDown"}),
    # Un-drain before buying
    row(
        "a drain is taken back before a server is bought",
        "Undrain/LongQueue",
        ["Undrain s2"],
        signals=BUSY,
        servers=[{"name": "s1"}, {"name": "s2", **OURS}],
    ),
    row(
        "also when it is already drained",
        "Undrain/LongQueue",
        ["Undrain s2"],
        signals=BUSY,
        servers=[{"name": "s1"}, {"name": "s2", "drained": True, **OURS}],
    ),
    row("also for the minimum", "Undrain/BelowMinimum", ["Undrain s2"], servers=[{"name": "s2", **OURS}]),
    row(
        "also under a pause of scale-up, since it buys nothing",
        "Undrain/LongQueue",
        ["Undrain s2"],
        signals=BUSY,
        spec={"paused": "ScaleUp"},
        servers=[{"name": "s1"}, {"name": "s2", **OURS}],
    ),
    row(
        "the cheapest first, then by name",
        "Undrain/LongQueue",
        ["Undrain a"],
        signals=BUSY,
        servers=[
            {"name": "s1"},
            {"name": "dear", "price_per_hour": 9.0, **OURS},
            {"name": "b", **OURS},
            {"name": "a", **OURS},
        ],
    ),
    row(
        "the others are not destroyed meanwhile: they may be next",
        "Undrain/LongQueue",
        ["Undrain a"],
        signals=BUSY,
        servers=[{"name": "s1"}, {"name": "b", "drained": True, **OURS}, {"name": "a", "drained": True, **OURS}],
    ),
    row(
        "a step takes back several",
        "Undrain/LongQueue",
        ["Undrain a", "Undrain b"],
        signals=BUSY,
        spec={"scaling": {"up": {"step": 2}}},
        servers=[{"name": "s1"}, {"name": "b", **OURS}, {"name": "a", **OURS}],
    ),
    row(
        "never above the maximum",
        "Hold/AtMaximum",
        [],
        signals=BUSY,
        spec={"replicas": {"max": 1}},
        servers=[{"name": "s1"}, {"name": "s2", **OURS}],
    ),
    row(
        "nor by a step that is larger than the room",
        "Undrain/LongQueue",
        ["Undrain a"],
        signals=BUSY,
        spec={"replicas": {"max": 2}, "scaling": {"up": {"step": 2}}},
        servers=[{"name": "s1"}, {"name": "b", **OURS}, {"name": "a", **OURS}],
    ),
    row(
        "a person's drain is never taken back",
        "ScaleUp/LongQueue",
        [BUY],
        signals=BUSY,
        servers=[{"name": "s1"}, {"name": "s2", **THEIRS}],
    ),
    row(
        "nor is a server that is already being destroyed",
        "ScaleUp/LongQueue",
        [BUY],
        signals=BUSY,
        servers=[{"name": "s1"}, {"name": "s2", **OURS, "state": ServerState.TERMINATING}],
    ),
    row(
        "nor one that is unhealthy",
        "ScaleUp/LongQueue",
        [BUY],
        signals=BUSY,
        servers=[{"name": "s1"}, {"name": "s2", **OURS, "state": ServerState.UNHEALTHY}],
    ),
    # No offer
    row(
        "a preset that is just being verified may have the cheapest offer",
        "Hold/VerifyingPresets",
        [],
        servers=[],
        unusable_presets=(("nanjing", NOT_VERIFIED),),
    ),
    row(
        "one that cannot sell is not waited for",
        "ScaleUp/BelowMinimum",
        [BUY],
        servers=[],
        unusable_presets=(("nanjing", "NotFound: no application sd-webui"),),
    ),
    row("nothing on offer", "Hold/NoOffer", [], signals=BUSY, offers=[]),
]


@pytest.mark.parametrize(("given", "verdict", "actions"), ROWS)
def test_growth(decide: Decide, words: Words, given: dict[str, Any], verdict: str, actions: list[str]) -> None:
    assert words(decide(**given)) == (verdict, actions)


@pytest.mark.parametrize(
    ("ages", "bought"),
    [([], 3), ([0.0], 2), ([59.9, 30.0], 1), ([60.0, 60.0, 60.0], 3), ([1.0, 2.0], 1)],
)
def test_purchases_per_minute_are_limited(
    decide: Decide, words: Words, now: float, ages: list[float], bought: int
) -> None:
    recent = [{"name": f"r{n}", "created_at": now - age} for n, age in enumerate(ages)]
    spec = {"scaling": {"up": {"step": 3, "maxLaunchesPerMinute": 3}}}
    said, done = words(decide(signals=BUSY, servers=recent or FIVE, spec=spec))
    assert said == "ScaleUp/LongQueue"
    assert len(done) == bought


@pytest.mark.parametrize(
    ("recent", "gone", "left"),
    [
        ([], [], 3),
        ([{"created_at": 1.0}], [], 2),
        ([{"created_at": 60.0}], [], 3),
        ([{"created_at": 1.0, "purchase": False}], [], 3),
        ([{"created_at": 1.0}], [59.0, 60.0, 2.0], 0),
        ([], [1.0] * 5, 0),
    ],
    ids=["none", "one", "a minute ago", "refused or taken over", "some are gone already", "all are gone"],
)
def test_the_rate_counts_what_was_bought_within_a_minute(
    decide: Decide, now: float, recent: list[dict[str, Any]], gone: list[float], left: int
) -> None:
    servers = [{**s, "name": f"r{n}", "created_at": now - s["created_at"]} for n, s in enumerate(recent)]
    decided = decide(
        servers=servers,
        gone_purchases=tuple(now - ago for ago in gone),
        spec={"replicas": {"min": 9}, "scaling": {"up": {"maxLaunchesPerMinute": 3}}},
    )
    assert len(decided.actions) == left


def test_a_used_up_rate_holds_and_names_the_field(decide: Decide, words: Words, now: float) -> None:
    recent = [{"name": f"r{n}", "created_at": now - 1.0} for n in range(3)]
    spec = {"replicas": {"min": 9}, "scaling": {"up": {"maxLaunchesPerMinute": 3}}}
    decided = decide(servers=recent, spec=spec)
    assert words(decided) == ("Hold/LaunchRateLimited", [])
    assert "scaling.up.maxLaunchesPerMinute is 3" in decided.verdict.message


@pytest.mark.parametrize(
    ("failures", "pause"),
    [(1, 20), (2, 40), (3, 80), (4, 160), (5, 320), (6, 600), (7, 600), (2000, 600)],
)
def test_failing_launches_are_tried_again_ever_later(
    decide: Decide, words: Words, now: float, failures: int, pause: int
) -> None:
    def after(seconds: float) -> str:
        times = [now - seconds - 10.0 * n for n in reversed(range(failures))]
        failed = tuple((at, "no answer on port 7860 in 900 s") for at in times)
        return words(decide(servers=[], launch_failures=failed))[0]

    assert after(pause - 0.5) == "Hold/LaunchesFailing"
    assert after(pause) == "ScaleUp/BelowMinimum"


def test_failing_launches_say_what_failed(decide: Decide, now: float) -> None:
    decided = decide(servers=[], launch_failures=((now - 5.0, "first"), (now - 1.0, "no answer on port 7860")))
    assert "the last 2 launches failed (no answer on port 7860)" in decided.verdict.message


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"offers": []}, "no RegionPreset matches spec.presetSelector"),
        (
            {"offers": [], "unusable_presets": (("nanjing", "NotFound: no application sd-webui"),)},
            "no preset can sell: nanjing: NotFound: no application sd-webui",
        ),
        ({"blocks": [("Arrears", "top up the account", None)]}, "top up the account"),
        (
            {"blocks": [("QuotaExceeded", "raise the quota", "ap-beijing")]},
            "ap-beijing: raise the quota",
        ),
        ({"sold_out": 90.0}, "1 of 1 offers sold out, next try in 90 s"),
    ],
    ids=["no presets", "no usable preset", "arrears", "a blocked region", "sold out"],
)
def test_why_nothing_can_be_bought(
    decide: Decide, words: Words, now: float, given: dict[str, Any], sentence: str
) -> None:
    rest = dict(given)
    blocks = [
        {"reason": reason, "message": message, "until": now + 60.0, "region": region}
        for reason, message, region in rest.pop("blocks", ())
    ]
    offers = [{"sold_out_until": now + rest.pop("sold_out")}] if "sold_out" in rest else rest.pop("offers", [{}])
    decided = decide(servers=[], blocks=blocks, offers=offers, **rest)
    assert words(decided) == ("Hold/NoOffer", [])
    assert sentence in decided.verdict.message
