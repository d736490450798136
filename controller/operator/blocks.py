"""What keeps the account or a region from buying: arrears, missing permission, quota. Shared by all pools.

A block stands until a purchase goes through. It stops all purchases for two minutes; after that one purchase, of all
pools together, claims the right to find out, and if it is refused like the last one the two minutes begin anew.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final, Literal, NamedTuple

from controller.api.regionpreset import BlockStatus, RegionPreset
from controller.api.times import rfc3339, unix
from controller.cloud.errors import ArrearsError, CloudError, QuotaError, UnauthorizedError
from controller.scaling.snapshot import Block
from controller.scaling.stock import CLAIM_SECONDS

#: After this time one more purchase may try; someone may have paid, or granted the permission.
BLOCK_SECONDS: Final = 120.0

_ADVICE: Final[tuple[tuple[type[CloudError], str, str], ...]] = (
    (ArrearsError, "Arrears", "top up the Tencent Cloud account; nothing is bought in any region until then"),
    (
        UnauthorizedError,
        "Unauthorized",
        "check the secretId and secretKey in the Secret tencent-credentials and the CAM policy of that user",
    ),
    (QuotaError, "QuotaExceeded", "raise the quota in the Tencent Cloud console"),
)
#: Parts of a code that say that it is about the whole account: its key, its service role, its network, its limits.
_OF_ACCOUNT: Final = (
    "AuthFailure",
    "InvalidCredential",
    "ClientCredentials",
    "GetRoleError",
    "UnauthorizedNetworkUser",
    "ErrNotOpen",
    "Account",
    "Uin",
)


def scope(error: CloudError) -> Literal["Account", "Region"]:
    """What a refusal stops. A permission may be granted, and a quota set, for single regions; a debt is everybody's."""
    whole = isinstance(error, ArrearsError) or any(part in error.code for part in _OF_ACCOUNT)
    return "Account" if whole else "Region"


@dataclass(frozen=True, slots=True)
class _Entry:
    block: Block
    #: A read met it, so reads end it; a purchase says nothing of it, and it ends by itself when no read repeats it.
    by_reading: bool = False
    claimed_by: str = ""
    claimed_until: float = 0.0

    def closed_until(self, now: float) -> float:
        # A time further ahead than any is from before the clock was set back.
        until = self.block.until if self.block.until <= now + BLOCK_SECONDS else now
        return max(until, self.claimed_until if now < self.claimed_until <= now + CLAIM_SECONDS else 0.0)


class Added(NamedTuple):
    """A block, and whether it is news: the same refusal again is none."""

    block: Block
    news: bool


class Blocks:
    """The blocks in force, by region; None stands for the account."""

    def __init__(self) -> None:
        self._entries: dict[str | None, _Entry] = {}

    def add(self, error: CloudError, region: str, *, now: float, reading: bool = False) -> Added | None:
        """Block what this error says cannot buy now; None if the error is of another sort."""
        for kind, reason, advice in _ADVICE:
            if isinstance(error, kind):
                where = None if scope(error) == "Account" else region
                block = Block(reason, f"{error} - {advice}", now + BLOCK_SECONDS, where)
                before = self._entries.get(where)
                if reading and before is not None and not before.by_reading:
                    return Added(before.block, news=False)  # a purchase met it, and only a purchase can end it
                self._entries[where] = _Entry(block, by_reading=reading)
                return Added(block, news=before is None or before.block.reason != reason)
        return None

    def clear(self, region: str) -> bool:
        """A purchase in this region went through; returns whether that ended anything."""
        ended = [self._entries.pop(where, None) for where in (region, None)]
        return any(ended)

    def read(self, region: str) -> None:
        """Reading in this region works; that says nothing about purchases, nor about the account's balance."""
        for where in (region, None):
            if where in self._entries and self._entries[where].by_reading:
                del self._entries[where]

    def active(self, *, now: float) -> tuple[Block, ...]:
        """The blocks that stand; `until` of one that a purchase is finding out about is the end of that claim."""
        for where in [w for w, e in self._entries.items() if e.by_reading and e.block.until <= now]:
            del self._entries[where]
        return tuple(replace(e.block, until=e.closed_until(now)) for e in self._entries.values())

    def claim(self, region: str, *, by: str, now: float) -> bool:
        """Whether `by` may buy in this region; where a block is half-open, nobody else may until it is answered."""
        met = {where: e for where in (None, region) if (e := self._entries.get(where)) is not None}
        if any(e.claimed_by != by and e.closed_until(now) > now for e in met.values()):
            return False
        for where, entry in met.items():
            self._entries[where] = replace(entry, claimed_by=by, claimed_until=now + CLAIM_SECONDS)
        return True

    def release(self, by: str) -> None:
        """`by` found out nothing: the next purchase may."""
        for where, entry in self._entries.items():
            if entry.claimed_by == by:
                self._entries[where] = replace(entry, claimed_by="", claimed_until=0.0)

    def status(self, region: str) -> BlockStatus | None:
        """What a preset of this region has to show."""
        entry = self._entries.get(None) or self._entries.get(region)
        if entry is None or entry.by_reading:
            return None
        block = entry.block
        return BlockStatus(
            reason=block.reason,
            message=block.message,
            scope="Account" if block.region is None else "Region",
            retry_at=rfc3339(block.until),
        )

    def restore(self, presets: Iterable[RegionPreset]) -> None:
        """Take up what the last process wrote into the presets: a restart tries one purchase, not one for each pool."""
        for preset in presets:
            told = preset.status.blocked
            if told is None:
                continue
            where = None if told.scope == "Account" else preset.spec.region
            block = Block(told.reason, told.message, unix(told.retry_at) or 0.0, where)
            before = self._entries.get(where)
            if before is None or before.block.until < block.until:
                self._entries[where] = _Entry(block)
