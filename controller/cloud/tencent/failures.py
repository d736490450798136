"""From Tencent's error codes to the contract's errors: one table, and one rule for what the table does not know.

A code the cloud wrote means that it refused. Everything else (no answer, an answer cut off, an internal error, a code
nobody has seen) leaves open whether it acted: harmless for a read, `UnclearError` for a call that changes something.
"""

from collections.abc import Sequence
from typing import Final

from controller.cloud.errors import (
    ArrearsError,
    CloudError,
    InProgressError,
    InvalidRequestError,
    NameTakenError,
    NotFoundError,
    QuotaError,
    SoldOutError,
    ThrottledError,
    UnauthorizedError,
    UnavailableError,
    UnclearError,
)

#: Code, or the part of it before a dot, to the error it means. The longest match wins. Not here on purpose:
#: `InternalError*`, bare `FailedOperation`, `ResourceUnavailable` and the SDK's own network codes, which all leave the
#: outcome open.
REFUSALS: Final[dict[str, type[CloudError]]] = {
    # Out of stock.
    "ResourceInsufficient": SoldOutError,
    "ResourcesSoldOut": SoldOutError,
    # Too fast.
    "RequestLimitExceeded": ThrottledError,
    "LimitExceeded.LimitedAccess": ThrottledError,
    "LimitExceeded.CdnHostOpTooOften": ThrottledError,
    "UnauthorizedOperation.OperationTooOften": ThrottledError,
    "FailedOperation.WriteQpsLimit": ThrottledError,
    "FailedOperation.WriteTrafficLimit": ThrottledError,
    # Money.
    "FailedOperation.ArrearsAccountCannotRunInstances": ArrearsError,
    "FailedOperation.ErrOwed": ArrearsError,
    "OperationDenied.AccountIsolate": ArrearsError,
    "FailedOperation.TopicIsolated": ArrearsError,
    # Keys, permissions, service role, a service that was never switched on.
    "AuthFailure": UnauthorizedError,
    "UnauthorizedOperation": UnauthorizedError,
    "InvalidCredential": UnauthorizedError,
    "FailedOperation.ErrNotOpen": UnauthorizedError,
    "OperationDenied.ACLFailed": UnauthorizedError,
    # Gone, or never there.
    "InvalidParameterValue.InstanceIdNotFound": NotFoundError,
    "ResourceNotFound": NotFoundError,
    # Busy.
    "OperationDenied.InstanceOperationInProgress": InProgressError,
    "OperationDenied.ServiceOperationInProgress": InProgressError,
    "FailedOperation.OperateInstanceRepeatedly": InProgressError,
    "ResourceInUse": InProgressError,
    # Account limits.
    "LimitExceeded": QuotaError,
    # A request that can never succeed.
    "ActionOffline": InvalidRequestError,
    "FailedOperation.TopicClosed": InvalidRequestError,
    "ClientParamsError": InvalidRequestError,
    "DryRunOperation": InvalidRequestError,
    "FailedOperation.CannotReturn": InvalidRequestError,
    "InvalidAction": InvalidRequestError,
    "InvalidParameter": InvalidRequestError,
    "InvalidParameterValue": InvalidRequestError,
    "InvalidParameterValue.InvalidApplicationNameDuplicate": NameTakenError,
    "InvalidRequest": InvalidRequestError,
    "MissingParameter": InvalidRequestError,
    "NoSuchProduct": InvalidRequestError,
    "NoSuchVersion": InvalidRequestError,
    "OperationDenied": InvalidRequestError,
    "UnknownParameter": InvalidRequestError,
    "UnsupportedOperation": InvalidRequestError,
    "UnsupportedProtocol": InvalidRequestError,
    "UnsupportedRegion": InvalidRequestError,
}

#: What a person should do about some codes, said in the error itself.
ADVICE: Final[dict[str, str]] = {
    "AuthFailure.SignatureExpire": "the clock of this machine is more than 5 minutes off",
    "AuthFailure.SignatureFailure": "the secret key does not belong to the secret id",
    "AuthFailure.SecretIdNotFound": "the secret id does not exist, or was deleted",
    "FailedOperation.ArrearsAccountCannotRunInstances": "top up the account",
    "UnauthorizedOperation.GetRoleError": "authorise HAI's service role once in the HAI console",
    "UnauthorizedOperation.UnauthorizedNetworkUser": "HAI needs an account with the standard (bill-by-IP) network",
}

#: Longest part of a message from outside that is repeated.
MAX_MESSAGE: Final = 400


def error_class(code: str, *, changes: bool) -> type[CloudError]:
    """The contract's error for a code.

    Args:
        code: the provider's code, or the SDK's for failures on this side.
        changes: whether the call buys or destroys.
    """
    parts = code.split(".")
    for length in range(len(parts), 0, -1):
        if (found := REFUSALS.get(".".join(parts[:length]))) is not None:
            return found
    return UnclearError if changes else UnavailableError


def failure(
    action: str,
    region: str,
    *,
    code: str,
    message: object,
    request_id: str = "",
    changes: bool,
    hidden: Sequence[str] = (),
) -> CloudError:
    """The typed error of one failed call, with a message for people.

    Args:
        action: the API's name.
        region: where it was called.
        code: the provider's code, or the SDK's.
        message: what came with it.
        request_id: the provider's.
        changes: whether the call buys or destroys.
        hidden: parts of the key. Answers quote what they refuse, and the error goes into logs, events and statuses.
    """
    advice = ADVICE.get(code)
    text = f"{action} in {region}: {code}: {_readable(message, hidden)}" + (f" ({advice})" if advice else "")
    return error_class(code, changes=changes)(text, code=code, request_id=request_id)


def _readable(message: object, hidden: Sequence[str]) -> str:
    """The SDK hands the body of a non-200 answer over as bytes."""
    text = message.decode("utf-8", "replace") if isinstance(message, bytes) else str(message)
    for secret in hidden:
        text = text.replace(secret, "(hidden)")
    text = " ".join(text.split())
    return text if len(text) <= MAX_MESSAGE else text[:MAX_MESSAGE] + "…"
