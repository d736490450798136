"""What keeps an account or a region from buying, for how long, who may find out, and what a person is told."""

import pytest

from controller.api.model import Metadata
from controller.api.regionpreset import Application, RegionPreset, RegionPresetSpec, RegionPresetStatus
from controller.cloud.errors import (
    ArrearsError,
    CloudError,
    InvalidRequestError,
    QuotaError,
    SoldOutError,
    ThrottledError,
    UnauthorizedError,
)
from controller.operator.blocks import BLOCK_SECONDS, Blocks
from controller.scaling.stock import CLAIM_SECONDS

LATER = BLOCK_SECONDS


def blocked(error: CloudError | None = None, region: str = "ap-beijing") -> Blocks:
    blocks = Blocks()
    blocks.add(error or ArrearsError("no money"), region, now=0.0)
    return blocks


@pytest.mark.parametrize(
    ("error", "reason", "region", "advice"),
    [
        (ArrearsError("no money"), "Arrears", None, "top up"),
        (
            UnauthorizedError("may not", code="UnauthorizedOperation.UnauthorizedUser"),
            "Unauthorized",
            "ap-beijing",
            "CAM",
        ),
        (UnauthorizedError("who?", code="AuthFailure.SecretIdNotFound"), "Unauthorized", None, "tencent-credentials"),
        (UnauthorizedError("role", code="UnauthorizedOperation.GetRoleError"), "Unauthorized", None, "CAM"),
        (QuotaError("full", code="LimitExceeded.VpcLimitExceeded"), "QuotaExceeded", "ap-beijing", "quota"),
        (QuotaError("full", code="LimitExceeded.AccountInstances"), "QuotaExceeded", None, "quota"),
    ],
)
def test_what_a_person_has_to_clear_blocks_the_region_or_the_account(
    error: CloudError, reason: str, region: str | None, advice: str
) -> None:
    (block,) = blocked(error).active(now=0.0)
    assert (block.reason, block.region, block.until) == (reason, region, BLOCK_SECONDS)
    assert advice in block.message


@pytest.mark.parametrize("error", [SoldOutError("x"), ThrottledError("x"), InvalidRequestError("x")])
def test_what_passes_by_itself_does_not(error: CloudError) -> None:
    blocks = Blocks()
    assert blocks.add(error, "ap-beijing", now=0.0) is None
    assert blocks.active(now=0.0) == ()


def test_a_block_stands_until_a_purchase_goes_through() -> None:
    blocks = blocked()
    assert [b.reason for b in blocks.active(now=1e9)] == ["Arrears"]
    assert blocks.clear("ap-nanjing")
    assert blocks.active(now=0.0) == ()
    assert not blocks.clear("ap-nanjing")


def test_nobody_may_buy_within_two_minutes_and_one_after_them() -> None:
    blocks = blocked()
    assert not blocks.claim("ap-beijing", by="a", now=LATER - 0.1)
    assert [blocks.claim("ap-nanjing", by=name, now=LATER) for name in "abc"] == [True, False, False]
    assert blocks.claim("ap-nanjing", by="a", now=LATER + 1.0)
    (block,) = blocks.active(now=LATER + 1.0)
    assert block.until > LATER + 1.0


def test_a_claim_that_is_never_answered_lapses() -> None:
    blocks = blocked()
    assert blocks.claim("ap-beijing", by="a", now=LATER)
    assert not blocks.claim("ap-beijing", by="b", now=LATER + CLAIM_SECONDS - 0.1)
    assert blocks.claim("ap-beijing", by="b", now=LATER + CLAIM_SECONDS)


def test_who_finds_out_nothing_leaves_it_to_the_next() -> None:
    blocks = blocked()
    blocks.claim("ap-beijing", by="a", now=LATER)
    blocks.release("b")
    assert not blocks.claim("ap-beijing", by="c", now=LATER)
    blocks.release("a")
    assert blocks.claim("ap-beijing", by="c", now=LATER)


def test_the_same_refusal_again_is_no_news_and_begins_the_pause_anew() -> None:
    blocks = blocked()
    blocks.claim("ap-beijing", by="a", now=LATER)
    again = blocks.add(ArrearsError("still no money"), "ap-nanjing", now=LATER + 1.0)
    assert again is not None
    assert not again.news
    assert not blocks.claim("ap-beijing", by="b", now=LATER + BLOCK_SECONDS)
    assert blocks.claim("ap-beijing", by="b", now=LATER + 1.0 + BLOCK_SECONDS)


def test_one_regions_block_leaves_the_others_alone() -> None:
    blocks = blocked(QuotaError("full"))
    assert not blocks.claim("ap-beijing", by="a", now=0.0)
    assert blocks.claim("ap-nanjing", by="b", now=0.0)
    assert blocks.claim("ap-nanjing", by="c", now=0.0)


def test_a_purchase_clears_its_region_and_the_account_but_no_other_region() -> None:
    blocks = blocked()
    blocks.add(UnauthorizedError("x"), "ap-beijing", now=0.0)
    blocks.add(UnauthorizedError("x"), "ap-nanjing", now=0.0)
    blocks.clear("ap-beijing")
    assert [b.region for b in blocks.active(now=0.0)] == ["ap-nanjing"]


def test_reading_ends_what_reading_met_and_nothing_else() -> None:
    blocks = blocked(QuotaError("full"))
    blocks.add(ArrearsError("x"), "ap-beijing", now=0.0)
    blocks.add(UnauthorizedError("x"), "ap-nanjing", now=0.0, reading=True)
    for region in ("ap-beijing", "ap-nanjing"):
        blocks.read(region)
    assert {b.reason for b in blocks.active(now=0.0)} == {"QuotaExceeded", "Arrears"}


def test_what_a_read_met_ends_by_itself_when_no_read_repeats_it() -> None:
    blocks = Blocks()
    blocks.add(UnauthorizedError("x"), "ap-beijing", now=0.0, reading=True)
    assert blocks.active(now=BLOCK_SECONDS - 0.1)
    assert blocks.active(now=BLOCK_SECONDS) == ()


def preset(region: str, blocks: Blocks) -> RegionPreset:
    return RegionPreset(
        metadata=Metadata(name=region),
        spec=RegionPresetSpec(region=region, application=Application(name="x")),  # type: ignore[arg-type]
        status=RegionPresetStatus(blocked=blocks.status(region)),
    )


@pytest.mark.parametrize("error", [ArrearsError("no money"), QuotaError("full")])
def test_a_restart_knows_the_blocks_from_the_presets_and_tries_one_purchase(error: CloudError) -> None:
    before, after = blocked(error), Blocks()
    after.restore([preset(region, before) for region in ("ap-beijing", "ap-nanjing")])
    assert [(b.reason, b.region) for b in after.active(now=0.0)] == [
        (b.reason, b.region) for b in before.active(now=0.0)
    ]
    assert not after.claim("ap-beijing", by="a", now=0.0)
    assert [after.claim("ap-beijing", by=name, now=LATER + 1.0) for name in "abc"] == [True, False, False]


@pytest.mark.parametrize(("back", "free"), [(0.0, False), (3600.0, True)])
def test_a_clock_that_is_set_back_prolongs_no_block(back: float, free: bool) -> None:
    blocks, then = Blocks(), 1_000_000.0
    blocks.add(ArrearsError("no money"), "ap-beijing", now=then)
    assert blocks.claim("ap-beijing", by="a", now=then + 10.0 - back) is free
