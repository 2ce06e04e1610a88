"""Every family of metrics, as docs/metrics.md lists them. Names, units and suffixes are those of Prometheus."""

from __future__ import annotations

from typing import Final

from penstock.daemon.metrics.exposition import Family, Kind

ALL: Final[dict[str, Family]] = {}
"""By name."""


def _family(kind: Kind, name: str, text: str, *labels: str) -> Family:
    family = ALL[f"penstock_{name}"] = Family(f"penstock_{name}", kind, text, labels)
    return family


def _gauge(name: str, text: str, *labels: str) -> Family:
    return _family("gauge", name, text, *labels)


def _counter(name: str, text: str, *labels: str) -> Family:
    return _family("counter", f"{name}_total", text, *labels)


def _histogram(name: str, text: str, *labels: str) -> Family:
    return _family("histogram", name, text, *labels)


BUILD_INFO = _gauge("build_info", "Version of the daemon and of its Python, always 1", "version", "python")

# ---- workflows ------------------------------------------------------------------------------------------------------

WORKFLOWS = _gauge("workflows", "Workflows that the daemon knows, by state", "state")
WORKFLOWS_PAUSED = _gauge("workflows_paused", "Workflows that are paused, by why", "cluster", "reason")
WORKFLOW_STATE = _gauge("workflow_state", "1 for the state that a workflow is in", "workflow", "cluster", "state")
WORKFLOW_PROGRESS = _gauge(
    "workflow_progress_timestamp_seconds", "When a job of the workflow last changed its state", "workflow", "cluster"
)
JOBS = _gauge("jobs", "Jobs of active workflows by exact state", "workflow", "cluster", "state")
JOBS_AWAITING = _gauge(
    "jobs_awaiting", "Jobs that wait for another workflow's calculation of the same", "workflow", "cluster"
)
WORKFLOW_SLOTS = _gauge("workflow_slots", "Slots granted", "workflow", "cluster")
WORKFLOW_SLOTS_USED = _gauge("workflow_slots_used", "Slots that hold submitted work", "workflow", "cluster")
REJECTED_RECORDS = _gauge("rejected_records", "Records of sources not taken in", "workflow")
WORKFLOW_ATTEMPTS_ENDED = _counter(
    "workflow_attempts_ended", "Attempts of a workflow that ended, by how", "workflow", "cluster", "end"
)
WORKFLOW_DATABASE_BYTES = _gauge(
    "workflow_database_bytes", "Size of the file that the workflow's rows are in, with its journal", "workflow"
)

# ---- attempts and submissions ---------------------------------------------------------------------------------------

ATTEMPTS_ENDED = _counter("attempts_ended", "Attempts that ended, by how and why", "cluster", "end", "failure")
RETRIES = _counter("retries", "Failed attempts that are followed by another, unchanged", "cluster", "failure")
REMEDIES = _counter("remedies", "Failed attempts that are followed by another, changed by a rule", "engine", "rule")
SUBMISSIONS = _counter("submissions", "Submissions told to a cluster", "cluster")
REFUSALS = _counter("refusals", "Workflows paused because the scheduler refuses their jobs", "cluster")
SUBMISSION_SECONDS = _histogram(
    "submission_seconds", "From a submission being handed to the cluster until it was placed there", "cluster"
)
JOB_WAIT_SECONDS = _histogram("job_wait_seconds", "From a job being ready until it was submitted", "cluster")
JOB_RECORD_SECONDS = _histogram("job_record_seconds", "From an attempt's end until that was committed", "cluster")

# ---- schedulers -----------------------------------------------------------------------------------------------------

POLLS = _counter("polls", "Looks at spool, queue and accounts, by how they ended", "cluster", "what", "outcome")
POLL_SECONDS = _histogram("poll_seconds", "How long these looks took", "cluster", "what")
SCHEDULER_CALLS = _counter(
    "scheduler_calls", "Commands run for a scheduler, by how they ended", "cluster", "command", "outcome"
)
SCHEDULER_CALL_SECONDS = _histogram("scheduler_call_seconds", "How long these commands took", "cluster", "command")
CALL_BUDGET = _gauge("scheduler_call_budget", "Calls that may be made at once", "cluster", "kind")
CALLS_ALLOWED = _gauge("scheduler_calls_allowed_per_minute", "The most calls in a minute", "cluster", "kind")
BUDGET_WAIT_SECONDS = _counter(
    "scheduler_budget_wait_seconds", "Time in which a call waited for its budget", "cluster", "kind"
)
JOBS_QUEUED = _gauge("scheduler_jobs_queued", "Our jobs that wait at the scheduler", "cluster")
JOBS_RUNNING = _gauge("scheduler_jobs_running", "Our jobs that run at the scheduler", "cluster")
IN_DOUBT = _gauge("attempts_in_doubt", "Attempts nobody can say the fate of", "cluster")
QUESTIONS_OPEN = _gauge("questions_open", "Submissions in doubt that a person is asked about", "cluster")

