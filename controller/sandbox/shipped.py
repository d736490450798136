"""The CRDs and samples that belong to haipool: beside the code in the wheel, in their own folders in a checkout."""

from pathlib import Path
from typing import Any, Final, Literal

import yaml

import controller
from controller.command import CommandError

_PACKAGE: Final = Path(controller.__file__).resolve().parent
#: Where each folder is in a checkout.
_CHECKOUT: Final = {"crds": Path("crds"), "samples": Path("manifests/samples")}


def folder(name: Literal["crds", "samples"]) -> Path:
    """The folder with the CRDs or the samples.

    Raises:
        CommandError: this installation has neither.
    """
    for path in (_PACKAGE / "_shipped" / name, _PACKAGE.parent / _CHECKOUT[name]):
        if path.is_dir():
            return path
    raise CommandError(f"this installation of haipool lacks its {name}; install it again, or run it from a checkout")


def definitions() -> list[dict[str, Any]]:
    """The CustomResourceDefinitions of haipool's kinds."""
    documents = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted(folder("crds").glob("*.yaml"))]
    return [document for document in documents if document.get("kind") == "CustomResourceDefinition"]
