"""`python -m controller.sandbox.leash PARENT ARGUMENTS...`: run `haipool ARGUMENTS`, and end when the parent does.

A sandbox that is killed the hard way cannot end its children; the kernel can.
"""

import ctypes
import os
import runpy
import signal
import sys
from typing import Final

#: `prctl` option of Linux: the signal that this process gets when its parent ends.
PR_SET_PDEATHSIG: Final = 1


def hold(parent: int) -> None:
    """Have the kernel send SIGTERM to this process when `parent`, which must be its parent, ends.

    Raises:
        OSError: the kernel refuses.
    """
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    if os.getppid() != parent:
        # It ended before the kernel was told.
        sys.exit(128 + signal.SIGTERM)


if __name__ == "__main__":
    hold(int(sys.argv.pop(1)))
    # By name and not by import: the command is a layer above the sandbox.
    runpy.run_module("controller.cli", run_name="__main__", alter_sys=True)