# ---- clusters -------------------------------------------------------------------------------------------------------

CLUSTER_UP = _gauge("cluster_up", "Whether the cluster can be used", "cluster")
CLUSTER_CORES = _gauge("cluster_cores", "Cores that attempts may use", "cluster")
CLUSTER_CORES_USED = _gauge("cluster_cores_used", "Cores in use", "cluster")
CLUSTER_MEMORY = _gauge("cluster_memory_bytes", "Memory that attempts may use", "cluster")
CLUSTER_MEMORY_USED = _gauge("cluster_memory_used_bytes", "Memory promised to attempts that run", "cluster")
SUBMISSIONS_RUNNING = _gauge("cluster_submissions_running", "Submissions being worked through", "cluster")
SUBMISSIONS_WAITING = _gauge("cluster_submissions_waiting", "Submissions that wait for room", "cluster")
SSH_CONNECTED = _gauge("ssh_connected", "Whether the cluster's host can be reached", "cluster")
SSH_SESSIONS = _gauge("ssh_sessions", "Sessions of the connection in use", "cluster")
SSH_SESSIONS_MAX = _gauge("ssh_sessions_max", "Sessions that may be in use at once", "cluster")
SSH_CONNECTS = _counter("ssh_connects", "Connections made", "cluster")
SSH_RECONNECTS = _counter("ssh_reconnects", "Connections made anew after one was lost", "cluster")

# ---- locks ----------------------------------------------------------------------------------------------------------

LOCK_CAPACITY = _gauge("lock_capacity", "How much there is of a shared resource", "lock")
LOCK_HELD = _gauge("lock_held", "How much of it is held", "lock")
LOCK_WAITERS = _gauge("lock_waiters", "Workflows that wait for it", "lock")
LOCK_WAIT_SECONDS = _histogram("lock_wait_seconds", "From asking for locks and resources until they were had")

# ---- the daemon itself ----------------------------------------------------------------------------------------------

MAILBOX_DEPTH = _gauge("mailbox_depth", "Messages waiting", "actor")
MAILBOX_OLDEST = _gauge("mailbox_oldest_seconds", "How long the first of them has waited", "actor")
ACTOR_RESTARTS = _counter("actor_restarts", "Restarts of an actor", "supervisor", "actor")
SUPERVISOR_RESTARTS = _counter("supervisor_restarts", "Restarts of all actors of a supervisor", "supervisor")
ACTORS_SILENT = _gauge("actors_silent", "Actors that have not answered the health check", "supervisor")
LOOP_LAG = _histogram("event_loop_lag_seconds", "How late a timer of the event loop fires")
DATABASE_SECONDS = _histogram("database_seconds", "How long databases were waited for")
WORKERS = _gauge("workers", "Worker processes that there may be")
WORKERS_BUSY = _gauge("workers_busy", "Worker processes at work")
WORKERS_HUNG = _gauge("workers_hung", "Worker processes that wait for a file system that does not answer")
WORKERS_WAITING = _gauge("workers_waiting", "Tasks that wait for a worker process")
WORKERS_LOST = _counter("workers_lost", "Worker processes that died or were killed over a task")
WORKER_TASK_SECONDS = _histogram("worker_task_seconds", "How long a worker process had a task", "task")
FILE_SYSTEM_SILENT = _gauge("file_system_silent", "1 where the file system of a directory does not answer", "directory")
DISK_FREE = _gauge("disk_free_bytes", "Room left on the file system of a directory for the daemon's user", "directory")
DISK_SIZE = _gauge("disk_size_bytes", "Size of that file system", "directory")
DISK_INODES = _gauge("disk_free_inodes", "Inodes left on that file system", "directory")
CONTROL_REQUESTS = _counter("control_requests", "Requests over the control socket", "request")
CONTROL_CONNECTIONS = _gauge("control_connections", "Connections to the control socket")
LOG_LINES = _counter("log_lines", "Lines of the log", "level")
