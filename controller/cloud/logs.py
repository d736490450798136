"""What a shipper may expect of a log service. Errors are those of `controller.cloud.errors`, and no others."""

from typing import Protocol


class LogSink(Protocol):
    """One topic."""

    async def upload(self, body: bytes) -> None:
        """Take a LogGroupList (protobuf); when this returns, the cloud has it.

        Raises:
            TooLargeError: less at a time may go through.
            RejectedError: something in it can never be taken.
            ThrottledError, UnavailableError: later; it may have arrived all the same.
            CloudError: nothing will be taken before a person has acted (topic gone, permission missing, arrears).
        """

    async def close(self) -> None:
        """End the connections."""
