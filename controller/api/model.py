"""What the kinds have in common: base class, metadata, conditions, CEL rules, and how to read an object.

Models are frozen msgspec structs. Their type annotations carry bounds and descriptions, from which
`controller.api.crd` generates the schema, so the Python side and the API server refuse the same things.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Final, Literal, NamedTuple, TypeVar

import msgspec


class Rule(NamedTuple):
    """One CEL rule of the API server (`x-kubernetes-validations`)."""

    rule: str
    message: str
    field_path: str | None = None


class Model(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A part of a kind. `cel` holds the rules that bind several of its fields."""

    cel: ClassVar[tuple[Rule, ...]] = ()


class OwnerReference(Model, frozen=True, kw_only=True):
    """The owner of an object, as Kubernetes writes it."""

    api_version: str
    kind: str
    name: str
    uid: str
    controller: bool = False
    block_owner_deletion: bool = False


class Metadata(Model, frozen=True, kw_only=True):
    """The part of ObjectMeta that haipool reads."""

    name: str
    namespace: str = "default"
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    finalizers: tuple[str, ...] = ()
    owner_references: tuple[OwnerReference, ...] = ()

    @property
    def deleting(self) -> bool:
        """Whether deletion was asked for (finalizers may still hold the object)."""
        return self.deletion_timestamp is not None

    @property
    def key(self) -> str:
        """`namespace/name`."""
        return f"{self.namespace}/{self.name}"


ConditionStatus = Literal["True", "False", "Unknown"]

#: Longest condition or event message; Kubernetes truncates events at 1 024 and people stop reading before.
MESSAGE_LIMIT: Final = 300


class ConditionModel(Model, frozen=True, kw_only=True):
    """One entry of `status.conditions`: Unknown while unsettled, False only when someone should act."""

    type: str
    status: ConditionStatus
    reason: str
    message: str = ""
    last_transition_time: str = ""
    observed_generation: int = 0


M = TypeVar("M", bound=Model)


class InvalidObjectError(ValueError):
    """An object does not fit its kind; the text names the field."""


def read(kind: type[M], raw: Mapping[str, Any]) -> M:
    """The typed form of an object as the API server sends it.

    Raises:
        InvalidObjectError: a field is missing or out of bounds; the message names it.
    """
    try:
        return msgspec.convert(raw, kind)
    except msgspec.ValidationError as error:
        name = raw.get("metadata", {}).get("name", "?")
        raise InvalidObjectError(f"{kind.__name__} {name}: {error}") from error


def write(model: Model) -> dict[str, Any]:
    """The JSON form of a model, without the fields that are None."""
    return drop_none(msgspec.to_builtins(model, str_keys=True))  # type: ignore[no-any-return]


def write_over(model: Model) -> dict[str, Any]:
    """The JSON form of a model that replaces an older one by merge patch: what is None is deleted there.

    Left out, it would stay as it was. Inside lists, which a merge patch replaces whole, None is left out as ever.
    """
    return _drop_none_in_lists(msgspec.to_builtins(model, str_keys=True))  # type: ignore[no-any-return]


def _drop_none_in_lists(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _drop_none_in_lists(item) for key, item in value.items()}
    return drop_none(value)


def drop_none(value: Any) -> Any:
    """JSON without the fields that are None, at any depth."""
    if isinstance(value, dict):
        return {key: drop_none(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [drop_none(item) for item in value]
    return value
