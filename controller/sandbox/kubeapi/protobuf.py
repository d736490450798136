"""Protobuf bodies of `kubectl create namespace|secret|configmap|serviceaccount|service`, as JSON documents.

Those commands of kubectl send protobuf and do not try JSON when it is refused. Only the messages they send are known
here; field numbers are those of Kubernetes' published .proto files. A field that is not known and not empty is an
error, never dropped in silence.
"""

import base64
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from controller.sandbox.kubeapi.errors import ApiError, bad_request

JsonObject = dict[str, Any]

CONTENT_TYPE: Final = "application/vnd.kubernetes.protobuf"
#: First bytes of every message; a `runtime.Unknown` follows.
_MAGIC: Final = b"k8s\x00"


class _Field(NamedTuple):
    """A field of a message: `type` is text, bytes, int, bool, time, map, bytesmap, int-or-text or a message."""

    name: str
    type: str = "text"
    repeated: bool = False


_OWNER: Final = {
    1: _Field("kind"),
    3: _Field("name"),
    4: _Field("uid"),
    5: _Field("apiVersion"),
    6: _Field("controller", "bool"),
    7: _Field("blockOwnerDeletion", "bool"),
}
_META: Final = {
    1: _Field("name"),
    2: _Field("generateName"),
    3: _Field("namespace"),
    4: _Field("selfLink"),
    5: _Field("uid"),
    6: _Field("resourceVersion"),
    7: _Field("generation", "int"),
    8: _Field("creationTimestamp", "time"),
    9: _Field("deletionTimestamp", "time"),
    10: _Field("deletionGracePeriodSeconds", "int"),
    11: _Field("labels", "map"),
    12: _Field("annotations", "map"),
    13: _Field("ownerReferences", "owner", repeated=True),
    14: _Field("finalizers", repeated=True),
}
_REFERENCE: Final = {3: _Field("name")}
_PORT: Final = {
    1: _Field("name"),
    2: _Field("protocol"),
    3: _Field("port", "int"),
    4: _Field("targetPort", "int-or-text"),
    5: _Field("nodePort", "int"),
    6: _Field("appProtocol"),
}
_SERVICE: Final = {
    1: _Field("ports", "port", repeated=True),
    2: _Field("selector", "map"),
    3: _Field("clusterIP"),
    4: _Field("type"),
    5: _Field("externalIPs", repeated=True),
    7: _Field("sessionAffinity"),
    8: _Field("loadBalancerIP"),
    9: _Field("loadBalancerSourceRanges", repeated=True),
    10: _Field("externalName"),
    11: _Field("externalTrafficPolicy"),
    12: _Field("healthCheckNodePort", "int"),
    13: _Field("publishNotReadyAddresses", "bool"),
    17: _Field("ipFamilyPolicy"),
    18: _Field("clusterIPs", repeated=True),
    19: _Field("ipFamilies", repeated=True),
}
_NOTHING: Final[Mapping[int, _Field]] = {1: _Field("loadBalancer", "nothing")}
_MESSAGES: Final[Mapping[str, Mapping[int, _Field]]] = {
    "meta": _META,
    "owner": _OWNER,
    "reference": _REFERENCE,
    "port": _PORT,
    "service": _SERVICE,
    "nothing": _NOTHING,
    "type": {1: _Field("apiVersion"), 2: _Field("kind")},
    "unknown": {1: _Field("type", "type"), 2: _Field("raw", "bytes"), 3: _Field("encoding"), 4: _Field("media")},
    "int-or-text": {1: _Field("isText", "int"), 2: _Field("int", "int"), 3: _Field("text")},
    "Namespace": {1: _Field("metadata", "meta"), 2: _Field("spec", "nothing"), 3: _Field("status", "nothing")},
    "ConfigMap": {
        1: _Field("metadata", "meta"),
        2: _Field("data", "map"),
        3: _Field("binaryData", "bytesmap"),
        4: _Field("immutable", "bool"),
    },
    "Secret": {
        1: _Field("metadata", "meta"),
        2: _Field("data", "bytesmap"),
        3: _Field("type"),
        4: _Field("stringData", "map"),
        5: _Field("immutable", "bool"),
    },
    "ServiceAccount": {
        1: _Field("metadata", "meta"),
        2: _Field("secrets", "reference", repeated=True),
        3: _Field("imagePullSecrets", "reference", repeated=True),
        4: _Field("automountServiceAccountToken", "bool"),
    },
    "Service": {1: _Field("metadata", "meta"), 2: _Field("spec", "service"), 3: _Field("status", "nothing")},
}
_KINDS: Final = frozenset({"Namespace", "ConfigMap", "Secret", "ServiceAccount", "Service"})


