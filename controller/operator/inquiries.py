"""One round of price inquiries of a preset: every bundle, and every system disk that a pool asks for.

The disk is priced apart from the bundle, so disks cost one inquiry each, not one for each bundle.
"""

import logging
import math
from dataclasses import dataclass, field

from controller.api.catalog import BUNDLES
from controller.api.regionpreset import RegionPreset
from controller.cloud.contract import Price
from controller.cloud.errors import CloudError, InvalidRequestError, SoldOutError, UnauthorizedError
from controller.operator.context import Context
from controller.operator.store import Store
from controller.scaling.presets import Disk, Quote, disk_of

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Answers:
    """What a round gave."""

    quotes: dict[str, Quote] = field(default_factory=dict)
    #: By bundle, why it could not be asked.
    failed: dict[str, str] = field(default_factory=dict)
    #: CNY per hour by disk; None: the cloud does not sell such a disk with this application.
    disks: dict[Disk, float | None] = field(default_factory=dict)


def disks_wanted(store: Store, preset: RegionPreset) -> set[Disk]:
    """The system disks of the pools that buy from this preset, default ones left out."""
    return {
        disk_of(pool.spec.server.system_disk)
        for pool in store.pools
        if pool.spec.server.system_disk is not None and preset in store.presets_of(pool)
    }


async def inquire(ctx: Context, preset: RegionPreset, application_id: str) -> Answers:
    """Ask for all prices.

    Raises:
        UnauthorizedError: prices may not be asked at all.
    """
    answers, region = Answers(), preset.spec.region
    for bundle in BUNDLES:
        try:
            answers.quotes[bundle] = _quote(await ctx.cloud.price(region, application_id=application_id, bundle=bundle))
        except SoldOutError:
            answers.quotes[bundle] = Quote(sold_out=True)
        except InvalidRequestError:
            answers.quotes[bundle] = Quote(not_sold_here=True)
        except UnauthorizedError:
            raise
        except CloudError as error:
            logger.warning("price of %s in %s could not be asked: %s", bundle, region, error)
            answers.failed[bundle] = str(error)
    await _inquire_disks(ctx, preset, application_id, answers)
    return answers


def _quote(price: Price) -> Quote:
    """A figure that is no price is refused by the adapter already; here no other cloud gets one past either.

    Raises:
        CloudError: it is no price.
    """
    total = price.total_per_hour
    if not math.isfinite(total) or price.instance_per_hour <= 0 or price.disk_per_hour < 0:
        raise CloudError(f"{total} CNY per hour is no price")
    return Quote(total, price.disk_per_hour)


async def _inquire_disks(ctx: Context, preset: RegionPreset, application_id: str, answers: Answers) -> None:
    priced = [bundle for bundle, quote in answers.quotes.items() if quote.price_per_hour is not None]
    if not priced:
        return
    for kind, size in sorted(disks_wanted(ctx.store, preset)):
        try:
            price = await ctx.cloud.price(
                preset.spec.region,
                application_id=application_id,
                bundle=priced[0],
                disk_type=kind or None,
                disk_gib=size,
            )
            answers.disks[kind, size] = price.disk_per_hour
        except (InvalidRequestError, SoldOutError) as error:
            logger.warning("a disk of %d GiB (%s) has no price in %s: %s", size, kind, preset.spec.region, error)
            answers.disks[kind, size] = None
        except UnauthorizedError:
            raise
        except CloudError as error:
            logger.warning("a disk of %d GiB in %s could not be asked for: %s", size, preset.spec.region, error)
