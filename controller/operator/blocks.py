"""What keeps the account or a region from buying: arrears, missing permission, quota. Shared by all pools."""

from typing import Final

from controller.cloud.errors import ArrearsError, CloudError, QuotaError, UnauthorizedError
from controller.scaling.snapshot import Block

#: After this time one more purchase may try; someone may have paid, or granted the permission.
BLOCK_SECONDS: Final = 120.0

_ADVICE: Final[tuple[tuple[type[CloudError], str, str, bool], ...]] = (
    (ArrearsError, "Arrears", "top up the Tencent Cloud account; nothing is bought in any region until then", True),
    (
        UnauthorizedError,
        "Unauthorized",
        "check the secretId and secretKey in the Secret tencent-credentials and the CAM policy of that user",
        False,
    ),
    (QuotaError, "QuotaExceeded", "raise the quota in the Tencent Cloud console", False),
)


class Blocks:
    """The blocks in force."""

    def __init__(self) -> None:
        self._blocks: dict[str | None, Block] = {}

    def add(self, error: CloudError, region: str, *, now: float) -> Block | None:
        """Block what this error says cannot buy now; None if the error is of another sort."""
        for kind, reason, advice, whole_account in _ADVICE:
            if isinstance(error, kind):
                where = None if whole_account else region
                block = Block(reason, f"{error} - {advice}", now + BLOCK_SECONDS, where)
                self._blocks[where] = block
                return block
        return None

    def clear(self, region: str) -> None:
        """A purchase or a permission check in this region went through."""
        self._blocks.pop(region, None)
        self._blocks.pop(None, None)

    def clear_region(self, region: str) -> None:
        """Reading in this region works again; says nothing about the account's balance."""
        self._blocks.pop(region, None)

    def active(self, *, now: float) -> tuple[Block, ...]:
        """Blocks whose time is not over."""
        return tuple(b for b in self._blocks.values() if b.until > now)
