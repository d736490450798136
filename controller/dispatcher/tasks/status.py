"""What a client is told of its task. Pure."""

from datetime import UTC, datetime
from typing import Any, Final

from controller.dispatcher.problems import kind_of
from controller.dispatcher.stores.base import StoredTask, TaskState
from controller.dispatcher.tasks.forecasts import Forecast

#: Where tasks are, on the data port.
PREFIX: Final = "/-/tasks/"
#: A client that polls is asked to come back after so many seconds at most, and while its task runs after so many.
LONGEST_POLL_SECONDS: Final = 60.0
RUNNING_POLL_SECONDS: Final = 2.0


def describe(task: StoredTask, forecast: Forecast | None, now: float, *, links_on: str = "") -> dict[str, Any]:
    """The task as JSON.

    Args:
        task: as the store has it.
        forecast: while it waits.
        now: Unix seconds.
        links_on: `scheme://host` of a CDN that fetches results from here; empty: there is none.
    """
    queued = task.state is TaskState.QUEUED
    seconds = forecast.seconds if queued and forecast else None
    return {
        "id": task.task_id,
        "state": task.state.value,
        "user": task.identity.user,
        "route": task.route.name,
        "submitted": _time(task.submitted),
        "started": _time(task.started),
        "completed": _time(task.completed),
        "position": forecast.position if queued and forecast else None,
        "estimatedStartSeconds": None if seconds is None else round(seconds, 1),
        "estimatedStart": None if seconds is None else _time(now + seconds),
        "attempts": task.attempts,
        "server": task.servers[-1] if task.servers else None,
        "result": result_of(task),
        "answerStatus": task.outcome.status if task.outcome else None,
        "failure": _failure(task),
        "links": links(task.task_id, links_on),
    }


def links(task_id: str, links_on: str = "") -> dict[str, str]:
    """Where a task, its answer and its events are; the answer, which is large, on the CDN if there is one."""
    self = PREFIX + task_id
    return {"self": self, "result": f"{links_on}{self}/result", "events": f"{self}/events"}


def result_of(task: StoredTask) -> str:
    """Whether there is an answer: `pending`, `available`, `gone` or `none`."""
    if not task.state.ended:
        return "pending"
    if task.gone:
        return "gone"
    return "none" if task.outcome is None or task.outcome.status is None else "available"


def come_again(task: StoredTask, forecast: Forecast | None) -> float | None:
    """Seconds after which asking again makes sense; None once the task has ended."""
    if task.state.ended:
        return None
    if task.state is TaskState.RUNNING or forecast is None or forecast.seconds is None:
        return RUNNING_POLL_SECONDS
    return min(LONGEST_POLL_SECONDS, max(RUNNING_POLL_SECONDS, forecast.seconds))


def _failure(task: StoredTask) -> dict[str, Any] | None:
    failure = task.outcome.failure if task.outcome else None
    if failure is None:
        return None
    told = {"title": failure.title, "status": failure.status, "detail": failure.detail}
    return {"type": kind_of(failure.status)} | told


def _time(seconds: float | None) -> str | None:
    """RFC 3339, with milliseconds."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
