"""All that kopf calls: start, end, login, probe, and three watches. Each is a line or two of glue.

No timers, daemons or change handlers: kopf's own finalizer would arrive after a timer's first run, and an operator that
buys servers must hold the object before. See docs/adr for the reasons.
"""

import asyncio
from typing import Any, Final

import kopf

from controller.api.names import API_VERSION, GPU_INSTANCES, GPU_POOLS, GROUP, REGION_PRESETS
from controller.cloud.cdn import Cdn
from controller.cloud.contract import Cloud
from controller.kube.client import KubeClient
from controller.operator.context import Settings
from controller.operator.process import Operator, StartupError

#: Pause before another try to start.
START_AGAIN_SECONDS: Final = 5.0


def registry(
    kube: KubeClient, cloud: Cloud, cdn: Cdn, settings: Settings, lost: asyncio.Event
) -> kopf.OperatorRegistry:
    """The handlers of one operator process; `lost` is set once it has lost its Lease and must end."""
    handlers = kopf.OperatorRegistry()
    running: list[Operator] = []

    @kopf.on.login(registry=handlers)
    def login(**kwargs: Any) -> kopf.ConnectionInfo | None:
        inside = kopf.login_with_service_account(**kwargs)
        return inside or kopf.login_with_kubeconfig(**kwargs)

    @kopf.on.startup(registry=handlers)
    async def start(settings: kopf.OperatorSettings, **_: Any) -> None:
        configure(settings)
        try:
            running.append(await Operator.start(kube, cloud, operator_settings, cdn=cdn))
        except StartupError as error:
            # The API server may be starting too, and the CRDs may be applied a moment later.
            raise kopf.TemporaryError(str(error), delay=START_AGAIN_SECONDS) from None
        running[0].over.add_done_callback(lambda _: lost.set())

    @kopf.on.cleanup(registry=handlers)
    async def stop(**_: Any) -> None:
        while running:
            await running.pop().stop()

    @kopf.on.probe(id="decisions", registry=handlers)
    async def alive(**_: Any) -> str:
        problem = running[0].stuck() if running else "not started"
        if problem:
            raise kopf.PermanentError(problem)
        return "ok"

    def watch(plural: str, kind: str) -> None:
        @kopf.on.event(API_VERSION, plural, registry=handlers, id=f"watch-{plural}")
        async def seen(event: kopf.RawEvent, **_: Any) -> None:
            running[0].changed(kind, event["type"], event["object"])

    operator_settings = settings
    watch(GPU_POOLS, "GpuPool")
    watch(REGION_PRESETS, "RegionPreset")
    watch(GPU_INSTANCES, "GpuInstance")
    return handlers


def configure(settings: kopf.OperatorSettings) -> None:
    """What a long-lived operator has to set."""
    settings.posting.enabled = False  # the operator writes its own, deduplicated events
    settings.scanning.disabled = True  # the kinds do not change while it runs; saves rights on CRDs and namespaces
    settings.watching.server_timeout = 600
    settings.watching.connect_timeout = 10
    settings.networking.connect_timeout = 5
    settings.networking.request_timeout = 30
    settings.background.instant_exit_timeout = 0.1
    settings.process.ultimate_exiting_timeout = 25
    settings.persistence.finalizer = f"{GROUP}/kopf"
    settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=GROUP)
    settings.persistence.diffbase_storage = kopf.AnnotationsDiffBaseStorage(prefix=GROUP)
