"""ObjectMeta: what a client may write, what the API server owns, and what is a valid name."""

import re
import secrets
import uuid
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final

from controller.sandbox.kubeapi.errors import (
    Cause,
    bad_request,
    forbidden_value,
    invalid_value,
    required,
)
from controller.sandbox.kubeapi.kinds import Kind

JsonObject = dict[str, Any]

_LABEL: Final = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_ENDS: Final = "and end with an alphanumeric character"
#: Rules for names: pattern, greatest length, what the message says.
_NAME_RULES: Final = {
    "subdomain": (
        re.compile(rf"{_LABEL}(\.{_LABEL})*"),
        253,
        "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start "
        + _ENDS,
    ),
    "label": (
        re.compile(_LABEL),
        63,
        "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start " + _ENDS,
    ),
    "dns1035": (
        re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?"),
        63,
        "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with a letter, " + _ENDS,
    ),
}
_PART: Final = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")
_PART_TEXT: Final = (
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character"
)
#: Greatest size of all annotations together, bytes.
ANNOTATIONS_LIMIT: Final = 256 * 1024
#: Characters of the random part of a generated name: no vowels, so that no words come out.
_SUFFIX: Final = "bcdfghjklmnpqrstvwxz2456789"

#: Fields of ObjectMeta that a client may write, with the JSON type they have.
_WRITABLE: Final[Mapping[str, type]] = {
    "name": str,
    "generateName": str,
    "namespace": str,
    "uid": str,
    "resourceVersion": str,
    "labels": dict,
    "annotations": dict,
    "finalizers": list,
    "ownerReferences": list,
    "creationTimestamp": str,
    "deletionTimestamp": str,
    "deletionGracePeriodSeconds": int,
    "generation": int,
    "selfLink": str,
    "managedFields": list,
}
#: Accepted from a client and not kept: managed fields are not recorded here.
_DROPPED: Final = ("selfLink", "managedFields")
#: Set by the API server only; an update takes them from the object as it is.
_SERVER_OWNED: Final = (
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "generation",
    "generateName",
    "namespace",
)


