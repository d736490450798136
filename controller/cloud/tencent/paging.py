"""Reading lists that come in pages, and proving that nothing is missing.

HAI documents an Offset that "must not exceed 100", so beyond about 200 instances paging is undefined. Pages are read
with an overlap of one entry: under any stable order, the same entry at both sides of a seam proves that everything
that existed throughout was seen. Where the server refuses a larger offset, the list is read in parts by filter.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from controller.cloud.contract import CloudInstance
from controller.cloud.errors import InvalidRequestError

T = TypeVar("T")

#: Largest page of any list action.
PAGE_SIZE: Final = 100
#: States to ask for one by one, in the order in which an instance passes through them: one that moves on between two
#: reads is then seen twice instead of never. The filter's text leaves out LAUNCH_FAILED, TERMINATING and TERMINATED;
#: a server that refuses those is believed.
STATES: Final = (
    "PENDING", "LAUNCH_FAILED", "RUNNING", "STOPPED", "STOPPED_NO_CHARGE", "ARREARS", "TERMINATING", "TERMINATED",
)  # fmt: skip
CHARGE_TYPES: Final = ("POSTPAID_BY_HOUR", "PREPAID_BY_MONTH")
#: Whole readings of a list that changed while it was read, before it is handed over as incomplete.
ATTEMPTS: Final = 2

Filters = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page and the number of entries the server says there are in all."""

    total: int
    items: Sequence[T]


@dataclass(slots=True)
class Walk(Generic[T]):
    """What reading page after page gave."""

    found: dict[str, T] = field(default_factory=dict)
    #: The total that the first page announced.
    total: int = 0
    #: Whether everything that existed throughout was certainly seen.
    proven: bool = False
    #: Whether the server refused to go further, or stopped giving entries.
    bounded: bool = False


ReadPage = Callable[[int], Awaitable[Page[T]]]
ReadFiltered = Callable[[Filters, int], Awaitable[Page[CloudInstance]]]


async def walk(read: ReadPage[T], key: Callable[[T], str]) -> Walk[T]:
    """Read pages from offset 0 until the announced total is reached.

    Raises:
        CloudError: what reading raises; a refusal beyond the first page ends the walk as `bounded` instead.
    """
    page = await read(0)
    done = Walk(found={key(item): item for item in page.items}, total=page.total)
    seamless, offset = True, 0
    while (end := offset + len(page.items)) < page.total:
        if len(page.items) < 2:  # announced, but not given: one entry of overlap leaves no progress
            done.bounded = True
            return done
        seam, offset = key(page.items[-1]), end - 1
        try:
            page = await read(offset)
        except InvalidRequestError:
            done.bounded = True
            return done
        seamless &= bool(page.items) and key(page.items[0]) == seam and page.total == done.total
        done.found.update({key(item): item for item in page.items})
    done.proven = seamless and len(done.found) == done.total
    return done


async def read_instances(read: ReadFiltered) -> tuple[tuple[CloudInstance, ...], bool]:
    """All instances, and whether that is proven.

    Args:
        read: reads one page of up to `PAGE_SIZE` instances under filters, from an offset.
    """
    for attempt in range(1, ATTEMPTS + 1):
        done = await walk(lambda offset: read({}, offset), _instance_id)
        if done.bounded and done.total > PAGE_SIZE:  # a shorter list is not cut by a bound: its total is wrong
            done = await _by_parts(read, done)
        if done.proven or attempt == ATTEMPTS:
            break
    return tuple(done.found.values()), done.proven


async def _by_parts(read: ReadFiltered, whole: Walk[CloudInstance]) -> Walk[CloudInstance]:
    """Read state by state, and a state that is still too long by charge type."""
    parts = [part for state in STATES for part in await _state(read, state)]
    for part in parts:
        whole.found.update(part.found)
    total_after = (await read({}, 0)).total
    counted = len(whole.found) == whole.total == total_after
    return Walk(whole.found, whole.total, proven=counted and all(part.proven for part in parts))


async def _state(read: ReadFiltered, state: str) -> list[Walk[CloudInstance]]:
    filters = {"instance-state": state}
    try:
        part = await walk(lambda offset: read(filters, offset), _instance_id)
    except InvalidRequestError:
        return []
    if not part.bounded:
        return [part]
    return [
        await walk(lambda offset, charge=charge: read({**filters, "charge-type": charge}, offset), _instance_id)  # type: ignore[misc]
        for charge in CHARGE_TYPES
    ]


def _instance_id(instance: CloudInstance) -> str:
    return instance.instance_id
