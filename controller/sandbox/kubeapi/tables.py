"""Tables: what `kubectl get` shows. Columns come from the CRD, or stand here for the built-in kinds."""

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from controller.sandbox.kubeapi.errors import bad_request
from controller.sandbox.kubeapi.jsonpath import compile_path
from controller.sandbox.kubeapi.kinds import Column, Kind

JsonObject = dict[str, Any]
Cell = Callable[[JsonObject, datetime], Any]

#: (from, unit, next unit): a duration of at least `from` is shown in these units; the second one only if not zero.
_UNITS: Final = (
    (timedelta(days=8 * 365), ("y",)),
    (timedelta(days=2 * 365), ("y", "d")),
    (timedelta(days=8), ("d",)),
    (timedelta(hours=48), ("d", "h")),
    (timedelta(hours=8), ("h",)),
    (timedelta(hours=3), ("h", "m")),
    (timedelta(minutes=10), ("m",)),
    (timedelta(minutes=2), ("m", "s")),
    (timedelta.min, ("s",)),
)
_SECONDS: Final = {"y": 365 * 86400, "d": 86400, "h": 3600, "m": 60, "s": 1}


def age(since: str | None, now: datetime) -> str:
    """A time as `kubectl get` shows it: how long ago, in one or two units."""
    if since is None:
        return "<unknown>"
    try:
        passed = now - datetime.fromisoformat(since)
    except ValueError:
        return "<unknown>"
    units = next(units for start, units in _UNITS if passed >= start)
    seconds, text = max(0, int(passed.total_seconds())), ""
    for unit in units:
        count, seconds = divmod(seconds, _SECONDS[unit])
        text += f"{count}{unit}" if count or not text else ""
    return text


def _at(path: str) -> Cell:
    find = compile_path(path)
    return lambda item, _: next(iter(find(item)), None)


def _since(path: str) -> Cell:
    find = compile_path(path)
    return lambda item, now: age(next(iter(find(item)), None), now)


def _count(field: str) -> Cell:
    return lambda item, _: len(item.get(field) or ())


def _event_object(event: JsonObject, _: datetime) -> str:
    about = event.get("involvedObject", {})
    return f"{about.get('kind', '').lower()}/{about.get('name', '')}"


def _last_seen(event: JsonObject, now: datetime) -> str:
    return age(event.get("lastTimestamp") or event.get("eventTime") or event["metadata"]["creationTimestamp"], now)


def _ports(service: JsonObject, _: datetime) -> str:
    ports = service.get("spec", {}).get("ports") or []
    return ",".join(f"{port.get('port')}/{port.get('protocol', 'TCP')}" for port in ports) or "<none>"


_AGE: Final = (Column("Age"), _since(".metadata.creationTimestamp"))
_NAME: Final = (Column("Name", format="name"), _at(".metadata.name"))
#: Columns of the built-in kinds, by plural.
_BUILT_IN: Final[Mapping[str, tuple[tuple[Column, Cell], ...]]] = {
    "namespaces": (_NAME, (Column("Status"), _at(".status.phase")), _AGE),
    "secrets": (_NAME, (Column("Type"), _at(".type")), (Column("Data", "integer"), _count("data")), _AGE),
    "configmaps": (_NAME, (Column("Data", "integer"), _count("data")), _AGE),
    "serviceaccounts": (_NAME, (Column("Secrets", "integer"), _count("secrets")), _AGE),
    "services": (
        _NAME,
        (Column("Type"), lambda item, _: item.get("spec", {}).get("type", "ClusterIP")),
        (Column("Cluster-IP"), lambda item, _: item.get("spec", {}).get("clusterIP", "<none>")),
        (Column("External-IP"), lambda item, _: item.get("spec", {}).get("externalName", "<none>")),
        (Column("Port(s)"), _ports),
        _AGE,
    ),
    "leases": (_NAME, (Column("Holder"), _at(".spec.holderIdentity")), _AGE),
    "events": (
        (Column("Last Seen"), _last_seen),
        (Column("Type"), _at(".type")),
        (Column("Reason"), _at(".reason")),
        (Column("Object"), _event_object),
        (Column("Source", priority=1), _at(".source.component")),
        (Column("Message"), lambda event, _: str(event.get("message", "")).strip()),
        (Column("Count", "integer", priority=1), _at(".count")),
        (Column("Name", format="name", priority=1), _at(".metadata.name")),
    ),
    "customresourcedefinitions": (_NAME, (Column("Created At", "date"), _at(".metadata.creationTimestamp"))),
}


def _typed(column: Column) -> Cell:
    """The cell of a CRD's column: the first value at its path, if it has the declared type."""
    find = compile_path(column.path)

    def cell(item: JsonObject, now: datetime) -> Any:
        value = next(iter(find(item)), None)
        if value is None:
            return None
        numeric = isinstance(value, int | float) and not isinstance(value, bool)
        match column.type:
            case "integer":
                return int(value) if numeric else None
            case "number":
                return float(value) if numeric else None
            case "boolean":
                return value if isinstance(value, bool) else None
            case "date":
                return age(value, now) if isinstance(value, str) else None
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)

    return cell


def _columns(kind: Kind) -> tuple[tuple[Column, Cell], ...]:
    if kind.custom:
        return tuple((column, _typed(column)) for column in kind.columns)
    return _BUILT_IN.get(kind.plural, (_NAME, _AGE))


def partial(item: JsonObject) -> JsonObject:
    """The object's metadata alone."""
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": item["metadata"]}


def table(kind: Kind, items: Iterable[JsonObject], metadata: JsonObject, include: str, now: datetime) -> JsonObject:
    """Objects as a Table.

    Args:
        kind: of the objects.
        items: the rows.
        metadata: the list's.
        include: `None`, `Metadata` or `Object`: what of the object comes with each row.
        now: for ages.

    Raises:
        ApiError: 400, `include` is none of these.
    """
    if include not in {"", "None", "Metadata", "Object"}:
        raise bad_request(f'includeObject: unrecognized value "{include}": must be None, Metadata or Object')
    columns = _columns(kind)
    attached: Callable[[JsonObject], JsonObject | None] = {"None": lambda _: None, "Object": lambda item: item}.get(
        include, partial
    )
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": metadata,
        "columnDefinitions": [
            {key: getattr(column, key) for key in ("name", "type", "format", "description", "priority")}
            for column, _ in columns
        ],
        "rows": [{"cells": [cell(item, now) for _, cell in columns], "object": attached(item)} for item in items],
    }
