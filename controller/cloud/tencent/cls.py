"""Tencent CLS (日志服务) behind `controller.cloud.logs.LogSink`: `UploadLog`, uncompressed.

Uncompressed, since the vendor's own clients disagree on the framing of lz4, and a lost record costs more than bytes.
"""

from typing import Final

from controller.cloud.errors import CloudError, RejectedError, TooLargeError
from controller.cloud.tencent.settings import Settings
from controller.cloud.tencent.transport import Transport

#: Codes that speak of the content of one upload. All other refusals speak of the topic, the account or the permission.
_TOO_LARGE: Final = frozenset({"LimitExceeded.LogSize"})
_REJECTED: Final = frozenset({"InvalidParameter.Content", "FailedOperation.MissingContent", "LimitExceeded.Tag"})


class ClsTopic:
    """One topic of CLS."""

    def __init__(self, settings: Settings, *, region: str, topic: str) -> None:
        self._transport = Transport(settings)
        self._region = region
        self._topic = topic

    async def upload(self, body: bytes) -> None:
        """See `LogSink.upload`."""
        try:
            await self._transport.upload("cls", self._region, "UploadLog", {"X-CLS-TopicId": self._topic}, body)
        except CloudError as error:
            if error.code in _TOO_LARGE:
                raise TooLargeError(str(error), code=error.code, request_id=error.request_id) from None
            if error.code in _REJECTED:
                raise RejectedError(str(error), code=error.code, request_id=error.request_id) from None
            raise

    async def close(self) -> None:
        """See `LogSink.close`."""
        await self._transport.close()
