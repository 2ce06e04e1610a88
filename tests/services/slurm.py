"""A real Slurm on this machine: loopback only, no systemd, no cgroups, pretended CPUs."""

from __future__ import annotations

import os
import re
import secrets
import signal
import socket
import subprocess
from collections.abc import Collection, Sequence
from pathlib import Path
from types import TracebackType
from typing import Literal, NamedTuple, Self

from .daemons import Home, ServiceError, free_ports, listens, not_installed, programs_missing
from .slurm_accounting import SlurmAccounting

Temper = Literal["kind", "harsh"]
_CLUSTER = "loopback"
_SCHEDULING = [
    "batch_sched_delay=0",
    "sched_interval=1",
    "sched_min_interval=0",
    "default_queue_depth=10000",
    "partition_job_depth=10000",
    "bf_interval=2",
    "bf_max_job_test=2000",
    "max_sched_time=2",
    "nohold_on_prolog_fail",
]
"""Jobs start at once, however many there are."""
_UP = ("idle", "mix", "alloc", "comp")
_KIND = ["MinJobAge=3600", "EnforcePartLimits=ALL"]
_HARSH = ["MinJobAge=2", "EnforcePartLimits=NO", "AccountingStorageType=accounting_storage/none"]
_PROGRAMS = {
    "munged": "munge",
    "slurmctld": "slurmctld",
    "slurmd": "slurmd",
    "sbatch": "slurm-client",
}


class SlurmJob(NamedTuple):
    """A row of the queue; the id is one of an array's task where there is one."""

    id: str
    name: str
    state: str

    @property
    def array(self) -> str:
        """The id without that of the task."""
        return self.id.partition("_")[0]


