"""How models are written: left out where they are new, told as null where they replace something."""

import pytest

from controller.api.decision import Answer, Decision, OfferTerm, Victim
from controller.api.model import write, write_over
from controller.sandbox.kubeapi.patch import merge

FULL = Decision(
    time="t1",
    action="Hold",
    reason="LowLoadTooShort",
    message="",
    shrinking=Answer(reason="LowLoadTooShort", earliest_time="t2"),
    victim=Victim(name="s1", bundle="XL", region="ap-beijing", price_per_hour=1.0, ready_at="t0"),
    offers=(OfferTerm(bundle="XL", region="ap-beijing", price_per_hour=1.0, state="First"),),
)
BARE = Decision(time="t3", action="Hold", reason="AtMinimum", message="", shrinking=Answer(reason="AtMinimum"))


@pytest.mark.parametrize(("old", "new"), [(FULL, BARE), (BARE, FULL), (FULL, FULL)])
def test_what_a_new_decision_lacks_does_not_stay_from_the_old_one(old: Decision, new: Decision) -> None:
    assert merge(write(old), write_over(new)) == write(new)


def test_where_nothing_was_before_no_null_is_left() -> None:
    assert merge({}, write_over(BARE)) == write(BARE)
