"""The bearer tokens that dispatchers' admin ports and Prometheus ask for, from the Secrets that the pools name."""

from collections.abc import Callable

from controller.api.gpupool import GpuPool
from controller.api.sources import SecretKey
from controller.kube.client import KubeClient
from controller.operator.secrets import KEPT_SECONDS, SECRETS, SecretError, Secrets

__all__ = ["KEPT_SECONDS", "SECRETS", "TokenError", "Tokens"]


class TokenError(Exception):
    """The token cannot be had; the text says why and what to do."""


class Tokens:
    """Reads and keeps them."""

    def __init__(self, kube: KubeClient, clock: Callable[[], float]) -> None:
        self._secrets = Secrets(kube, clock)

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
        try:
            return await self._secrets.value(field, pool.metadata.namespace, wanted.name, wanted.key)
        except SecretError as error:
            raise TokenError(str(error)) from error
