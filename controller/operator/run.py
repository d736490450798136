"""Running the operator under kopf in this process."""

import argparse
import asyncio
import logging
from pathlib import Path

import kopf

from controller.cloud.tencent import SettingsError, connect_cdn
from controller.cloud.tencent import connect as connect_cloud
from controller.cloud.tencent.settings import Settings as CloudSettings
from controller.command import CommandError
from controller.kube.client import KubeClient
from controller.kube.connect import ConnectError
from controller.kube.connect import load as load_connection
from controller.operator.context import Settings
from controller.operator.handlers import registry

logger = logging.getLogger(__name__)


def run_operator(args: argparse.Namespace) -> int:
    """Run until SIGTERM, SIGINT, or the loss of the Lease."""
    kopf.configure(
        verbose=args.verbose, log_format=kopf.LogFormat.JSON if args.log_format == "json" else kopf.LogFormat.FULL
    )
    logging.getLogger("kopf.objects").setLevel(logging.WARNING)
    settings = Settings(
        namespace=args.namespace,
        cloud_interval=args.cloud_interval,
        dispatcher_url=args.dispatcher_url,
        liveness_port=args.liveness_port,
        metrics_port=args.metrics_port,
        lease=not args.no_lease,
        leak_audit=args.leak_audit,
        leak_audit_interval=args.leak_audit_interval,
        logs=Path(args.logs) if args.logs else None,
        webhook_networks=tuple(args.allow_webhooks_to),
        billing_reconciliation=args.billing_reconciliation == "on",
    )
    try:
        return asyncio.run(_run(settings))
    except (ConnectError, SettingsError) as error:
        raise CommandError(str(error)) from error


async def _run(settings: Settings) -> int:
    kube = KubeClient(load_connection())
    credentials = CloudSettings.from_environment()
    cloud, cdn = connect_cloud(credentials), connect_cdn(credentials)
    liveness = f"http://0.0.0.0:{settings.liveness_port}/healthz" if settings.liveness_port else None
    lost = asyncio.Event()
    await kopf.operator(
        registry=registry(kube, cloud, cdn, settings, lost),
        stop_flag=lost,
        standalone=True,
        clusterwide=settings.namespace is None,
        namespace=settings.namespace,
        liveness_endpoint=liveness,
    )
    if lost.is_set():
        raise CommandError("the Lease haipool-operator is lost; another operator may have it (see the log above)")
    return 0
