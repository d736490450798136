"""May this task queue? The limits, and what a client is told that meets one."""

from aiohttp import web

from controller.dispatcher.clients import Connection
from controller.dispatcher.forward import Exchange, expects_continue
from controller.dispatcher.problems import problem
from controller.dispatcher.scheduler import Scheduler
from controller.dispatcher.slow import SlowBodyError
from controller.dispatcher.state import State


def refusal(state: State, exchange: Exchange, arriving: tuple[int, int] = (0, 0)) -> web.Response | None:
    """The answer to a task that may not queue; None if it may.

    Args:
        state: of the dispatcher.
        exchange: the request.
        arriving: tasks that will be in the queue in a moment: in all, and of this client's allowance.
    """
    scheduler, queue = state.scheduler, exchange.view.spec.queue
    if state.closing:
        return closing(state)
    waiting = scheduler.waiting + arriving[0]
    if waiting >= queue.max_tasks:
        state.metrics.shed.labels("queue_full").inc()
        detail = f"{waiting} tasks are waiting, queue.maxTasks is {queue.max_tasks}"
        return problem(429, "Queue full", detail, retry_after=drain_time(scheduler, waiting))
    mine = scheduler.allowances.waiting(exchange.identity.quota) + arriving[1]
    if mine >= queue.max_tasks_per_user:
        state.metrics.shed.labels("user_cap").inc()
        detail = f"{mine} of your tasks are waiting, queue.maxTasksPerUser is {queue.max_tasks_per_user}"
        return problem(429, "Too many tasks", detail, retry_after=turn_time(scheduler))
    return None


def declared_too_large(state: State, exchange: Exchange) -> web.Response | None:
    """The answer to a body that is larger than allowed by its own word."""
    limit, declared = exchange.view.spec.queue.max_body_bytes, exchange.request.content_length
    return too_large(state, limit) if declared is not None and declared > limit else None


def too_large(state: State, limit: int) -> web.Response:
    """The answer to a body above the limit."""
    state.metrics.shed.labels("body_too_large").inc()
    return problem(413, "Body too large", f"a request body may have {limit} bytes (queue.maxBodyBytes)")


def too_slow(state: State, request: web.BaseRequest, error: SlowBodyError) -> web.Response:
    """The answer to a body that comes too slowly; what follows it on the connection is not waited for."""
    state.metrics.shed.labels("slow_body").inc()
    response = problem(408, "Request too slow", f"{error} (queue.slowClients)")
    response.force_close()
    if isinstance(request.protocol, Connection):
        request.protocol.linger_no_more()
    return response


def malformed(error: Exception) -> web.Response:
    """The answer to a body whose framing or encoding is broken; nothing after it on the connection can be read."""
    response = problem(400, "Malformed request", f"the request body cannot be read: {error}")
    response.force_close()
    return response


def closing(state: State) -> web.Response:
    """The answer to a task that comes, or still waits, when the dispatcher ends."""
    state.metrics.shed.labels("closing").inc()
    detail = "this dispatcher is being replaced; send the task again"
    response = problem(503, "Shutting down", detail, retry_after=5)
    response.force_close()
    return response


def unread(request: web.BaseRequest, response: web.Response) -> web.Response:
    """An answer that comes before the body.

    A client that waits to be asked for its body may never send it, and its next request would be taken for it: such a
    connection ends. Of another, what is still on its way is read and dropped, for a while, by the server.
    """
    if expects_continue(request):
        response.force_close()
    return response


def turn_time(scheduler: Scheduler) -> float:
    """Seconds until about every user who waits has had a turn, so that one more of its tasks finds room."""
    return drain_time(scheduler, max(1, scheduler.queue.user_count))


def drain_time(scheduler: Scheduler, tasks: int) -> float:
    """Seconds until about so many tasks are done, from what the servers did lately."""
    servers = [s for s in scheduler.servers if s.usable]
    rate = sum(s.spec.slots / (s.ewma or 1.0) for s in servers)
    return 60.0 if rate <= 0 else min(3600.0, tasks / rate)
