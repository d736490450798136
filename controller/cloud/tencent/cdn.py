"""Tencent CDN behind `controller.cloud.cdn.Cdn`.

UpdateDomainConfig leaves objects alone that are not sent, and sets what is missing inside an object to its default. So
an object is read whole, changed, and written back whole; objects that need no change are not sent, since some (the
certificate of Https) cannot be written as they are read.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Final

from controller.cloud.cdn import Cdn, CdnBytes, CdnDomain
from controller.cloud.errors import IncompleteError, NotFoundError
from controller.cloud.tencent.settings import Settings
from controller.cloud.tencent.transport import Transport

#: CDN's statistics speak Beijing time unless told otherwise.
BEIJING: Final = timezone(timedelta(hours=8))


def connect_cdn(settings: Settings) -> Cdn:
    """The CDN of the account that the settings name. Nothing is sent before the first call."""
    return TencentCdn(settings)


class TencentCdn:
    """One account. Make it inside or outside a loop; use it from one event loop."""

    def __init__(self, settings: Settings) -> None:
        self._transport = Transport(settings)

    async def domain(self, name: str) -> CdnDomain:
        """See `Cdn.domain`."""
        params = {"Filters": [{"Name": "domain", "Value": [name], "Fuzzy": False}], "Limit": 1}
        answer = await self._call("DescribeDomainsConfig", params)
        found = [one for one in _list(answer, "Domains") if one.get("Domain") == name]
        if not found:
            raise NotFoundError(f"this account has no CDN domain {name}", code="ClientCdnDomainNotFound")
        (one,) = found
        config = {key: _without_null(value) for key, value in one.items() if isinstance(value, dict)}
        return CdnDomain(name, str(one.get("Status") or ""), config)

    async def configure(self, name: str, objects: Mapping[str, Any]) -> None:
        """See `Cdn.configure`."""
        await self._call("UpdateDomainConfig", {"Domain": name, **objects}, changes=True)

    async def start(self, name: str) -> None:
        """See `Cdn.start`."""
        await self._call("StartCdnDomain", {"Domain": name}, changes=True)

    async def stop(self, name: str) -> None:
        """See `Cdn.stop`."""
        await self._call("StopCdnDomain", {"Domain": name}, changes=True)

    async def bytes(self, name: str, *, since: float, until: float) -> CdnBytes:
        """See `Cdn.bytes`."""
        params = {
            "StartTime": _beijing(since),
            "EndTime": _beijing(until),
            "Metric": "flux",
            "Domains": [name],
            "Interval": "day",
        }
        edge = _sum(await self._call("DescribeCdnData", params), "CdnData")
        origin = _sum(await self._call("DescribeOriginData", params), "OriginData")
        return CdnBytes(edge, origin)

    async def close(self) -> None:
        """See `Cdn.close`."""
        await self._transport.close()

    async def _call(self, action: str, params: dict[str, Any], *, changes: bool = False) -> dict[str, Any]:
        return await self._transport.call("cdn", "", action, params, changes=changes)


def _list(answer: Mapping[str, Any], field: str) -> list[dict[str, Any]]:
    found = answer.get(field)
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise IncompleteError(f"the answer lacks {field}", code="ClientIncomplete")
    return found


def _sum(answer: Mapping[str, Any], field: str) -> int:
    """The sums of all entries; a domain without traffic has none."""
    try:
        return round(
            sum(float(one["SummarizedData"]["Value"]) for part in _list(answer, "Data") for one in part[field])
        )
    except (LookupError, TypeError) as error:
        raise IncompleteError(f"the answer lacks the sum of {field}", code="ClientIncomplete") from error


def _without_null(value: Any) -> Any:
    """What the answer prints as null was never set, and is refused when it is sent back."""
    if isinstance(value, dict):
        return {key: _without_null(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_null(item) for item in value]
    return value


def _beijing(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).astimezone(BEIJING).strftime("%Y-%m-%d %H:%M:%S")
