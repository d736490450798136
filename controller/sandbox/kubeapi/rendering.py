"""Answers in the form the client accepts: plain objects, Tables for `kubectl get`, or metadata alone."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec

from controller.sandbox.kubeapi import tables
from controller.sandbox.kubeapi.kinds import Kind
from controller.sandbox.kubeapi.listing import Page
from controller.sandbox.kubeapi.negotiation import Form
from controller.sandbox.kubeapi.watching import Event

JsonObject = dict[str, Any]


class Rendering:
    """How one request wants its answer.

    Args:
        kind: of the objects.
        form: what the client accepts.
        include: `includeObject` of the query: what of each object comes with its row of a Table.
        clock: the present time, for ages in Tables.
    """

    def __init__(self, kind: Kind, form: Form, include: str, clock: Callable[[], datetime]) -> None:
        self._kind = kind
        self._form = form
        self._include = include
        self._clock = clock
        self._columns_sent = False

    def item(self, item: JsonObject) -> JsonObject:
        """One object."""
        if self._form is Form.OBJECT:
            return item
        if self._form is not Form.TABLE:
            return tables.partial(item)
        return self._table([item], {"resourceVersion": item["metadata"]["resourceVersion"]})

    def page(self, page: Page) -> JsonObject:
        """One page of a list."""
        if self._form is Form.TABLE:
            return self._table(page.items, page.metadata)
        if self._form is Form.OBJECT:
            head = {"kind": self._kind.list_kind or f"{self._kind.kind}List", "apiVersion": self._kind.api_version}
            return head | {"metadata": page.metadata, "items": page.items}
        head = {"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1"}
        return head | {"metadata": page.metadata, "items": [tables.partial(item) for item in page.items]}

    def event(self, event: Event) -> bytes:
        """One line of a watch; only the first Table of a watch carries the column definitions."""
        return msgspec.json.encode({"type": event.type, "object": self._event_object(event)}) + b"\n"

    def _event_object(self, event: Event) -> JsonObject:
        if event.type == "ERROR" or self._form is not Form.TABLE:
            return event.object if event.type == "ERROR" else self.item(event.object)
        rows = [] if event.type == "BOOKMARK" else [event.object]
        table = self._table(rows, {"resourceVersion": event.object["metadata"]["resourceVersion"]})
        if self._columns_sent:
            table["columnDefinitions"] = None
        self._columns_sent = True
        return table

    def _table(self, items: list[JsonObject], metadata: JsonObject) -> JsonObject:
        return tables.table(self._kind, items, metadata, self._include, self._clock())
