"""Faults that can be switched on: what the real cloud was seen, or must be expected, to do wrong."""

import itertools
from typing import Annotated, Final, Literal, get_args

import msgspec

FaultKind = Literal[
    # Refusals: nothing happens.
    "sold_out",
    "throttled",
    "arrears",
    "unauthorized",
    "busy",
    "error",
    # The transport fails before anything happens.
    "http_500",
    "reset",
    # The work is done, but the answer is lost.
    "commit_then_500",
    "commit_then_reset",
    "commit_then_timeout",
    # The request is overtaken: it reaches the service after the next one of its action, or after `seconds`.
    "late",
    # The answer is late or odd.
    "slow",
    "slow_body",
    "charset",
    "missing_fields",
    "broken_json",
    "string_variants",
    "percent_discount",
    # Lists.
    "eventual_listing",
    "literal_paging",
    "swapped_paging",
    "wrong_total",
    "truncated_paging",
    "shuffled_paging",
    "repeated_entries",
    # The instance never comes up.
    "launch_failed",
    "never_running",
    # The destruction is accepted, and does not happen.
    "ignored",
]

_CHANGES: Final = frozenset({"RunInstances", "TerminateInstances", "CreateApplication"})
_UPLOADS: Final = frozenset({"UploadLog", "UpdateDomainConfig", "StartCdnDomain", "StopCdnDomain"})
_BUYS: Final = frozenset({"RunInstances"})
_LISTS: Final = frozenset({"DescribeInstances"})
#: Actions that a kind can affect; a kind that is not named affects all.
APPLIES_TO: Final[dict[str, frozenset[str]]] = {
    "sold_out": _BUYS | {"InquirePriceRunInstances"},
    "arrears": _BUYS,
    "launch_failed": _BUYS,
    "never_running": _BUYS,
    "ignored": frozenset({"TerminateInstances"}),
    "busy": frozenset({"TerminateInstances", "CreateApplication"}),
    "commit_then_500": _CHANGES | _UPLOADS,
    "commit_then_reset": _CHANGES | _UPLOADS,
    "commit_then_timeout": _CHANGES | _UPLOADS,
    "string_variants": _LISTS | {"DescribeInstanceNetworkStatus"},
    "percent_discount": frozenset({"InquirePriceRunInstances"}),
    "eventual_listing": _LISTS | {"DescribeApplications"},
    "literal_paging": _LISTS,
    "swapped_paging": _LISTS,
    "wrong_total": _LISTS,
    "truncated_paging": _LISTS,
    "shuffled_paging": _LISTS,
    "repeated_entries": _LISTS,
}
#: The error codes of the refusals.
REFUSALS: Final[dict[str, str]] = {
    "sold_out": "ResourceInsufficient.BundleInventoryShortage",
    "throttled": "RequestLimitExceeded",
    "arrears": "FailedOperation.ArrearsAccountCannotRunInstances",
    "unauthorized": "UnauthorizedOperation.UnauthorizedUser",
    "busy": "OperationDenied.InstanceOperationInProgress",
}


class Fault(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One fault that is on."""

    kind: FaultKind
    #: Only this action; None means every action the kind can affect.
    action: str | None = None
    #: Only this region; None means all.
    region: str | None = None
    #: How many requests it still affects; None means until it is cleared.
    count: Annotated[int, msgspec.Meta(ge=1)] | None = None
    #: Length of a delay, or age under which an instance or application is not listed yet.
    seconds: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    #: For `error`: what to answer.
    code: str = "InternalError"
    message: str = "The simulated fault of this name."

    def affects(self, action: str, region: str) -> bool:
        """Whether a request meets it."""
        possible = APPLIES_TO.get(self.kind)
        return (
            self.action in (None, action) and self.region in (None, region) and (possible is None or action in possible)
        )


class Faults:
    """The faults that are on, by id."""

    def __init__(self) -> None:
        self._ids = itertools.count(1)
        self._on: dict[int, Fault] = {}

    def add(self, fault: Fault) -> int:
        """Switch one on and return its id.

        Raises:
            ValueError: the kind is unknown, or cannot affect the action it is limited to.
        """
        if fault.kind not in get_args(FaultKind):
            raise ValueError(f"kind must be one of {', '.join(get_args(FaultKind))}")
        possible = APPLIES_TO.get(fault.kind)
        if fault.action is not None and possible is not None and fault.action not in possible:
            raise ValueError(f"{fault.kind} can only affect {', '.join(sorted(possible))}")
        number = next(self._ids)
        self._on[number] = fault
        return number

    def remove(self, number: int) -> bool:
        """Switch one off; False if it is not on."""
        return self._on.pop(number, None) is not None

    def clear(self) -> None:
        """Switch all off."""
        self._on.clear()

    def all(self) -> dict[int, Fault]:
        """What is on."""
        return dict(self._on)

    def take(self, action: str, region: str) -> dict[str, Fault]:
        """The faults that one request meets, by kind; each uses up one of its count."""
        met: dict[str, Fault] = {}
        for number, fault in list(self._on.items()):
            if fault.kind in met or not fault.affects(action, region):
                continue
            met[fault.kind] = fault
            if fault.count == 1:
                del self._on[number]
            elif fault.count is not None:
                self._on[number] = msgspec.structs.replace(fault, count=fault.count - 1)
        return met