class RealSlurm:
    """slurmctld and one slurmd per node, with their own munged; `kind` also has slurmdbd and its MariaDB.

    kind: finished jobs stay known, impossible ones are refused, sacct tells the past.
    harsh: finished jobs are forgotten within seconds, impossible ones wait for ever, there is no accounting.
    Partitions: `debug` (default, all nodes, a day at most), `small` (the first node, 30 min at most). Nodes: n1, n2...
    """

    def __init__(self, temper: Temper = "kind", *, nodes: int | None = None, cpus: int = 64) -> None:
        self.temper = temper
        self.nodes = [f"n{number + 1}" for number in range(nodes or (4 if temper == "kind" else 2))]
        self.cpus = cpus

    @staticmethod
    def packages_missing(temper: Temper = "kind") -> list[str]:
        """The Debian packages it needs that are not there."""
        return programs_missing(_PROGRAMS) + (SlurmAccounting.packages_missing() if temper == "kind" else [])

    @classmethod
    def missing(cls, temper: Temper = "kind") -> str | None:
        """Why it cannot be run here, or None."""
        if packages := cls.packages_missing(temper):
            return not_installed(packages)
        return None if os.geteuid() == 0 else "slurmd needs root to run its jobs, which this is not"

    # ---- life ----

    def start(self) -> None:
        """Start it and wait until every node is idle. ServiceError with the logs if that fails."""
        self.home = Home()
        self._accounting = SlurmAccounting(self.home) if self.temper == "kind" else None
        try:
            self._configure()
            self._start_munged()
            if self._accounting is not None:
                self._accounting.start(self._munge_socket)
                self.home.run(["sacctmgr", "--immediate", "add", "cluster", _CLUSTER])
            self.start_controller()
            self._start_nodes()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End everything, running jobs too, and remove all of it."""
        self.home.signal([*(f"slurmd.{node}" for node in self.nodes), "slurmctld"])
        if self._accounting is not None:
            self._accounting.stop()
        self.home.end()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    # ---- for its users ----

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs so that sbatch and the others talk to this one."""
        return {"SLURM_CONF": str(self.conf)}

    def run(self, argv: Sequence[str | Path], *, user: str | None = None, stdin: str = "") -> str:
        """Run a program that talks to this Slurm, as `user` after login; what it printed. ServiceError if it fails."""
        become = ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", "--reset-env"] if user else []
        asked = ["env", *(f"{name}={value}" for name, value in self.environment.items()), *argv]
        done = subprocess.run([*become, *asked], input=stdin, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise ServiceError(f"{' '.join(map(str, argv))} failed ({done.returncode}): {done.stderr or done.stdout}")
        return done.stdout

    def submit(self, script: str, *options: str, user: str | None = None) -> int:
        """sbatch a script given as text; the job's id."""
        return int(self.run(["sbatch", "--parsable", *options], user=user, stdin=script).partition(";")[0])

    def queue(self) -> list[SlurmJob]:
        """The jobs that have not ended."""
        rows = self.run(["squeue", "--noheader", "--array", "--format=%i %T %j"]).splitlines()
        return [SlurmJob(id=row[0], state=row[1], name=row[2]) for line in rows if (row := line.split(" ", 2))]

    def jobs(self) -> set[str]:
        """The ids of the jobs and arrays that have not ended."""
        return {job.array for job in self.queue()}

    def knows(self, job_id: int) -> bool:
        """Does the controller still know the job, ended or not?"""
        try:
            return f"JobId={job_id} " in self.run(["scontrol", "show", "job", str(job_id)])
        except ServiceError:
            return False

    # ---- trouble ----

    def stop_controller(self) -> None:
        """End slurmctld in order; jobs go on without it."""
        self.home.signal(["slurmctld"])

    def kill_controller(self) -> None:
        """Kill slurmctld; what it has not saved is lost."""
        self.home.signal(["slurmctld"], signal.SIGKILL)

    def start_controller(self) -> None:
        """Start slurmctld, with what it knew before if it ran before, and wait until it answers."""
        self.home.run(["slurmctld", "-f", self.conf])
        self.home.wait_for(lambda: listens(self._controller_port), "slurmctld listens")
        self.home.wait_for(lambda: " is UP" in self._ping(), "slurmctld answers")

    def node_down(self, node: str) -> None:
        """Declare a node dead: its jobs fail with NODE_FAIL, or go back to the queue where they may."""
        self.run(["scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=test"])

    def node_up(self, node: str) -> None:
        """Bring a node that is down back, and wait until it takes jobs."""
        self.run(["scontrol", "update", f"NodeName={node}", "State=RESUME"])
        self.home.wait_for(lambda: node in self._nodes_in(*_UP), f"{node} is back")

    def mend(self, keep: Collection[str] = ()) -> list[str]:
        """Undo what a test did: controller and nodes run again, and no job is left but those to `keep`.

        Those that were are returned, as ID NAME STATE. The tasks of an array go by the array's id.
        """
        if self.home.pid("slurmctld") is None:
            self.start_controller()
        for node in self._nodes_in("down", "down*", "drain", "drain*", "drng", "drng*"):
            self.node_up(node)
        self.home.wait_for(self._all_up, "all nodes are back")
        left = [job for job in self.queue() if job.array not in keep and job.state != "COMPLETING"]
        if left:
            self.run(["scancel", *{job.array for job in left}])
        self.home.wait_for(lambda: self.jobs() <= set(keep), "the queue is empty")
        return [" ".join(job) for job in left]

    # ---- inside ----

    def _ping(self) -> str:
        try:
            return self.home.run(["scontrol", "ping"])
        except ServiceError:
            return ""

    def _nodes_in(self, *states: str) -> set[str]:
        rows = self.home.run(["sinfo", "--noheader", "--Node", "--partition=debug", "--format=%N %t"]).splitlines()
        return {node for node, state in map(str.split, rows) if state in states}

    def _all_up(self) -> bool:
        return self._nodes_in(*_UP) == set(self.nodes)

    def _configure(self) -> None:
        home = self.home
        self.conf = home.path / "slurm.conf"
        home.environment |= self.environment
        self._controller_port, *self._node_ports = free_ports(1 + len(self.nodes))
        self._munge_socket = home.directory("munge", owner="munge") / "socket"
        home.directory("state", owner="slurm")
        for node in self.nodes:
            home.directory(f"spool/{node}")
        home.file("slurm.conf", self._slurm_conf())
        # Without cgroups; older ones have no word for that, and do without as long as nothing asks for them
        release = re.search(r"(\d+)\.", home.run(["slurmctld", "-V"]))
        assert release is not None
        home.file("cgroup.conf", f"CgroupPlugin={'disabled' if int(release[1]) >= 23 else 'autodetect'}\n")

    def _slurm_conf(self) -> str:
        path, host = self.home.path, socket.gethostname().partition(".")[0]
        lines = [
            f"ClusterName={_CLUSTER}",
            f"SlurmctldHost={host}(127.0.0.1)",
            f"SlurmctldPort={self._controller_port}",
            "SlurmUser=slurm",
            "AuthType=auth/munge",
            f"AuthInfo=socket={self._munge_socket}",
            "CredType=cred/munge",
            "CommunicationParameters=NoInAddrAny,NoCtldInAddrAny",
            f"StateSaveLocation={path}/state",
            f"SlurmdSpoolDir={path}/spool/%n",
            f"SlurmctldPidFile={path}/run/slurmctld.pid",
            f"SlurmdPidFile={path}/run/slurmd.%n.pid",
            f"SlurmctldLogFile={path}/log/slurmctld.log",
            f"SlurmdLogFile={path}/log/slurmd.%n.log",
            "ProctrackType=proctrack/linuxproc",
            "JobAcctGatherType=jobacct_gather/linux",
            "JobAcctGatherFrequency=task=2",
            "JobAcctGatherParams=OverMemoryKill",
            "SlurmdParameters=config_overrides",
            "SelectType=select/cons_tres",
            "SelectTypeParameters=CR_CPU_Memory",
            "DefMemPerCPU=100",
            "SchedulerType=sched/backfill",
            f"SchedulerParameters={','.join(_SCHEDULING)}",
            "PriorityType=priority/basic",
            "ReturnToService=1",
            "FirstJobId=1000",
            "MaxJobCount=50000",
            "MaxArraySize=10001",
            "KillWait=2",
            "CompleteWait=0",
            "SlurmdTimeout=30",
            "BatchStartTimeout=20",
            *(_HARSH if self._accounting is None else [*_KIND, *self._accounting.slurm_settings(self._munge_socket)]),
            *(
                f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={self.cpus} "
                f"RealMemory={self.cpus * 1000} TmpDisk=1000 Feature=fake State=UNKNOWN"
                for node, port in zip(self.nodes, self._node_ports, strict=True)
            ),
            "PartitionName=debug Nodes=ALL Default=YES MaxTime=1-00:00:00 DefaultTime=00:10:00 State=UP",
            f"PartitionName=small Nodes={self.nodes[0]} MaxTime=00:30:00 State=UP",
        ]
        return "\n".join(lines) + "\n"

    def _start_munged(self) -> None:
        """One of its own: another run's may end at any time, and the machine's need not be there."""
        home = self.home
        private = home.directory("munge-private", owner="munge", mode=0o700)
        key = home.file("munge-private/key", secrets.token_bytes(128), owner="munge", mode=0o400)
        options = {
            "socket": self._munge_socket,
            "key-file": key,
            "pid-file": self._munge_socket.with_name("pid"),
            "log-file": private / "log",
            "seed-file": private / "seed",
        }
        argv = ["munged", "--foreground", "--force", *(f"--{name}={value}" for name, value in options.items())]
        home.launch("munged", ["setpriv", "--reuid=munge", "--regid=munge", "--clear-groups", *argv])
        home.wait_for(self._munge_socket.exists, "munged listens")

    def _start_nodes(self) -> None:
        for node in self.nodes:
            self.home.run(["slurmd", "-f", self.conf, "-N", node])
        self.home.wait_for(self._all_up, "all nodes are idle")
