"""Typed errors of the cloud contract. An adapter raises nothing else.

The operator decides by class: what may be tried again, what needs another offer, what needs a person, and, above
all, what is *unclear*: a purchase of which nobody knows whether it happened.
"""


class CloudError(Exception):
    """Anything the cloud or the way to it refused.

    Attributes:
        code: the provider's error code, or the adapter's own for errors without one.
        request_id: the provider's request id, empty where there was no answer.
    """

    def __init__(self, message: str, *, code: str = "", request_id: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.request_id = request_id


class SoldOutError(CloudError):
    """The bundle is out of stock in this region: try the next offer."""


class ThrottledError(CloudError):
    """Too many requests: nothing happened, try again later."""


class ArrearsError(CloudError):
    """The account owes money or has no balance: nothing can be bought in any region until it is paid."""


class UnauthorizedError(CloudError):
    """Wrong key, missing permission or missing service role: a person has to act."""


class NotFoundError(CloudError):
    """The thing named in the request does not exist (any more)."""


class AmbiguousError(NotFoundError):
    """The name in the request stands for more than one thing, so none of them is the one that is meant."""


class InProgressError(CloudError):
    """Another operation on the instance is still running: try again later."""


class QuotaError(CloudError):
    """An account limit (instances, security groups, VPCs) is reached: a person has to act."""


class InvalidRequestError(CloudError):
    """The request itself is wrong (unknown bundle, disk too small, application not there): repeating cannot help."""


class NameTakenError(InvalidRequestError):
    """What is to be made would have a name that is in use."""


class UnavailableError(CloudError):
    """The cloud could not be reached or had an internal error on a call that changes nothing: try again later."""


class UnclearError(CloudError):
    """A call that changes something ended without a clear answer: it may or may not have happened."""


class IncompleteError(CloudError):
    """An answer lacked a required field, or a listing could not be completed. Never to be read as `empty`."""


class TooLargeError(CloudError):
    """What was sent is more than the cloud takes at once: send less at a time."""


class RejectedError(CloudError):
    """The cloud does not take this content, and will not: something in it is wrong."""
