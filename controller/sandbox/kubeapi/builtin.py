"""What the built-in kinds need beyond metadata. Their content is hardly validated: they are records clients share."""

import base64
import binascii
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from controller.sandbox.kubeapi import crds
from controller.sandbox.kubeapi.errors import Cause, bad_request, invalid_value
from controller.sandbox.kubeapi.kinds import CRDS, EVENTS, LEASES, NAMESPACES, SECRETS, Kind

JsonObject = dict[str, Any]

_MICRO_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}(Z|[+-]\d\d:\d\d)")
#: How long an Event is kept after it was last written.
EVENT_TTL: Final = timedelta(hours=1)
#: Namespaces that are there from the start.
INITIAL_NAMESPACES: Final = ("default", "kube-node-lease", "kube-public", "kube-system")
#: Namespaces that cannot be deleted.
PROTECTED_NAMESPACES: Final = frozenset({"default", "kube-public", "kube-system"})


def prepared(kind: Kind, item: JsonObject) -> JsonObject:
    """The object with the fields its kind fills in itself."""
    if kind is SECRETS:
        return _secret(item)
    if kind is NAMESPACES:
        return _namespace(item)
    if kind is CRDS:
        return crds.completed(item)
    if kind is EVENTS:
        return item | {key: _whole_second(item[key]) for key in ("firstTimestamp", "lastTimestamp") if item.get(key)}
    return item


def _whole_second(text: object) -> object:
    """A time as metav1.Time keeps it; what is no time is left for others to refuse."""
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        return text
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _secret(item: JsonObject) -> JsonObject:
    plain = item.get("stringData") or {}
    data = dict(item.get("data") or {})
    data |= {key: base64.b64encode(str(value).encode()).decode() for key, value in plain.items()}
    rest = {key: value for key, value in item.items() if key not in {"data", "stringData"}}
    return {"type": "Opaque"} | rest | ({"data": data} if data else {})


def _namespace(item: JsonObject) -> JsonObject:
    metadata = item["metadata"]
    labels = metadata.get("labels", {}) | {"kubernetes.io/metadata.name": metadata["name"]}
    phase = "Terminating" if "deletionTimestamp" in metadata else "Active"
    return item | {
        "metadata": metadata | {"labels": labels},
        "spec": {"finalizers": ["kubernetes"]},
        "status": {"phase": phase},
    }


def check_times(kind: Kind, item: JsonObject) -> None:
    """Refuses times that the API server cannot read: those of Leases and `eventTime` have six digits of a second.

    Raises:
        ApiError: 400, naming the field.
    """
    spec = item.get("spec") or {}
    fields = {"spec.acquireTime": spec.get("acquireTime"), "spec.renewTime": spec.get("renewTime")}
    if kind is EVENTS:
        fields = {"eventTime": item.get("eventTime")}
    elif kind is not LEASES:
        return
    for field, value in fields.items():
        if value is not None and not (isinstance(value, str) and _MICRO_TIME.fullmatch(value)):
            message = f'{field}: parsing time "{value}" as "2006-01-02T15:04:05.000000Z07:00": cannot parse'
            raise bad_request(f'{kind.kind} in version "{kind.version}" cannot be handled as a {kind.kind}: {message}')


def faults(kind: Kind, item: JsonObject) -> Iterator[Cause]:
    """What is wrong with the content of a built-in object."""
    if kind is CRDS:
        yield from crds.faults(item)
    elif kind is SECRETS:
        for key, value in item.get("data", {}).items():
            if not _is_base64(value):
                yield invalid_value(f"data[{key}]", "<hidden>", "must be base64; plain text goes into stringData")
    elif kind is EVENTS:
        namespace = item.get("involvedObject", {}).get("namespace") or "default"
        if namespace != item["metadata"]["namespace"]:
            yield invalid_value("involvedObject.namespace", namespace, "does not match event.namespace")
        # Events of the newer form have to say these, too.
        for field in ("reportingComponent", "reportingInstance", "action") if item.get("eventTime") else ():
            if not item.get(field):
                yield invalid_value(field, "", "must be set with eventTime")


def _is_base64(value: object) -> bool:
    try:
        base64.b64decode(str(value), validate=True)
    except binascii.Error:
        return False
    return True


def event_expired(event: JsonObject, now: datetime) -> bool:
    """Whether the Event was last seen longer ago than events are kept."""
    seen = event.get("lastTimestamp") or event["metadata"]["creationTimestamp"]
    try:
        return now - datetime.fromisoformat(seen) > EVENT_TTL
    except (TypeError, ValueError):
        return now - datetime.fromisoformat(event["metadata"]["creationTimestamp"]) > EVENT_TTL
