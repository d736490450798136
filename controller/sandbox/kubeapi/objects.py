"""The verbs on objects: create, read, update, patch, delete. No HTTP here; requests arrive as plain data."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final, Literal, NamedTuple

from controller.sandbox.kubeapi import builtin, crds, errors, metadata
from controller.sandbox.kubeapi.decoding import Decoded, StrictDecodingError, WriteOptions, decoded
from controller.sandbox.kubeapi.kinds import CRDS, EVENTS, NAMESPACES, Kind, Kinds
from controller.sandbox.kubeapi.schema import fit
from controller.sandbox.kubeapi.store import Key, Store

JsonObject = dict[str, Any]
Part = Literal["main", "status"]

#: Built-in kinds whose updates have to name the version they are for; those of CRDs always have to.
_CONDITIONAL: Final = frozenset({"customresourcedefinitions", "leases"})


class Preconditions(NamedTuple):
    """What an object has to be for a deletion to go ahead; empty: anything."""

    uid: str = ""
    resource_version: str = ""


class Objects:
    """The objects of a cluster and what can be done to them."""

    def __init__(self, store: Store, kinds: Kinds, clock: Callable[[], datetime]) -> None:
        self.store = store
        self.kinds = kinds
        self._clock = clock
        for name in builtin.INITIAL_NAMESPACES:
            self.create(NAMESPACES, "", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})

    # --- Reading --------------------------------------------------------------------------------------------------

    def get(self, kind: Kind, key: Key) -> JsonObject:
        """The object.

        Raises:
            ApiError: 404, there is none.
        """
        item = self.store.get(kind.key, key)
        if item is None:
            raise errors.not_found(kind.group, kind.plural, key[1])
        return item

    # --- Writing --------------------------------------------------------------------------------------------------

    def create(self, kind: Kind, namespace: str, body: JsonObject, options: WriteOptions | None = None) -> Decoded:
        """Creates an object.

        Raises:
            ApiError: 400 malformed, 403 namespace ending, 404 no such namespace, 409 exists, 422 invalid.
        """
        options = options or WriteOptions()
        item, warnings = decoded(kind, body, options)
        sent = item["metadata"]
        _check_same_namespace(sent, namespace)
        if "resourceVersion" in sent:
            raise errors.bad_request("resourceVersion should not be set on objects to be created")
        self._check_namespace(kind, namespace, sent.get("name", ""))
        item["metadata"] = metadata.for_create(sent, kind, namespace, self._clock())
        if kind.has_status:
            item.pop("status", None)
        item = builtin.prepared(kind, item)
        self._check(kind, item, None)
        key = (namespace, item["metadata"]["name"])
        taken = self.store.get(kind.key, key)
        if taken is not None:
            deleting = "deletionTimestamp" in taken["metadata"]
            raise errors.already_exists(kind.group, kind.plural, key[1], deleting=deleting)
        return Decoded(self._put(kind, key, item, options), warnings)

    def update(
        self,
        kind: Kind,
        key: Key,
        body: JsonObject,
        options: WriteOptions | None = None,
        part: Part = "main",
    ) -> Decoded:
        """Replaces an object, or only its status.

        Raises:
            ApiError: 400 malformed, 404 no such object, 409 for another version or uid, 422 invalid.
        """
        options, (namespace, name) = options or WriteOptions(), key
        item, warnings = decoded(kind, body, options)
        sent = item["metadata"]
        if sent.get("name") != name:
            message = f"the name of the object ({sent.get('name', '')}) does not match the name on the URL ({name})"
            raise errors.bad_request(message)
        _check_same_namespace(sent, namespace)
        old = self.get(kind, key)
        self._check_version(kind, name, sent, old)
        return Decoded(self._replace(kind, old, item, options, part), warnings)

    def patch(
        self,
        kind: Kind,
        key: Key,
        apply: Callable[[JsonObject], JsonObject],
        options: WriteOptions | None = None,
        part: Part = "main",
    ) -> Decoded:
        """Changes an object by a function of its present state.

        Raises:
            ApiError: as `update`; 409 only if the patch itself names another version.
        """
        old = self.get(kind, key)
        try:
            return self.update(kind, key, apply(old), options, part)
        except StrictDecodingError as error:
            cause = errors.Cause("FieldValueInvalid", "patch", f"Invalid value: {error.problems}")
            raise errors.invalid(kind.group, kind.kind, key[1], [cause]) from error

    def delete(self, kind: Kind, key: Key, *, only: Preconditions | None = None, dry_run: bool = False) -> JsonObject:
        """Deletes an object, or marks it where finalizers have to go first.

        Returns:
            The marked object, or the `Status` of a deletion that is complete.

        Raises:
            ApiError: 403 protected, 404 no such object, 409 a precondition does not hold.
        """
        item, name = self.get(kind, key), key[1]
        _check_preconditions(kind, item, only or Preconditions())
        if kind is NAMESPACES and name in builtin.PROTECTED_NAMESPACES:
            raise errors.forbidden("", "namespaces", name, "this namespace may not be deleted")
        if "deletionTimestamp" in item["metadata"]:
            return item
        held = bool(item["metadata"].get("finalizers")) or kind in {NAMESPACES, CRDS}
        if held:
            return self._mark(kind, key, item, dry_run=dry_run)
        if not dry_run:
            self._remove(kind, key)
        return errors.success(kind.group, kind.plural, name, item["metadata"]["uid"])

    # --- Steps ----------------------------------------------------------------------------------------------------

    def _check_namespace(self, kind: Kind, namespace: str, name: str) -> None:
        if not kind.namespaced:
            return
        found = self.store.get(NAMESPACES.key, ("", namespace))
        if found is None:
            raise errors.not_found("", "namespaces", namespace)
        if "deletionTimestamp" in found["metadata"]:
            why = f"unable to create new content in namespace {namespace} because it is being terminated"
            raise errors.forbidden(kind.group, kind.plural, name, why)

    def _check_version(self, kind: Kind, name: str, sent: JsonObject, old: JsonObject) -> None:
        version, uid = sent.get("resourceVersion"), sent.get("uid")
        if version is None and (kind.custom or kind.plural in _CONDITIONAL):
            cause = errors.invalid_value("metadata.resourceVersion", 0, "must be specified for an update")
            raise errors.invalid(kind.group, kind.plural, name, [cause])
        if version is not None and version != old["metadata"]["resourceVersion"]:
            raise errors.conflict(kind.group, kind.plural, name)
        if uid is not None and uid != old["metadata"]["uid"]:
            why = f"Precondition failed: UID in precondition: {uid}, UID in object meta: {old['metadata']['uid']}"
            raise errors.conflict(kind.group, kind.plural, name, why)

    def _replace(self, kind: Kind, old: JsonObject, item: JsonObject, options: WriteOptions, part: Part) -> JsonObject:
        if part == "status":
            item = _with(old, "status", item.get("status"))
        else:
            if kind.has_status:
                item = _with(item, "status", old.get("status"))
            item["metadata"] = metadata.for_update(item["metadata"], old["metadata"])
        if kind.has_generation and _content(kind, item) != _content(kind, old):
            item = item | {"metadata": item["metadata"] | {"generation": old["metadata"]["generation"] + 1}}
        item = builtin.prepared(kind, item)
        if kind is CRDS:
            item = _with(item, "status", old.get("status"))
        self._check(kind, item, old)
        if item == old:
            return old
        key = (old["metadata"].get("namespace", ""), old["metadata"]["name"])
        ended = "deletionTimestamp" in item["metadata"] and not item["metadata"].get("finalizers")
        if ended and kind not in {NAMESPACES, CRDS}:
            if not options.dry_run:
                self._remove(kind, key)
            return item
        return self._put(kind, key, item, options)

    def _check(self, kind: Kind, item: JsonObject, old: JsonObject | None) -> None:
        """Refuses an object that is invalid; the rules of CEL are asked only where the schema already holds."""
        builtin.check_times(kind, item)
        causes = metadata.faults(item["metadata"], kind, None if old is None else old["metadata"])
        if kind.validation is None:
            causes += builtin.faults(kind, item)
        else:
            broken = kind.validation.faults(item)
            causes += broken or kind.validation.broken_rules(item, old)
        if causes:
            raise errors.invalid(kind.group, kind.kind, item["metadata"]["name"], causes)

    def _put(self, kind: Kind, key: Key, item: JsonObject, options: WriteOptions) -> JsonObject:
        if options.dry_run:
            return item
        if kind is CRDS:
            return self._define(key, item)
        if kind is EVENTS:
            self._forget_old_events()
        stored = self.store.put(kind.key, key, item)
        if kind is NAMESPACES:
            self._end_namespace(key[1])
        return stored

    def _define(self, key: Key, item: JsonObject) -> JsonObject:
        """Stores a CRD and serves its kind; stored objects show the new schema's defaults from now on."""
        defined = crds.kind(item)
        stored = self.store.put(CRDS.key, key, crds.established(item, metadata.timestamp(self._clock())))
        self.kinds.add(defined)
        if defined.validation is not None:
            for place in self.store.keys(defined.key):
                shown, _ = fit(self.store.get(defined.key, place) or {}, defined.validation.schema)
                self.store.replace_silently(defined.key, place, shown)
        self._end_definition(defined)
        return stored

    def _forget_old_events(self) -> None:
        now = self._clock()
        for key in self.store.keys(EVENTS.key):
            if not builtin.event_expired(self.store.get(EVENTS.key, key) or {}, now):
                break  # They are in the order of creation: the rest is younger.
            self.store.remove(EVENTS.key, key)

    # --- Ending ---------------------------------------------------------------------------------------------------

    def _mark(self, kind: Kind, key: Key, item: JsonObject, *, dry_run: bool) -> JsonObject:
        """Sets the deletion timestamp, and starts to empty what the object contains."""
        marks = {"deletionTimestamp": metadata.timestamp(self._clock()), "deletionGracePeriodSeconds": 0}
        if kind.has_generation:
            marks["generation"] = item["metadata"]["generation"] + 1
        marked = builtin.prepared(kind, item | {"metadata": item["metadata"] | marks})
        if dry_run:
            return marked
        stored = self.store.put(kind.key, key, marked)
        if kind is NAMESPACES:
            for resource, place in list(self.store.namespaced(key[1])):
                if (inner := self._kind_of(resource)) is not None:
                    self.delete(inner, place)
            self._end_namespace(key[1])
        elif kind is CRDS:
            defined = crds.kind(item)
            for place in self.store.keys(defined.key):
                self.delete(defined, place)
            self._end_definition(defined)
        return stored

    def _kind_of(self, resource: tuple[str, str]) -> Kind | None:
        return next((kind for kind in self.kinds if kind.key == resource), None)

    def _remove(self, kind: Kind, key: Key) -> None:
        self.store.remove(kind.key, key)
        if kind.namespaced:
            self._end_namespace(key[0])
        if kind.custom:
            self._end_definition(kind)

    def _end_namespace(self, name: str) -> None:
        """Removes a namespace that is being deleted, once nothing lives in it."""
        found = self.store.get(NAMESPACES.key, ("", name))
        if found is None or "deletionTimestamp" not in found["metadata"]:
            return
        if not found["metadata"].get("finalizers") and next(self.store.namespaced(name), None) is None:
            self.store.remove(NAMESPACES.key, ("", name))

    def _end_definition(self, kind: Kind) -> None:
        """Removes a CRD that is being deleted, once no object of its kind is left."""
        key = ("", errors.qualified(kind.plural, kind.group))
        found = self.store.get(CRDS.key, key)
        if found is None or "deletionTimestamp" not in found["metadata"]:
            return
        if found["metadata"].get("finalizers") or self.store.keys(kind.key):
            return
        self.store.remove(CRDS.key, key)
        self.kinds.remove(kind.group, kind.plural)


def _with(item: JsonObject, field: str, value: Any) -> JsonObject:
    rest = {key: part for key, part in item.items() if key != field}
    return rest if value is None else rest | {field: value}


def _content(kind: Kind, item: JsonObject) -> JsonObject:
    """What a change of counts as a new generation."""
    left_out = {"metadata", "status"} if kind.has_status or not kind.custom else {"metadata"}
    return {key: value for key, value in item.items() if key not in left_out}


def _check_same_namespace(sent: JsonObject, namespace: str) -> None:
    if sent.get("namespace", namespace) != namespace:
        message = "the namespace of the provided object does not match the namespace sent on the request"
        raise errors.bad_request(message)


def _check_preconditions(kind: Kind, item: JsonObject, only: Preconditions) -> None:
    found = item["metadata"]
    for label, wanted, present in (
        ("UID", only.uid, found["uid"]),
        ("ResourceVersion", only.resource_version, found["resourceVersion"]),
    ):
        if wanted and wanted != present:
            why = f"the {label} in the precondition ({wanted}) does not match the {label} in record ({present})"
            raise errors.conflict(kind.group, kind.kind, found["name"], why)
