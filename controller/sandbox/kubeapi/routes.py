"""Paths of the API: which kind, namespace, object and subresource a request is about."""

from typing import NamedTuple

from controller.sandbox.kubeapi.kinds import Kind, Kinds
from controller.sandbox.kubeapi.objects import Part


class Target(NamedTuple):
    """What a path addresses. `namespace` is None for all of them; `name` is empty for the collection."""

    kind: Kind
    namespace: str | None
    name: str
    subresource: str

    @property
    def key(self) -> tuple[str, str]:
        """Namespace and name as the store has them."""
        return self.namespace or "", self.name

    @property
    def part(self) -> Part:
        """What of the object a write changes."""
        return "status" if self.subresource == "status" else "main"


def _version(parts: list[str]) -> tuple[str, str, list[str]] | None:
    if parts[0] == "api" and len(parts) > 2:
        return "", parts[1], parts[2:]
    if parts[0] == "apis" and len(parts) > 3:
        return parts[1], parts[2], parts[3:]
    return None


def target(kinds: Kinds, path: str) -> Target | None:
    """What the path addresses, None if nothing is served there."""
    found = _version(path.strip("/").split("/"))
    if found is None:
        return None
    group, version, rest = found
    namespace: str | None = None
    if rest[0] == "namespaces" and len(rest) > 2 and rest[2] != "status":
        namespace, rest = rest[1], rest[2:]
    kind = kinds.find(group, version, rest[0])
    if kind is None or len(rest) > 3 or (namespace is not None) > kind.namespaced:
        return None
    if kind.namespaced and namespace is None and len(rest) > 1:
        return None
    name, subresource = (*rest[1:], "", "")[:2]
    if subresource not in {"", *(["status"] if kind.has_status else []), *(["scale"] if kind.scale else [])}:
        return None
    return Target(kind, namespace if kind.namespaced else "", name, subresource)
