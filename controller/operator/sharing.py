"""Answers of the cloud that serve everyone who asks the same at about the same time.

A hundred namespaces with a preset of the same application in the same region ask for one price, not for a hundred.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Any, Final

from controller.cloud.contract import Application, Cloud, LaunchSpec, Price
from controller.cloud.errors import CloudError, InvalidRequestError, SoldOutError
from controller.operator.instrument import InstrumentedCloud
from controller.operator.metrics import OperatorMetrics

#: How long an answer serves others, seconds. Presets that share their answers look within half of it.
SERVES_SECONDS: Final = 60.0
#: How long an error serves in the place of a price. What is said of an application that is not ONLINE serves nobody
#: else: whether one of a name exists decides whether it is made.
UNSETTLED_SECONDS: Final = 10.0
#: Refusals that are answers: the bundle is sold out, or not sold there.
_ANSWERS: Final = (SoldOutError, InvalidRequestError)
#: Answers kept; the oldest go first.
KEPT: Final = 4096

#: What is asked, the region, and the rest of the question.
Question = tuple[str, str, *tuple[Hashable, ...]]


@dataclass(frozen=True, slots=True)
class _Kept:
    asked_at: float
    answer: Any
    error: CloudError | None = None


class SharedCloud(InstrumentedCloud):
    """The contract, measured; applications and prices are asked for once for all who want to know them.

    Args:
        cloud: what answers.
        metrics: count and time what is really asked.
        clock: seconds.
    """

    def __init__(self, cloud: Cloud, metrics: OperatorMetrics, clock: Callable[[], float]) -> None:
        super().__init__(cloud, metrics)
        self._clock = clock
        self._kept: dict[Question, _Kept] = {}
        self._locks: defaultdict[Question, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def find_application(
        self, region: str, *, application_id: str | None, name: str | None, kind: str
    ) -> Application:
        """See `Cloud.find_application`."""
        ask = super().find_application
        question: Question = ("application", region, application_id, name, kind)
        try:
            found: Application = await self._shared(
                question, lambda: ask(region, application_id=application_id, name=name, kind=kind)
            )
        except CloudError:
            self._kept.pop(question, None)
            raise
        return found

    async def price(
        self,
        region: str,
        *,
        application_id: str,
        bundle: str,
        disk_type: str | None = None,
        disk_gib: int | None = None,
    ) -> Price:
        """See `Cloud.price`."""
        ask = super().price
        found: Price = await self._shared(
            ("price", region, application_id, bundle, disk_type, disk_gib),
            lambda: ask(region, application_id=application_id, bundle=bundle, disk_type=disk_type, disk_gib=disk_gib),
        )
        return found

    def forget(self, region: str) -> None:
        """What is known of this region is doubted: the next question is asked anew."""
        self._kept = {question: kept for question, kept in self._kept.items() if question[1] != region}

    async def run_instance(self, region: str, spec: LaunchSpec) -> str:
        """See `Cloud.run_instance`. A refused purchase makes doubtful whatever was said of the region before."""
        try:
            return await super().run_instance(region, spec)
        except CloudError:
            self.forget(region)
            raise

    async def _shared(self, question: Question, ask: Callable[[], Awaitable[Any]]) -> Any:
        """The answer that is known already, or that of a question asked now, by one of those who want to know.

        Raises:
            CloudError: as it was answered.
        """
        async with self._locks[question]:
            kept = self._kept.get(question)
            if kept is None or not 0.0 <= self._clock() - kept.asked_at < _serves(kept):
                kept = await self._asked(ask)
                self._keep(question, kept)
        if kept.error is not None:
            raise kept.error.with_traceback(None)
        return kept.answer

    async def _asked(self, ask: Callable[[], Awaitable[Any]]) -> _Kept:
        asked_at = self._clock()
        try:
            return _Kept(asked_at, await ask())
        except CloudError as error:
            return _Kept(asked_at, None, error)

    def _keep(self, question: Question, kept: _Kept) -> None:
        self._kept.pop(question, None)
        self._kept[question] = kept
        while len(self._kept) > KEPT:
            oldest = next(iter(self._kept))
            del self._kept[oldest]
            if not self._locks[oldest].locked():
                del self._locks[oldest]


def _serves(kept: _Kept) -> float:
    """How long an answer serves."""
    if kept.error is not None:
        return SERVES_SECONDS if isinstance(kept.error, _ANSWERS) else UNSETTLED_SECONDS
    unsettled = isinstance(kept.answer, Application) and kept.answer.state != "ONLINE"
    return 0.0 if unsettled else SERVES_SECONDS
