"""The bearer tokens that dispatchers' admin ports and Prometheus ask for, from the Secrets that the pools name.

A token is looked for in the pool's own namespace only, where a Role has to name the very Secret: no pool can have
another Secret sent to an address of its choice.
"""

import base64
import binascii
from collections.abc import Callable
from typing import Final

from controller.api.gpupool import GpuPool
from controller.api.sources import SecretKey
from controller.kube.client import KubeClient, KubeError, Resource

SECRETS: Final = Resource("", "v1", "secrets")
#: A replaced token is noticed after so long, and each scrape needs no read of its own.
KEPT_SECONDS: Final = 30.0


class TokenError(Exception):
    """The token cannot be had; the text says why and what to do."""


class Tokens:
    """Reads and keeps them."""

    def __init__(self, kube: KubeClient, clock: Callable[[], float]) -> None:
        self._kube = kube
        self._clock = clock
        #: (namespace, name, key) -> when it was read, and the token.
        self._kept: dict[tuple[str, str, str], tuple[float, str]] = {}

    async def of(self, pool: GpuPool) -> str | None:
        """The token of a pool's dispatcher; None if the pool names none.

        Raises:
            TokenError: the pool names one that cannot be read.
        """
        wanted = pool.spec.metrics.token_secret
        return None if wanted is None else await self.read(pool, wanted, "metrics.tokenSecret")

    async def read(self, pool: GpuPool, wanted: SecretKey, field: str) -> str:
        """A token that a pool names.

        Args:
            pool: in whose namespace the Secret is.
            wanted: the Secret and its key.
            field: of the spec, which names it, for people.

        Raises:
            TokenError: it cannot be read.
        """
        where = (pool.metadata.namespace, wanted.name, wanted.key)
        kept = self._kept.get(where)
        if kept is None or not 0 <= self._clock() - kept[0] < KEPT_SECONDS:
            self._kept.pop(where, None)
            kept = self._kept[where] = (self._clock(), await self._read(field, *where))
        return kept[1]

    async def _read(self, field: str, namespace: str, name: str, key: str) -> str:
        said = f"{field}: Secret {namespace}/{name}"
        try:
            secret = await self._kube.get(SECRETS, name, namespace=namespace)
        except KubeError as error:
            raise TokenError(f"{said} cannot be read: {error}") from error
        encoded = (secret.get("data") or {}).get(key)
        if encoded is None:
            raise TokenError(f"{said} has no key {key}")
        try:
            token = base64.b64decode(encoded, validate=True).decode("ascii").strip()
        except (binascii.Error, UnicodeDecodeError) as error:
            raise TokenError(f"{said}: the value of {key} is no token") from error
        if not token.isprintable() or not token:
            raise TokenError(f"{said}: the value of {key} is no token")
        return token
