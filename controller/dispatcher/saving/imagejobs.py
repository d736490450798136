"""What passes between the dispatcher and a process that re-encodes images."""

import struct
from dataclasses import dataclass
from typing import Final, Literal

Format = Literal["webp", "jpeg"]

#: Before a job: whether it is JSON, and its bytes. Before a result: whether anything changed, and its bytes.
HEAD: Final = struct.Struct(">?Q")


@dataclass(frozen=True, slots=True)
class Recipe:
    """How images are encoded."""

    format: Format
    #: 1 to 100.
    quality: int
    #: Images of more pixels are left alone, before any is decoded.
    max_pixels: int

    def arguments(self, memory: int) -> list[str]:
        """The command line of a worker that may use so many bytes of address space."""
        return [self.format, str(self.quality), str(self.max_pixels), str(memory)]
