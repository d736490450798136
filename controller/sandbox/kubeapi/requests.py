"""What a write or delete request asks for: its body and its options."""

from typing import Any, Final, Literal, cast

from aiohttp import web

from controller.sandbox.kubeapi import errors, protobuf
from controller.sandbox.kubeapi.decoding import WriteOptions, parse
from controller.sandbox.kubeapi.kinds import Kind
from controller.sandbox.kubeapi.objects import Preconditions
from controller.sandbox.kubeapi.patch import JSON, MERGE, STRATEGIC

_BODY_TYPES: Final = ("application/json", "application/yaml")
_DELETE_POLICIES: Final = ("Foreground", "Background", "Orphan")
_VALIDATIONS: Final = ("", "Ignore", "Strict", "Warn")


async def body(request: web.Request) -> tuple[Any, WriteOptions]:
    """The document in the body, and how it is to be written.

    Raises:
        ApiError: 415, its content type is not read here; 400 or 422, the body or an option is malformed.
    """
    content_type = request.content_type if "Content-Type" in request.headers else "application/json"
    if content_type == protobuf.CONTENT_TYPE:
        return protobuf.decode(await request.read()), _write_options(request, ())
    if content_type not in _BODY_TYPES:
        raise errors.unsupported_media(_BODY_TYPES)
    document, duplicates = parse(content_type, await request.read())
    return document, _write_options(request, duplicates)


async def patch(request: web.Request, kind: Kind) -> tuple[str, Any, WriteOptions]:
    """Content type and document of a patch, and how it is to be written.

    Raises:
        ApiError: 415, the kind has no such patches; 400 or 422, the body or an option is malformed.
    """
    known = (JSON, MERGE) if kind.custom else (JSON, MERGE, STRATEGIC)
    content_type = request.content_type
    if content_type.startswith("application/apply-patch"):
        refused = errors.unsupported_media(known)
        why = f"{refused}; the local API has no server-side apply: use kubectl apply without --server-side"
        raise errors.ApiError(refused.code, refused.reason, why)
    if content_type not in known:
        raise errors.unsupported_media(known)
    document, duplicates = parse(content_type, await request.read())
    return content_type, document, _write_options(request, duplicates)


async def deletion(request: web.Request) -> tuple[Preconditions, bool]:
    """What has to hold for a deletion, and whether it is a dry run.

    The propagation policy is checked and has no effect: nothing collects the objects an object owns.

    Raises:
        ApiError: 400, 415 or 422, the body or an option is malformed.
    """
    document = (await body(request))[0] if await request.read() else {}
    if not isinstance(document, dict):
        raise errors.bad_request("the object provided is unrecognized (must be of type DeleteOptions)")
    policy = document.get("propagationPolicy") or request.query.get("propagationPolicy")
    if policy and policy not in _DELETE_POLICIES:
        cause = errors.unsupported_value("propagationPolicy", policy, _DELETE_POLICIES)
        raise errors.invalid("meta.k8s.io", "DeleteOptions", "", [cause])
    only = document.get("preconditions") or {}
    dry_run = _dry_run("DeleteOptions", [*request.query.getall("dryRun", []), *(document.get("dryRun") or [])])
    return Preconditions(only.get("uid") or "", only.get("resourceVersion") or ""), dry_run


def _dry_run(options: str, values: list[str]) -> bool:
    wrong = [value for value in values if value != "All"]
    if wrong:
        raise errors.invalid("meta.k8s.io", options, "", [errors.unsupported_value("dryRun", wrong, ["All"])])
    return bool(values)


def _write_options(request: web.Request, duplicates: tuple[str, ...]) -> WriteOptions:
    kind = {"POST": "CreateOptions", "PUT": "UpdateOptions"}.get(request.method, "PatchOptions")
    validation = request.query.get("fieldValidation", "")
    if validation not in _VALIDATIONS:
        cause = errors.unsupported_value("fieldValidation", validation, _VALIDATIONS)
        raise errors.invalid("meta.k8s.io", kind, "", [cause])
    chosen = cast("Literal['Ignore', 'Warn', 'Strict']", validation or "Warn")
    return WriteOptions(_dry_run(kind, request.query.getall("dryRun", [])), chosen, duplicates)
