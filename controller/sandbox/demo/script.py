"""The demo's fixed facts: who sends what, what the cloud has in stock, and how long things take."""

import random
from dataclasses import dataclass
from typing import Final

from controller.api.catalog import BUNDLES, REGIONS
from controller.sandbox.cloudsim import CloudConfig

POOL: Final = "demo"
#: Region that runs out of stock as soon as the first server was bought there.
DROUGHT_REGION: Final = "ap-nanjing"

#: GPU seconds of a task: this, more or less by the spread.
TASK_SECONDS: Final = 0.7
TASK_SPREAD: Final = 0.1
#: GPU seconds of the very first task. B and C join while it runs, also on a busy machine, so that every user is there
#: when the first turn is given.
FIRST_TASK_SECONDS: Final = 3.5

#: From purchase to running, seconds: long enough for some tasks to go by, short enough for the demo.
DEPLOY_SECONDS: Final = 4.0
#: From TerminateInstances to gone.
TERMINATE_SECONDS: Final = 0.5

#: What is for sale; all else is sold out from the start. The cheapest type is there for three servers at the most,
#: and of those two in the region that is preferred; the dearest is always to be had.
STOCK: Final[dict[tuple[str, str], int]] = {
    ("ap-beijing", "XL"): 2,
    (DROUGHT_REGION, "XL"): 6,
    ("ap-guangzhou", "24GB_A"): 1,
    ("ap-shanghai", "XL_2X"): 1,
    ("ap-chongqing", "3XL"): 2,
    ("ap-chengdu", "3XL_2X"): 2,
    ("ap-chengdu", "4XL"): 20,
}


@dataclass(frozen=True, slots=True)
class Sender:
    """One user of the example."""

    name: str
    address: str
    tasks: int


#: The fair queue's own example, in the order in which the users come.
SENDERS: Final = (Sender("A", "127.0.1.1", 100), Sender("B", "127.0.1.2", 10), Sender("C", "127.0.1.3", 20))


def cloud() -> CloudConfig:
    """The simulated cloud at the start of the demo."""
    stock: dict[tuple[str, str], int] = {(region, bundle): 0 for region in REGIONS for bundle in BUNDLES}
    return CloudConfig(
        stock=stock | STOCK,
        deploy_s=DEPLOY_SECONDS,
        terminate_s=TERMINATE_SECONDS,
        # The inquiry tells what is sold out, so the pool need not find out offer by offer.
        price_when_sold_out="shortage",
    )


def task_seconds(sender: Sender, rng: random.Random) -> list[float]:
    """GPU seconds of each of the sender's tasks."""
    return [round(rng.uniform(TASK_SECONDS - TASK_SPREAD, TASK_SECONDS + TASK_SPREAD), 3) for _ in range(sender.tasks)]
