"""Options of list and watch requests, and pages of lists that all show one and the same revision."""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from controller.sandbox.kubeapi import errors
from controller.sandbox.kubeapi.kinds import Kind
from controller.sandbox.kubeapi.selectors import Predicate, field_selector, label_selector
from controller.sandbox.kubeapi.store import Key, Store

JsonObject = dict[str, Any]

_TRUE = frozenset({"1", "t", "T", "true", "TRUE", "True"})


@dataclass(frozen=True)
class ListOptions:
    """What a list or watch request asks for. `revision` is None where it names no resource version."""

    selector: Predicate
    selecting: bool
    watch: bool = False
    limit: int = 0
    continued: str = ""
    revision: int | None = None
    match: str = ""
    timeout_seconds: int | None = None
    bookmarks: bool = False
    initial_events: bool | None = None


class Page(NamedTuple):
    """One page of a list, and the list's metadata."""

    items: list[JsonObject]
    metadata: JsonObject


def _number(query: Mapping[str, str], name: str) -> int | None:
    text = query.get(name, "")
    try:
        number = int(text) if text else None
    except ValueError as error:
        raise errors.bad_request(f'{name}: parsing "{text}": invalid syntax') from error
    if number is not None and number < 0:
        raise errors.bad_request(f"{name}: must be greater than or equal to 0")
    return number


def parse(kind: Kind, query: Mapping[str, str]) -> ListOptions:
    """The options in a query string.

    Raises:
        ApiError: 400, one is malformed; 422, they contradict each other.
    """
    labels, fields = label_selector(query.get("labelSelector", "")), query.get("fieldSelector", "")
    matches_fields = field_selector(fields, kind.selectable)
    initial = query.get("sendInitialEvents")
    options = ListOptions(
        selector=lambda item: labels(item) and matches_fields(item),
        selecting=bool(query.get("labelSelector") or fields),
        watch=query.get("watch", "") in _TRUE,
        limit=_number(query, "limit") or 0,
        continued=query.get("continue", ""),
        revision=_number(query, "resourceVersion"),
        match=query.get("resourceVersionMatch", ""),
        timeout_seconds=_number(query, "timeoutSeconds"),
        bookmarks=query.get("allowWatchBookmarks", "") in _TRUE,
        initial_events=None if not initial else initial in _TRUE,
    )
    _check(options)
    return options


def _check(options: ListOptions) -> None:
    causes = []
    if options.match and options.match not in {"Exact", "NotOlderThan"}:
        causes.append(errors.unsupported_value("resourceVersionMatch", options.match, ["Exact", "NotOlderThan", ""]))
    if options.initial_events is not None:
        if not options.watch:
            causes.append(errors.forbidden_value("sendInitialEvents", "sendInitialEvents is forbidden for list"))
        if options.match != "NotOlderThan":
            text = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
            causes.append(errors.forbidden_value("resourceVersionMatch", text))
    elif options.match and options.watch:
        text = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
        causes.append(errors.forbidden_value("resourceVersionMatch", text))
    elif options.match and options.revision is None:
        text = "resourceVersionMatch is forbidden unless resourceVersion is provided"
        causes.append(errors.forbidden_value("resourceVersionMatch", text))
    if options.match == "Exact" and options.revision == 0:
        text = 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"'
        causes.append(errors.forbidden_value("resourceVersionMatch", text))
    if options.match and options.continued:
        causes.append(
            errors.forbidden_value(
                "resourceVersionMatch", "resourceVersionMatch is forbidden when continue is provided"
            )
        )
    if causes:
        raise errors.invalid("meta.k8s.io", "ListOptions", "", causes)


def page(store: Store, kind: Kind, namespace: str | None, options: ListOptions) -> Page:
    """The page of the list that the options ask for.

    Raises:
        ApiError: 410, the revision is no longer known; 504, it has not happened yet.
    """
    revision, after = _start(store, options)
    try:
        items = store.items(kind.key, namespace, revision)
    except errors.ApiError as error:
        if error.code != 410 or not options.continued:
            raise
        message = (
            "The provided continue parameter is too old to display a consistent list result. You can start a new list"
            " without the continue parameter."
        )
        raise errors.expired(message) from error
    matching = [item for item in items if options.selector(item) and (after is None or _key(item) > after)]
    shown = matching[: options.limit] if options.limit else matching
    written: JsonObject = {"resourceVersion": str(revision)}
    if len(shown) < len(matching):
        written["continue"] = _token(revision, _key(shown[-1]))
        if not options.selecting:
            written["remainingItemCount"] = len(matching) - len(shown)
    return Page(shown, written)


def _start(store: Store, options: ListOptions) -> tuple[int, Key | None]:
    """The revision to show, and the object after which the page begins."""
    if options.continued:
        return _from_token(options.continued)
    asked = options.revision or 0
    if asked and (options.match == "Exact" or (options.limit and not options.match)):
        return asked, None
    if asked > store.revision:
        raise errors.too_large_version(asked, store.revision)
    return store.revision, None


def _key(item: JsonObject) -> Key:
    return item["metadata"].get("namespace", ""), item["metadata"]["name"]


def _token(revision: int, last: Key) -> str:
    return base64.urlsafe_b64encode(json.dumps([revision, *last]).encode()).decode()


def _from_token(token: str) -> tuple[int, Key]:
    try:
        revision, namespace, name = json.loads(base64.urlsafe_b64decode(token))
        return int(revision), (str(namespace), str(name))
    except (ValueError, TypeError) as error:
        raise errors.bad_request(f"invalid continue token: continue key is not valid: {error}") from error
