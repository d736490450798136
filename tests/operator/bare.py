"""An operator's context with objects and events only: what is not there may not be used."""

import time
from collections.abc import Callable
from typing import Any, cast

from controller.kube.client import KubeClient
from controller.operator.context import Context, Settings
from controller.operator.events import Recorder
from controller.operator.objects import Objects
from controller.operator.recording import Recording
from controller.operator.store import Store


def bare_context(kube: KubeClient, *, clock: Callable[[], float] = time.time) -> Context:
    """A context that knows of nothing yet."""
    store, absent = Store(), cast("Any", None)
    return Context(
        settings=Settings(),
        cluster_uid="c",
        store=store,
        objects=Objects(kube, store),
        events=Recorder(kube, time.time),
        cloud=absent,
        view=absent,
        cpu=absent,
        scraper=absent,
        recording=Recording(None, time.time),
        alerting=absent,
        usage=absent,
        metrics=absent,
        traffic=absent,
        probes=absent,
        clock=clock,
    )
