"""The fair queue: whose task is next. Pure: no I/O, no clock, no framework (import-linter holds it so).

`turns` decides whose turn it is among flows; `lanes` keeps those apart that may go to one server only; `network` puts
users under a network, and tasks under a user; `queue` is the tasks' life; `outlook` says what will be served when, and
`forecast` in how many seconds; `estimate` learns what tasks take.
"""

from controller.dispatcher.fairqueue.estimate import Estimator
from controller.dispatcher.fairqueue.forecast import starts_in
from controller.dispatcher.fairqueue.network import Ticket
from controller.dispatcher.fairqueue.queue import Fairness, FairQueue

__all__ = ["Estimator", "FairQueue", "Fairness", "Ticket", "starts_in"]
