"""The kinds that are served: the built-in ones the project's clients need, and those CRDs define."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from controller.sandbox.kubeapi.errors import Cause
from controller.sandbox.kubeapi.schema import Schema

NameRule = Literal["subdomain", "label", "dns1035"]

VERBS: Final = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
#: Paths of objects that every field selector may name.
COMMON_FIELDS: Final = frozenset({"metadata.name", "metadata.namespace"})


@dataclass(frozen=True)
class Column:
    """A column of a Table: a JSONPath for kinds of CRDs, a function of the object for built-in ones."""

    name: str
    type: str = "string"
    format: str = ""
    description: str = ""
    priority: int = 0
    path: str = ""


@dataclass(frozen=True)
class ScalePaths:
    """Where the `scale` subresource finds its figures."""

    spec: str
    status: str
    selector: str = ""


@dataclass(frozen=True)
class Validation:
    """The compiled schema of a CRD's kind."""

    schema: Schema
    faults: Callable[[dict[str, Any]], list[Cause]]
    broken_rules: Callable[[dict[str, Any], dict[str, Any] | None], list[Cause]]


@dataclass(frozen=True)
class Kind:
    """One served resource of one version. `validation` is None for the built-in kinds, whose content is not checked."""

    group: str
    version: str
    kind: str
    plural: str
    singular: str
    namespaced: bool = True
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    list_kind: str = ""
    name_rule: NameRule = "subdomain"
    selectable: frozenset[str] = COMMON_FIELDS
    has_generation: bool = False
    has_status: bool = False
    scale: ScalePaths | None = None
    columns: tuple[Column, ...] = ()
    validation: Validation | None = field(default=None, repr=False, compare=False)

    @property
    def api_version(self) -> str:
        """`group/version`, or the version alone in the core group."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def key(self) -> tuple[str, str]:
        """What identifies the resource in the store."""
        return self.group, self.plural

    @property
    def custom(self) -> bool:
        """Whether a CRD defines it."""
        return self.validation is not None


_EVENT_FIELDS: Final = COMMON_FIELDS | {
    *(f"involvedObject.{name}" for name in ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion",
        "fieldPath")),
    "reason", "reportingComponent", "source", "type",
}  # fmt: skip

NAMESPACES: Final = Kind(
    group="",
    version="v1",
    kind="Namespace",
    plural="namespaces",
    singular="namespace",
    namespaced=False,
    short_names=("ns",),
    name_rule="label",
    selectable=COMMON_FIELDS | {"status.phase"},
)
SECRETS: Final = Kind(
    group="", version="v1", kind="Secret", plural="secrets", singular="secret", selectable=COMMON_FIELDS | {"type"}
)
EVENTS: Final = Kind(
    group="",
    version="v1",
    kind="Event",
    plural="events",
    singular="event",
    short_names=("ev",),
    selectable=_EVENT_FIELDS,
)
CRDS: Final = Kind(
    group="apiextensions.k8s.io",
    version="v1",
    kind="CustomResourceDefinition",
    plural="customresourcedefinitions",
    singular="customresourcedefinition",
    namespaced=False,
    short_names=("crd", "crds"),
    categories=("api-extensions",),
    has_generation=True,
)
LEASES: Final = Kind(group="coordination.k8s.io", version="v1", kind="Lease", plural="leases", singular="lease")
BUILT_IN: Final = (
    NAMESPACES,
    SECRETS,
    EVENTS,
    CRDS,
    Kind(group="", version="v1", kind="ConfigMap", plural="configmaps", singular="configmap", short_names=("cm",)),
    Kind(
        group="",
        version="v1",
        kind="Service",
        plural="services",
        singular="service",
        short_names=("svc",),
        categories=("all",),
        name_rule="dns1035",
    ),
    Kind(
        group="",
        version="v1",
        kind="ServiceAccount",
        plural="serviceaccounts",
        singular="serviceaccount",
        short_names=("sa",),
    ),
    LEASES,
)


class Kinds:
    """What is served at the moment, by group, version and plural."""

    def __init__(self, kinds: Iterable[Kind] = BUILT_IN) -> None:
        self._kinds: dict[tuple[str, str, str], Kind] = {}
        for kind in kinds:
            self.add(kind)

    def add(self, kind: Kind) -> None:
        """Serves the kind, in place of an earlier definition of it."""
        self._kinds[kind.group, kind.version, kind.plural] = kind

    def remove(self, group: str, plural: str) -> None:
        """Serves the resource no longer."""
        for key in [key for key in self._kinds if (key[0], key[2]) == (group, plural)]:
            del self._kinds[key]

    def find(self, group: str, version: str, plural: str) -> Kind | None:
        """The kind at that place of the API, None if nothing is served there."""
        return self._kinds.get((group, version, plural))

    def __iter__(self) -> Iterator[Kind]:
        return iter(tuple(self._kinds.values()))

    def by_version(self) -> Mapping[tuple[str, str], list[Kind]]:
        """The kinds of each (group, version)."""
        grouped: dict[tuple[str, str], list[Kind]] = {}
        for kind in self:
            grouped.setdefault((kind.group, kind.version), []).append(kind)
        return grouped
