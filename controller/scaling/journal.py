"""The journal: what was decided, kept in the pool's status so that a restart forgets nothing.

An entry is written when a decision acts or differs from the one before. When the journal is full, the oldest entry that
only waited goes first: a long night of waiting must not displace what was bought and destroyed in the evening.
"""

from typing import Final

from msgspec.structs import replace

from controller.api.decision import JOURNAL_ENTRIES, JOURNAL_MESSAGE_BYTES, JournalEntry
from controller.api.times import rfc3339

#: Actions that change nothing.
IDLE_ACTIONS: Final = frozenset({"Hold", "Start"})
#: The newest entries are kept whatever they say.
NEWEST_KEPT: Final = 10

Journal = tuple[JournalEntry, ...]


def started(journal: Journal, *, now: float, ready: int, per_hour: float) -> Journal:
    """The journal with a note that the operator has started: the low-load clock begins anew."""
    entry = JournalEntry(
        time=rfc3339(now),
        action="Start",
        reason="OperatorStarted",
        message="the operator started; the low-load clock begins anew",
        ready=ready,
        desired=ready,
        per_hour=per_hour,
    )
    return remember(journal, entry, acted=False)


def remember(journal: Journal, entry: JournalEntry, *, acted: bool) -> Journal:
    """The journal with this entry, or as it was if the entry says nothing new.

    Args:
        journal: oldest first.
        entry: the decision; its message is cut to `JOURNAL_MESSAGE_BYTES`.
        acted: the decision was carried out, so it counts even if the last one was the same.
    """
    if journal and not acted and _says(journal[-1]) == _says(entry):
        return journal
    grown = [*journal, _short(entry)]
    while len(grown) > JOURNAL_ENTRIES:
        old = grown[: -min(NEWEST_KEPT, JOURNAL_ENTRIES)]
        del grown[next((n for n, e in enumerate(old) if e.action in IDLE_ACTIONS), 0)]
    return tuple(grown)


def _says(entry: JournalEntry) -> tuple[str, str, str]:
    return entry.action, entry.reason, entry.mode


def _short(entry: JournalEntry) -> JournalEntry:
    raw = entry.message.encode()
    if len(raw) <= JOURNAL_MESSAGE_BYTES:
        return entry
    cut = raw[: JOURNAL_MESSAGE_BYTES - 3].decode(errors="ignore") + "…"
    return replace(entry, message=cut)
