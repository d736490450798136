"""Entries come up in order, however they were added."""

from hypothesis import given
from hypothesis import strategies as st

from controller.dispatcher.fairqueue.agenda import Agenda

#: Times of entries to add; None: the first is taken; negative: the first is put off by so much.
STEPS = st.lists(st.one_of(st.none(), st.integers(-5, 9)), max_size=60)


@given(STEPS)
def test_the_first_entry_is_the_least(steps: list[int | None]) -> None:
    agenda: Agenda[str] = Agenda()
    model: list[tuple[float, int, str]] = []
    for number, step in enumerate(steps):
        assert agenda.first() == min(model, default=None)
        assert len(agenda) == len(model)
        assert sorted(agenda) == sorted(model)
        if step is not None and step >= 0:
            entry = (float(step), number, "x")
            model.append(entry)
            agenda.add(entry)
        elif model:
            first = min(model)
            model.remove(first)
            if step is None:
                agenda.drop()
            else:
                later = (first[0] - step, first[1], "x")
                model.append(later)
                agenda.replace(later)
    assert sorted(Agenda(model)) == sorted(model)


def test_what_comes_in_order_needs_no_heap() -> None:
    agenda: Agenda[None] = Agenda()
    for number in range(100):
        agenda.add((0.0, number, None))
    for _ in range(250):
        first = agenda.first()
        assert first is not None
        agenda.replace((first[0] + 1, first[1], None))
    assert not agenda._heap
