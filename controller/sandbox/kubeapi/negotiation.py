"""What form of an answer the client accepts: plain objects, Tables, or metadata alone."""

from enum import Enum
from typing import Final

from controller.sandbox.kubeapi.errors import not_acceptable

_JSON: Final = frozenset({"application/json", "application/*", "*/*"})


class Form(Enum):
    """Forms of an answer."""

    OBJECT = ""
    TABLE = "Table"
    PARTIAL = "PartialObjectMetadata"
    PARTIAL_LIST = "PartialObjectMetadataList"


def accepted(header: str) -> Form:
    """The first form in an Accept header that is spoken here.

    Kubernetes clients name several: `application/json;as=Table;v=v1;g=meta.k8s.io,application/json`.

    Raises:
        ApiError: 406, there is none.
    """
    for part in header.split(",") if header.strip() else ["*/*"]:
        media, *parameters = (piece.strip() for piece in part.split(";"))
        values = dict(parameter.partition("=")[::2] for parameter in parameters)
        if media not in _JSON:
            continue
        if "as" not in values:
            return Form.OBJECT
        known = values["as"] in {form.value for form in Form} and values.get("g") == "meta.k8s.io"
        if known and values.get("v") == "v1":
            return Form(values["as"])
    raise not_acceptable()
