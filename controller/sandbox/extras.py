"""The optional packages that sandbox and demo need, asked for before anything imports them."""

import importlib.util
from typing import Final

from controller.command import CommandError

#: Import names of what the extra `haipool[sandbox]` brings and the sandbox imports.
NEEDED: Final = ("cel",)


def need_sandbox_extra() -> None:
    """Refuse to go on without them.

    Raises:
        CommandError: the extra is not installed.
    """
    if any(importlib.util.find_spec(name) is None for name in NEEDED):
        raise CommandError("the sandbox needs more packages: pip install 'haipool[sandbox]'")
