"""The fair queue: whose task is next. Pure: no I/O, no clock, no framework (import-linter holds it so).

`turns` decides whose turn it is among keys; `queue` puts two levels of turns over first-in-first-out lists.
"""

from controller.dispatcher.fairqueue.queue import FairQueue, Ticket
from controller.dispatcher.fairqueue.turns import Turns

__all__ = ["FairQueue", "Ticket", "Turns"]
