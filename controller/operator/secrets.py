"""Values from Secrets that the pools name.

They are looked for in the pool's own namespace only, where a Role has to name the very Secret: no pool can have another
Secret sent to an address of its choice.
"""

import base64
import binascii
from collections.abc import Callable
from typing import Final

from controller.kube.client import KubeClient, KubeError, Resource

SECRETS: Final = Resource("", "v1", "secrets")
#: A replaced value is noticed after so long, and not every use needs a read of its own.
KEPT_SECONDS: Final = 30.0


class SecretError(Exception):
    """The value cannot be had; the text says why, and never the value."""


class Secrets:
    """Reads and keeps them."""

    def __init__(self, kube: KubeClient, clock: Callable[[], float]) -> None:
        self._kube = kube
        self._clock = clock
        #: (namespace, name, key) -> when it was read, and the value.
        self._kept: dict[tuple[str, str, str], tuple[float, str]] = {}

    async def value(self, field: str, namespace: str, name: str, key: str, *, what: str = "token") -> str:
        """One line of printable ASCII, without white space around it.

        Args:
            field: of the spec that names it, for the error.
            namespace: of the pool.
            name: of the Secret.
            key: in the Secret.
            what: it should be, for the error.

        Raises:
            SecretError: it cannot be read, or is no such value.
        """
        where = (namespace, name, key)
        kept = self._kept.get(where)
        if kept is None or not 0 <= self._clock() - kept[0] < KEPT_SECONDS:
            self._kept.pop(where, None)
            kept = self._kept[where] = (self._clock(), await self._read(field, *where, what=what))
        return kept[1]

    async def _read(self, field: str, namespace: str, name: str, key: str, *, what: str) -> str:
        said = f"{field}: Secret {namespace}/{name}"
        try:
            secret = await self._kube.get(SECRETS, name, namespace=namespace)
        except KubeError as error:
            raise SecretError(f"{said} cannot be read: {error}") from error
        encoded = (secret.get("data") or {}).get(key)
        if encoded is None:
            raise SecretError(f"{said} has no key {key}")
        try:
            value = base64.b64decode(encoded, validate=True).decode("ascii").strip()
        except (binascii.Error, UnicodeDecodeError):
            raise SecretError(f"{said}: the value of {key} is no {what}") from None
        if not value.isprintable() or not value:
            raise SecretError(f"{said}: the value of {key} is no {what}")
        return value
