"""What every simulated action shares: the request's context, and the checks that the gateway makes of parameters."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec

from controller.sandbox.cloudsim.applications import Applications
from controller.sandbox.cloudsim.errors import ApiError
from controller.sandbox.cloudsim.faults import Fault
from controller.sandbox.cloudsim.world import World

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Call:
    """One authenticated request."""

    world: World
    applications: Applications
    secret_id: str
    region: str
    #: POSIX seconds by the simulated cloud's clock.
    now: float
    faults: Mapping[str, Fault]
    #: Of the HTTP request, names in lower case.
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


class Request(msgspec.Struct, rename="pascal", forbid_unknown_fields=True, frozen=True):
    """Base of all parameter shapes: PascalCase on the wire, unknown fields refused."""


class Filter(Request, frozen=True):
    """Values are alternatives; several filters must all hold."""

    name: str
    values: list[str]


@dataclass(frozen=True, slots=True)
class Action:
    """Shape of an action's parameters, and what it does."""

    shape: type[Request]
    #: Takes the call and the parameters, and returns the fields of `Response` (without RequestId).
    run: Callable[[Call, Any], dict[str, Any]]
    #: The body is no JSON; the action reads it itself.
    binary: bool = False


def read_parameters(params: Any, shape: type[T]) -> T:
    """Check the parameters.

    Raises:
        ApiError: MissingParameter, UnknownParameter or InvalidParameter.
    """
    try:
        return msgspec.convert(params, shape)
    except msgspec.ValidationError as error:
        text = str(error)
        if "missing required field" in text:
            raise ApiError("MissingParameter", f"The request is missing a required parameter. {text}") from None
        if "unknown field" in text:
            raise ApiError("UnknownParameter", f"The parameter is not recognized. {text}") from None
        raise ApiError("InvalidParameter", f"The type of a parameter is wrong. {text}") from None


def check_ids(ids: Sequence[str], *, most: int = 100) -> None:
    """Ids must be few enough and distinct.

    Raises:
        ApiError: InvalidParameterValue or InvalidParameterValue.Duplicated.
    """
    if not 0 < len(ids) <= most:
        raise ApiError("InvalidParameterValue", f"Between 1 and {most} ids may be given, not {len(ids)}.")
    if len(set(ids)) != len(ids):
        raise ApiError("InvalidParameterValue.Duplicated", "The same id is given twice.")