def timestamp(moment: datetime) -> str:
    """A moment as Kubernetes writes it: UTC, whole seconds."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def cleaned(item: JsonObject) -> tuple[JsonObject, list[str]]:
    """The metadata a client sent, without empty and unknown fields.

    Returns:
        The metadata, and the paths of unknown fields.

    Raises:
        ApiError: 400, a field has the wrong JSON type.
    """
    metadata = item.get("metadata") or {}
    if not isinstance(metadata, dict):
        raise bad_request("metadata: must be an object")
    unknown = [f"metadata.{key}" for key in metadata if key not in _WRITABLE]
    kept: JsonObject = {}
    for key, wanted in _WRITABLE.items():
        value = metadata.get(key)
        if value is None or key in _DROPPED:
            continue
        if not isinstance(value, wanted) or isinstance(value, bool):
            raise bad_request(f"json: cannot unmarshal into field ObjectMeta.{key}: must be of type {wanted.__name__}")
        if value not in ("", {}, []):
            kept[key] = value
    for key in ("labels", "annotations"):
        if not all(isinstance(value, str) for value in kept.get(key, {}).values()):
            raise bad_request(f"json: cannot unmarshal into Go struct field ObjectMeta.{key} of type string")
    if not all(isinstance(value, str) for value in kept.get("finalizers", [])):
        raise bad_request("json: cannot unmarshal into Go struct field ObjectMeta.finalizers of type string")
    return kept, unknown


def for_create(metadata: JsonObject, kind: Kind, namespace: str, now: datetime) -> JsonObject:
    """The metadata of a new object: what the client may set, and the identity the API server gives it."""
    name = metadata.get("name") or ""
    if not name and metadata.get("generateName"):
        prefix = metadata["generateName"][: _NAME_RULES[kind.name_rule][1] - 5]
        name = prefix + "".join(secrets.choice(_SUFFIX) for _ in range(5))
    written = {key: value for key, value in metadata.items() if key not in _SERVER_OWNED}
    written |= {"name": name, "uid": str(uuid.uuid4()), "creationTimestamp": timestamp(now)}
    if "generateName" in metadata:
        written["generateName"] = metadata["generateName"]
    if kind.namespaced:
        written["namespace"] = namespace
    if kind.has_generation:
        written["generation"] = 1
    return written


def for_update(metadata: JsonObject, old: Mapping[str, Any]) -> JsonObject:
    """The metadata of a changed object: the identity stays, names, labels and the like come from the client."""
    written = {key: value for key, value in metadata.items() if key not in _SERVER_OWNED}
    written |= {key: old[key] for key in _SERVER_OWNED if key in old}
    return written | {"uid": metadata.get("uid", old["uid"]), "resourceVersion": old["resourceVersion"]}


def faults(metadata: JsonObject, kind: Kind, old: Mapping[str, Any] | None) -> list[Cause]:
    """What is wrong with the metadata of an object about to be stored; `old` is what it replaces."""
    found = [*_name_faults(metadata, kind), *_label_faults(metadata), *_owner_faults(metadata)]
    if old is not None:
        if metadata["uid"] != old["uid"]:
            found.append(invalid_value("metadata.uid", metadata["uid"], "field is immutable"))
        added = [name for name in metadata.get("finalizers", []) if name not in old.get("finalizers", [])]
        if "deletionTimestamp" in old and added:
            message = "no new finalizers can be added if the object is being deleted, found new finalizers"
            found.append(forbidden_value("metadata.finalizers", f"{message} {added}"))
    return found


def _name_faults(metadata: JsonObject, kind: Kind) -> Iterator[Cause]:
    pattern, longest, text = _NAME_RULES[kind.name_rule]
    name = metadata["name"]
    if not name:
        yield required("metadata.name", "name or generateName is required")
    elif len(name) > longest:
        yield invalid_value("metadata.name", name, f"must be no more than {longest} bytes")
    elif not pattern.fullmatch(name):
        yield invalid_value("metadata.name", name, f"{text} (regex used for validation is '{pattern.pattern}')")


def _label_faults(metadata: JsonObject) -> Iterator[Cause]:
    for field in ("labels", "annotations"):
        for key in metadata.get(field, {}):
            if (message := _key_fault(key)) is not None:
                yield invalid_value(f"metadata.{field}", key, message)
    for value in metadata.get("labels", {}).values():
        if value and (len(value) > 63 or not _PART.fullmatch(value)):
            message = f"a valid label must be an empty string or consist of at most 63 characters, which {_PART_TEXT}"
            yield invalid_value("metadata.labels", value, message)
    size = sum(len(key) + len(value.encode()) for key, value in metadata.get("annotations", {}).items())
    if size > ANNOTATIONS_LIMIT:
        message = f"Too long: may not be more than {ANNOTATIONS_LIMIT} bytes"
        yield Cause("FieldValueTooLong", "metadata.annotations", message)
    for name in metadata.get("finalizers", []):
        if (message := _key_fault(name)) is not None:
            yield invalid_value("metadata.finalizers", name, message)


def _key_fault(key: str) -> str | None:
    prefix, slash, name = key.rpartition("/")
    if slash and (len(prefix) > 253 or not _NAME_RULES["subdomain"][0].fullmatch(prefix)):
        return f"prefix part {_NAME_RULES['subdomain'][2]}"
    if len(name) > 63 or not _PART.fullmatch(name):
        return f"name part must be at most 63 characters, {_PART_TEXT}"
    return None


def _owner_faults(metadata: JsonObject) -> Iterator[Cause]:
    for owner in metadata.get("ownerReferences", []):
        for field in ("apiVersion", "kind", "name", "uid"):
            if not isinstance(owner, dict) or not owner.get(field):
                yield invalid_value(f"metadata.ownerReferences.{field}", "", f"{field} must not be empty")
