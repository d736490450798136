"""Discovery: which groups, versions and resources are served."""

from collections.abc import Callable
from typing import Any, Final

from controller.sandbox.kubeapi import openapi
from controller.sandbox.kubeapi.kinds import VERBS, Kind, Kinds

JsonObject = dict[str, Any]

#: The Kubernetes version whose behaviour is followed; clients choose their features by it.
VERSION: Final = {
    "major": "1",
    "minor": "32",
    "gitVersion": "v1.32.0+haipool-sandbox",
    "gitCommit": "",
    "gitTreeState": "clean",
    "buildDate": "1970-01-01T00:00:00Z",
    "goVersion": "",
    "compiler": "",
    "platform": "python",
}
_SUBRESOURCE_VERBS: Final = ["get", "patch", "update"]


def document(kinds: Kinds, path: str, address: str) -> JsonObject | None:
    """The answer at a path (without slashes around it) that is about the API itself, None if there is none.

    Args:
        kinds: what is served.
        path: `apis/haipool.io/v1alpha1`, say.
        address: host and port the client used.
    """
    fixed: dict[str, Callable[[], JsonObject]] = {
        "version": lambda: dict(VERSION),
        "api": lambda: _core_versions(address),
        "apis": lambda: _groups(kinds),
        "openapi/v3": lambda: openapi.index(kinds),
    }
    if path in fixed:
        return fixed[path]()
    if path.startswith("openapi/v3/"):
        return openapi.document(kinds, path.removeprefix("openapi/v3/"))
    match path.split("/"):
        case ["api", version]:
            return _resources(kinds, "", version)
        case ["apis", name]:
            return _single_group(kinds, name)
        case ["apis", name, version]:
            return _resources(kinds, name, version)
    return None


def _core_versions(address: str) -> JsonObject:
    served = [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}]
    return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": served}


def _group(name: str, versions: list[str]) -> JsonObject:
    written = [{"groupVersion": f"{name}/{version}", "version": version} for version in versions]
    return {"name": name, "versions": written, "preferredVersion": written[0]}


def _groups(kinds: Kinds) -> JsonObject:
    found: dict[str, list[str]] = {}
    for group, version in kinds.by_version():
        if group:
            found.setdefault(group, []).append(version)
    listed = [_group(name, versions) for name, versions in found.items()]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": listed}


def _single_group(kinds: Kinds, name: str) -> JsonObject | None:
    versions = [version for found, version in kinds.by_version() if found == name]
    return {"kind": "APIGroup", "apiVersion": "v1"} | _group(name, versions) if name and versions else None


def _resources(kinds: Kinds, name: str, version: str) -> JsonObject | None:
    served = kinds.by_version().get((name, version))
    if served is None:
        return None
    listed = [entry for kind in served for entry in _entries(kind)]
    group_version = f"{name}/{version}" if name else version
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": listed}


def _entries(kind: Kind) -> list[JsonObject]:
    base = {"namespaced": kind.namespaced, "kind": kind.kind}
    main: JsonObject = {"name": kind.plural, "singularName": kind.singular} | base | {"verbs": list(VERBS)}
    if kind.short_names:
        main["shortNames"] = list(kind.short_names)
    if kind.categories:
        main["categories"] = list(kind.categories)
    entries = [main]
    below: JsonObject = {"singularName": "", "verbs": _SUBRESOURCE_VERBS}
    if kind.has_status:
        entries.append(below | base | {"name": f"{kind.plural}/status"})
    if kind.scale is not None:
        scale = {"name": f"{kind.plural}/scale", "group": "autoscaling", "version": "v1", "kind": "Scale"}
        entries.append(below | base | scale)
    return entries
