"""Why a notification did not arrive. No text of these ever holds a URL's path or query, or a secret."""

from typing import ClassVar, Literal

Outcome = Literal["delivered", "retried", "secret", "refused", "rejected", "throttled", "unreachable"]


class DeliveryError(Exception):
    """It did not arrive."""

    #: For the metric.
    outcome: ClassVar[Outcome] = "unreachable"
    #: For the condition, CamelCase.
    reason: ClassVar[str] = "Unreachable"


class BadSecretError(DeliveryError):
    """The Secret cannot be read, or holds no URL."""

    outcome = "secret"
    reason = "SecretUnusable"


class RefusedError(DeliveryError):
    """The URL leads where the operator must not go."""

    outcome = "refused"
    reason = "AddressRefused"


class RejectedError(DeliveryError):
    """The receiver will not have it, and asking again soon changes nothing."""

    outcome = "rejected"
    reason = "Rejected"


class ThrottledError(DeliveryError):
    """The receiver wants to be left alone for a while."""

    outcome = "throttled"
    reason = "Throttled"

    def __init__(self, message: str, pause: float) -> None:
        super().__init__(message)
        #: Seconds.
        self.pause = pause


class UnreachableError(DeliveryError):
    """No answer, or one that says try again. It may have arrived all the same."""


class FaultError(DeliveryError):
    """Haipool could not make the message."""

    reason = "Fault"
