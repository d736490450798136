"""What of `spec.traffic.optimization` is on, by the pool's traffic level. Found once per version of the pool."""

from dataclasses import dataclass

from controller.api.gpupool import GpuPool
from controller.api.optimization import Stage
from controller.api.transfer import Reencoding, SaveFrom
from controller.scaling.quota import stage_of


@dataclass(frozen=True, slots=True)
class Policy:
    """What is on. Where nothing is, there is none."""

    #: Servers are asked for compressed answers.
    from_servers: bool = False
    #: Clients get compressed answers.
    to_clients: bool = False
    #: How images are re-encoded; None: they are not.
    reencode: Reencoding | None = None


def policy_of(pool: GpuPool) -> Policy | None:
    """What is on in a pool; None: nothing, so that a request costs no more than this one look."""
    stage, spec = stage_of(pool.status.traffic.level), pool.spec.traffic.optimization
    images = spec.reencode
    policy = Policy(
        is_on(spec.compression.from_servers, stage),
        is_on(spec.compression.to_clients, stage),
        images if images is not None and is_on(images.level, stage) else None,
    )
    return None if policy == Policy() else policy


def is_on(since: SaveFrom, stage: Stage) -> bool:
    """Whether something that begins at a level is on at a stage."""
    if since == "Optimize":
        return stage != "Normal"
    return since == "Always" or (since == "Critical" and stage == "Critical")
