"""The metrics contract between dispatcher and operator: names, labels and meaning.

The dispatcher exports them on its admin port at `/metrics`; the operator scrapes every replica. Queue-wide figures
are exported by each replica of a shared store and taken as the maximum; per-replica figures are summed over
replicas. `docs/metrics-contract.md` is this module for people; a test keeps the two together.
"""

from typing import Final

# --- Queue-wide (maximum over replicas) -----------------------------------------------------------------------
#: Gauge, tasks. Tasks waiting now; running ones are not counted.
QUEUE_LENGTH: Final = "haipool_queue_length"
#: Gauge, seconds. Age of the oldest task waiting now; 0 when none waits.
QUEUE_OLDEST_AGE: Final = "haipool_queue_oldest_age_seconds"
#: Gauge, seconds. Mean response over `scaling.windowSeconds` as `controller.scaling.readings.mean_response` reads it.
MEAN_RESPONSE: Final = "haipool_mean_response_seconds"
#: Gauge, users. Users (address and window) with a waiting task.
QUEUE_USERS: Final = "haipool_queue_users"

# --- Per replica and server (summed over replicas, except slots: maximum) ---------------------------------------
#: Gauge, tasks and pass-through requests in flight at a server. Label `server` = name of the GpuInstance.
SERVER_IN_FLIGHT: Final = "haipool_server_in_flight"
#: Gauge, tasks in flight at a server (a part of the above). Label `server`.
SERVER_TASKS: Final = "haipool_server_tasks"
#: Gauge, slots. Tasks the server may work on at a time. Label `server`.
SERVER_SLOTS: Final = "haipool_server_slots"
#: Counter, seconds. For how long its slots were taken, summed over slots, since this replica knows it. Label `server`.
#: Optional: without it CPU from slots is the share of busy slots at the moment of the scrape.
SERVER_BUSY: Final = "haipool_server_busy_slot_seconds_total"
#: Gauge, 1 or 0. Whether this replica finds the server alive. Label `server`.
SERVER_UP: Final = "haipool_server_up"
#: Gauge, 1 or 0. Whether this replica sends the server no new tasks because it is being drained. Label `server`.
SERVER_DRAINING: Final = "haipool_server_draining"

# --- Per replica, counters; optional: without them `scaling.up.step: Auto` is a step of one ------------------------
#: Counter, tasks. Tasks that came among those that count: of one user the first `queue.maxSignalTasksPerUser`.
TASKS_SUBMITTED: Final = "haipool_tasks_submitted_total"
#: Counters, tasks and seconds: of the histogram of the time that tasks took at their servers.
TASKS_ENDED: Final = "haipool_task_duration_seconds_count"
TASKS_SECONDS: Final = "haipool_task_duration_seconds_sum"
TOTALS: Final = (TASKS_SUBMITTED, TASKS_ENDED, TASKS_SECONDS)

# --- Per replica -------------------------------------------------------------------------------------------------
#: Gauge, Unix seconds. Start of the dispatcher process; a change restarts the operator's low-load clock.
DISPATCHER_STARTED: Final = "haipool_dispatcher_start_time_seconds"
#: Gauge, 1 or 0. Whether the replica's view of the pool and its servers is current.
DISPATCHER_SYNCED: Final = "haipool_dispatcher_synced"

#: Without these a scrape counts as failed: the signals they carry are unknown, never zero.
REQUIRED: Final = (QUEUE_LENGTH, QUEUE_OLDEST_AGE, MEAN_RESPONSE, DISPATCHER_STARTED, DISPATCHER_SYNCED)

#: The largest figures that can be measurements: `queue.maxTasks` goes up to ten million, `queue.maxWaitSeconds` to a
#: week (a response in `Total` comes on top), and a type has a thousand slots at most.
LIMITS: Final = {
    QUEUE_LENGTH: 1e7,
    QUEUE_OLDEST_AGE: 31 * 86400.0,
    MEAN_RESPONSE: 31 * 86400.0,
    SERVER_IN_FLIGHT: 1e6,
    SERVER_TASKS: 1e4,
    SERVER_SLOTS: 1e4,
    SERVER_UP: 1.0,
    SERVER_DRAINING: 1.0,
    DISPATCHER_SYNCED: 1.0,
}

#: Default port of the dispatcher's admin server, and of its headless Service.
ADMIN_PORT: Final = 9090
#: Default port on which the dispatcher takes tasks.
DATA_PORT: Final = 8080
