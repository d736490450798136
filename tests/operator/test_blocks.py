"""What keeps an account or a region from buying, for how long, and what a person is told."""

import pytest

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


@pytest.mark.parametrize(
    ("error", "reason", "region", "advice"),
    [
        (ArrearsError("no money"), "Arrears", None, "top up"),
        (UnauthorizedError("who?"), "Unauthorized", "ap-beijing", "tencent-credentials"),
        (QuotaError("full"), "QuotaExceeded", "ap-beijing", "quota"),
    ],
)
def test_what_a_person_has_to_clear_blocks(error: CloudError, reason: str, region: str | None, advice: str) -> None:
    blocks = Blocks()
    blocks.add(error, "ap-beijing", now=100.0)
    (block,) = blocks.active(now=100.0)
    assert (block.reason, block.region) == (reason, region)
    assert advice in block.message
    assert blocks.active(now=100.0 + BLOCK_SECONDS) == ()


@pytest.mark.parametrize("error", [SoldOutError("x"), ThrottledError("x"), InvalidRequestError("x")])
def test_what_passes_by_itself_does_not(error: CloudError) -> None:
    blocks = Blocks()
    assert blocks.add(error, "ap-beijing", now=0.0) is None
    assert blocks.active(now=0.0) == ()


def test_a_purchase_clears_its_region_and_the_account_but_no_other_region() -> None:
    blocks = Blocks()
    blocks.add(ArrearsError("x"), "ap-beijing", now=0.0)
    blocks.add(UnauthorizedError("x"), "ap-beijing", now=0.0)
    blocks.add(UnauthorizedError("x"), "ap-nanjing", now=0.0)
    blocks.clear("ap-beijing")
    assert [b.region for b in blocks.active(now=0.0)] == ["ap-nanjing"]


def test_reading_a_region_says_nothing_about_the_balance() -> None:
    blocks = Blocks()
    blocks.add(ArrearsError("x"), "ap-beijing", now=0.0)
    blocks.clear_region("ap-beijing")
    assert [b.reason for b in blocks.active(now=0.0)] == ["Arrears"]
