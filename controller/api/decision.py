"""The last decision with its arithmetic, and the journal of decisions: parts of GpuPool.status.

Both are bounded, since an object in etcd is written whole each time: a decision carries at most a dozen terms and a few
offers, the journal at most `JOURNAL_ENTRIES` entries of less than 400 bytes each.
"""

from typing import Annotated, Final, Literal

from msgspec import Meta, field

from controller.api.model import Model

#: Entries a pool's journal keeps.
JOURNAL_ENTRIES: Final = 50
#: Longest message of an entry, in bytes of UTF-8.
JOURNAL_MESSAGE_BYTES: Final = 200
#: Offers a decision names one by one; the others are counted.
OFFERS_NAMED: Final = 6
#: While nothing new happens, the figures in a pool's status are written after so many seconds, or so many decisions
#: where that is sooner.
FIGURES_SECONDS: Final = 30.0
FIGURES_DECISIONS: Final = 5


def figures_seconds(interval: int) -> float:
    """Age that the figures in a pool's status may reach, but for one interval.

    Args:
        interval: `scaling.intervalSeconds`.
    """
    return min(FIGURES_SECONDS, float(FIGURES_DECISIONS * interval))


def _text(description: str) -> Meta:
    return Meta(description=description)


class Counts(Model, frozen=True, kw_only=True):
    """The servers as the decision counted them."""

    serving: Annotated[int, _text("Ready and taking new tasks.")] = 0
    deploying: Annotated[int, _text("Asked for and not yet Ready.")] = 0
    unhealthy: int = 0
    leaving: Annotated[int, _text("Draining or being destroyed.")] = 0
    minimum: Annotated[int, _text("replicas.min.")] = 0
    maximum: Annotated[int, _text("replicas.max; absent: no limit.")] | None = None
    desired: Annotated[int, _text("Servers that stay once the decision is carried out.")] = 0


class Answer(Model, frozen=True, kw_only=True):
    """Why the pool does, or does not, move in one direction."""

    acts: Annotated[bool, _text("This decision moves the pool in this direction.")] = False
    reason: Annotated[str, _text("The signal or rule that acts; else the first rule that fails.")] = ""
    message: str = ""
    needs: Annotated[str, _text("What would have to change.")] = ""
    earliest_time: Annotated[str, _text("Earliest possible time, if all else stays as it is.")] | None = None
    also: Annotated[tuple[str, ...], _text("Further rules that fail.")] = ()


class Term(Model, frozen=True, kw_only=True):
    """One figure of the arithmetic."""

    name: str
    value: float
    unit: str = ""


class OfferTerm(Model, frozen=True, kw_only=True):
    """An offer in the order in which it would be bought."""

    bundle: str
    region: str
    price_per_hour: float
    state: Annotated[
        Literal["First", "SoldOut", "Blocked"],
        _text("First: bought next. The others are cheaper, or come first at equal price, and were passed over."),
    ]
    why: str = ""
    until_time: Annotated[str, _text("When it is tried again.")] | None = None


class Victim(Model, frozen=True, kw_only=True):
    """The server that would be destroyed first."""

    name: str
    bundle: str
    region: str
    price_per_hour: float
    ready_at: str | None = None
    ran_seconds: float = 0.0


class Decision(Model, frozen=True, kw_only=True):
    """The last decision: what, why, and the arithmetic behind it."""

    time: str
    action: str
    reason: str
    message: str
    mode: Annotated[Literal["Act", "Recommend"], _text("Recommend: shown only, not carried out.")] = "Act"
    counts: Counts = field(default_factory=Counts)
    terms: Annotated[tuple[Term, ...], _text("The figures it was computed from, besides the signals.")] = ()
    growing: Annotated[Answer, _text("Why more servers are bought, or are not.")] = field(default_factory=Answer)
    shrinking: Annotated[Answer, _text("Why a server is destroyed, or is not.")] = field(default_factory=Answer)
    victim: Victim | None = None
    offers: Annotated[tuple[OfferTerm, ...], _text("The next offer, and those that were passed over.")] = ()
    offers_left: Annotated[int, _text("Further offers, dearer or not named here.")] = 0


class JournalEntry(Model, frozen=True, kw_only=True):
    """One decision that differed from the one before, or that acted."""

    time: str
    action: str
    reason: str
    message: str = ""
    mode: Literal["Act", "Recommend"] = "Act"
    ready: Annotated[int, _text("Servers Ready at that time.")] = 0
    desired: int = 0
    per_hour: Annotated[float, _text("CNY per hour at that time.")] = 0.0
