"""The pool of a replay: a GpuPool out of YAML, with settings changed for the occasion, checked as the API server would.

A mistyped field must not pass for its default, so unknown fields are refused here, where no API server does it.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec
import yaml

from controller.api.budget import Cap
from controller.api.catalog import REGIONS, SAMPLE_PRICES
from controller.api.gpupool import GpuPool, GpuPoolSpec
from controller.api.model import InvalidObjectError, read
from controller.scaling.snapshot import Offer


class PoolFileError(ValueError):
    """The pool cannot be used; the text names the field and the fix."""


#: Pairs of which the first must be below the second, as the kinds' CEL rules say.
ORDERED: Final = (
    ("down.meanResponseSeconds", "up.meanResponseSeconds"),
    ("down.queueLength", "up.queueLength"),
    ("down.cpuPercent", "up.cpuPercent"),
)


def load_pool(text: str, changes: Iterable[tuple[str, str]] = ()) -> GpuPool:
    """The one GpuPool in a YAML text.

    Args:
        text: YAML of one or more documents.
        changes: (path under spec, YAML of the value), such as ("scaling.up.step", "2").

    Raises:
        PoolFileError: there is none or more than one, or a field is unknown, out of bounds or at odds with another.
    """
    raw = _the_pool(text)
    spec = raw.get("spec") or {}
    if not isinstance(spec, dict):
        raise PoolFileError("spec: must be a mapping")
    raw["spec"] = spec
    for path, value in changes:
        _change(spec, path, value)
    unknown = next(_unknown(msgspec.inspect.type_info(GpuPoolSpec), spec, "spec"), None)
    if unknown:
        raise PoolFileError(f"{unknown}: no such field; `kubectl explain gpupool.spec --recursive` lists them")
    try:
        pool = read(GpuPool, raw)
    except InvalidObjectError as error:
        raise PoolFileError(str(error)) from error
    _check(pool.spec)
    return pool


def _the_pool(text: str) -> dict[str, Any]:
    try:
        documents = list(yaml.safe_load_all(text))
    except yaml.YAMLError as error:
        raise PoolFileError(f"not YAML: {' '.join(str(error).split())}") from error
    pools = [d for d in documents if isinstance(d, dict) and d.get("kind") == "GpuPool"]
    if len(pools) != 1:
        raise PoolFileError(f"one object of kind GpuPool is wanted, found {len(pools)}")
    pool: dict[str, Any] = pools[0]
    return pool


def _change(spec: dict[str, Any], path: str, text: str) -> None:
    *parents, last = path.removeprefix("spec.").split(".")
    place = spec
    for name in parents:
        inner = place.setdefault(name, {})
        if not isinstance(inner, dict):
            raise PoolFileError(f"spec.{path}: {name} has no fields")
        place = inner
    try:
        place[last] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise PoolFileError(f"spec.{path}: {text!r} is not a value in YAML") from error


def _unknown(kind: msgspec.inspect.Type, value: Any, path: str) -> Iterator[str]:
    """Yield the paths of fields that the kind does not have."""
    if isinstance(kind, msgspec.inspect.Metadata):
        yield from _unknown(kind.type, value, path)
    elif isinstance(kind, msgspec.inspect.UnionType):
        for option in kind.types:
            yield from _unknown(option, value, path)
    elif isinstance(kind, msgspec.inspect.VarTupleType) and isinstance(value, list):
        for index, item in enumerate(value):
            yield from _unknown(kind.item_type, item, f"{path}[{index}]")
    elif isinstance(kind, msgspec.inspect.StructType) and isinstance(value, dict):
        fields = {field.encode_name: field.type for field in kind.fields}
        for name, inner in value.items():
            if name in fields:
                yield from _unknown(fields[name], inner, f"{path}.{name}")
            else:
                yield f"{path}.{name}"


def _check(spec: GpuPoolSpec) -> None:
    """The rules that bind several fields, where they matter to a replay."""
    replicas = spec.replicas
    if replicas.max is not None and replicas.min > replicas.max:
        raise PoolFileError("replicas.min must not exceed replicas.max")
    for name, cap in (("hourly", spec.budget.hourly), ("daily", spec.budget.daily), ("monthly", spec.budget.monthly)):
        _check_cap(name, cap)
    scaling = msgspec.to_builtins(spec.scaling)
    for low, high in ORDERED:
        if _at(scaling, low) >= _at(scaling, high):
            raise PoolFileError(f"scaling.{low} must be below scaling.{high}")


def _check_cap(name: str, cap: Cap | None) -> None:
    if cap is None:
        return
    if cap.soft is None and cap.hard is None:
        raise PoolFileError(f"budget.{name}: a budget needs soft, hard, or both")
    if cap.soft is not None and cap.hard is not None and cap.soft > cap.hard:
        raise PoolFileError(f"budget.{name}.soft must not exceed budget.{name}.hard")


def _at(scaling: Mapping[str, Any], path: str) -> float:
    direction, name = path.split(".")
    return float(scaling[direction][name])


def offers_of(spec: GpuPoolSpec, prices: Mapping[str, float]) -> tuple[Offer, ...]:
    """What the pool may buy, all in one region.

    Args:
        spec: the pool's; its `pricePerHour` counts before anything else.
        prices: CNY per hour by bundle, instead of the sample prices.
    """
    found = []
    for bundle, sample in SAMPLE_PRICES.items():
        kind = spec.gpu_type(bundle)
        if kind is not None:
            price = kind.price_per_hour or prices.get(bundle, sample)
            found.append(Offer(REGIONS[0], bundle, price, 0, "replay", "app-replay"))
    return tuple(found)