def decode(body: bytes) -> JsonObject:
    """The object in a protobuf body.

    Raises:
        ApiError: 400, it is no such message; 415, it is of a kind that is only read as JSON.
    """
    if not body.startswith(_MAGIC):
        raise bad_request(f"provided data does not appear to be a protobuf message, expected prefix {list(_MAGIC)}")
    try:
        envelope = _message(body[len(_MAGIC) :], "unknown")
        head: JsonObject = envelope.get("type", {})
        if head.get("apiVersion") != "v1" or head.get("kind") not in _KINDS:
            message = f"{head.get('kind')} in {head.get('apiVersion')} is only read as JSON: use kubectl apply -f"
            raise ApiError(415, "UnsupportedMediaType", message)
        return head | _message(base64.b64decode(envelope["raw"]), head["kind"])
    except (ValueError, IndexError, KeyError, UnicodeDecodeError) as error:
        raise bad_request(f"the protobuf message cannot be read: {error}; use kubectl apply -f") from error


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Number and value of each field on the wire."""
    position = 0
    while position < len(data):
        tag, position = _varint(data, position)
        if tag & 7 == 0:
            value, position = _varint(data, position)
            yield tag >> 3, value
        elif tag & 7 == 2:
            size, position = _varint(data, position)
            if position + size > len(data):
                raise ValueError("it is cut off")
            yield tag >> 3, data[position : position + size]
            position += size
        else:
            raise ValueError(f"wire type {tag & 7} is not used by these kinds")


def _message(data: bytes, name: str) -> JsonObject:
    """A message as JSON; empty values, zero and false are left out, as JSON leaves them out."""
    known, found = _MESSAGES[name], dict[str, Any]()
    for number, raw in _fields(data):
        if number not in known:
            if raw:
                raise ValueError(f"field {number} of {name} is not known here")
            continue
        field = known[number]
        value = _value(field.type, raw)
        if field.repeated:
            found.setdefault(field.name, []).append(value)
        elif field.type in {"map", "bytesmap"}:
            found.setdefault(field.name, {}).update(value)
        elif value:
            found[field.name] = value
    return found


def _value(kind: str, raw: int | bytes) -> Any:
    if isinstance(raw, int):
        # Negative numbers are written as their 64-bit complement.
        return bool(raw) if kind == "bool" else raw - (1 << 64) if raw >= 1 << 63 else raw
    return _READERS[kind](raw) if kind in _READERS else _message(raw, kind)


def _entry(raw: bytes) -> tuple[str, bytes]:
    entry = {number: value for number, value in _fields(raw) if isinstance(value, bytes)}
    return entry.get(1, b"").decode(), entry.get(2, b"")


def _text_entry(raw: bytes) -> dict[str, str]:
    key, value = _entry(raw)
    return {key: value.decode()}


def _bytes_entry(raw: bytes) -> dict[str, str]:
    key, value = _entry(raw)
    return {key: base64.b64encode(value).decode()}


def _time(raw: bytes) -> str | None:
    seconds = dict(_fields(raw)).get(1)
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if seconds else None


def _int_or_text(raw: bytes) -> int | str:
    found = _message(raw, "int-or-text")
    value: int | str = found.get("text", "") if found.get("isText") else found.get("int", 0)
    return value


_READERS: Final[Mapping[str, Callable[[bytes], Any]]] = {
    "text": bytes.decode,
    "bytes": lambda raw: base64.b64encode(raw).decode(),
    "map": _text_entry,
    "bytesmap": _bytes_entry,
    "time": _time,
    "int-or-text": _int_or_text,
}
