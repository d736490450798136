"""What the operator may expect of a CDN: a Protocol whose docstrings are the contract.

Errors are those of `controller.cloud.errors`, and no others.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class CdnDomain:
    """One acceleration domain."""

    name: str
    #: online, offline, processing (a change is being rolled out), closing, rejected, deleted.
    status: str
    #: Its configuration objects by name, each whole, in the cloud's own spelling.
    config: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class CdnBytes:
    """What went through a domain."""

    #: To clients.
    edge: int
    #: From the origin.
    origin: int


class Cdn(Protocol):
    """The acceleration domains of one account."""

    async def domain(self, name: str) -> CdnDomain:
        """The domain as it is.

        Raises:
            NotFoundError: the account has no such domain.
        """

    async def configure(self, name: str, objects: Mapping[str, Any]) -> None:
        """Replace these configuration objects. Each must be whole: what it leaves out falls back to a default.

        Raises:
            InProgressError, ThrottledError: not now.
            UnauthorizedError, InvalidRequestError: refused; a person has to act.
            UnclearError: it may have happened; look.
        """

    async def start(self, name: str) -> None:
        """Have an offline domain serve. Returning means *asked*; errors as for `configure`."""

    async def stop(self, name: str) -> None:
        """Take a domain out of service: its links are answered with 404. Errors as for `configure`."""

    async def bytes(self, name: str, *, since: float, until: float) -> CdnBytes:
        """What went through between two moments (Unix seconds); the last minutes may be missing."""

    async def close(self) -> None:
        """Stop threads and connections."""
