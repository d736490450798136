"""The fair queue: whose task is next. Pure: no I/O, no clock, no framework (import-linter holds it so).

`turns` decides whose turn it is among flows; `lanes` keeps those apart that may go to one server only; `network` puts
users under a network, and tasks under a user; `queue` is the tasks' life.
"""

from controller.dispatcher.fairqueue.network import Ticket
from controller.dispatcher.fairqueue.queue import Fairness, FairQueue

__all__ = ["FairQueue", "Fairness", "Ticket"]
