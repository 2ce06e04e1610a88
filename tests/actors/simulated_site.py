"""A site in virtual time: the spool of a login node and Slurm's queue in memory, behind a shell with real answers.

Nothing happens there by itself: a test starts tasks, ends them, and lets answers go astray.
"""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import anyio.lowlevel

from penstock.actors.scheduler_link import command_name
from penstock.clusters import remote_scripts as scripts
from penstock.clusters.claim import TOMBSTONE
from penstock.clusters.shell import Completed, Way
from penstock.clusters.slurm_words import indices_of
from penstock.clusters.spool import End, Finish, Host, Line, Start, encode_line
from penstock.domain.calculation import Exit
from penstock.domain.errors import ClusterError
from penstock.domain.ids import is_ulid
from penstock.testing.virtual_clock import VirtualClock

SPOOL: Final = "/home/a/spool"
_CONFIG: Final = """SLURM_VERSION = 22.05.8
MaxArraySize = 1001
MaxJobCount = 10000
MinJobAge = 300 sec
AccountingStorageType = accounting_storage/{}
"""
_PARTITION: Final = "PartitionName=debug Default=YES State=UP TotalNodes=4 MaxTime=1-00:00:00\n"
_NODES: Final = "".join(f"debug|n{n}|64|256000|(null)\n" for n in range(1, 5))
_OVER: Final = frozenset({"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED"})


class Task:
    """A task of a job as Slurm sees it."""

    def __init__(self, submitted_at: float) -> None:
        self.state, self.reason, self.node, self.exit = "PENDING", "Priority", "", "0:0"
        self.submitted_at = submitted_at
        self.started_at: float | None = None
        self.ended_at: float | None = None
        self.shown = True  # the queue still remembers it
        self.position: int | None = None  # of the attempt that runs

    @property
    def is_over(self) -> bool:
        return self.state in _OVER


class Job:
    """A submission at the scheduler."""

    def __init__(self, id: int, ulid: str, width: int, options: Sequence[str], now: float) -> None:
        self.id, self.ulid, self.width, self.options = id, ulid, width, tuple(options)
        self.tasks = {k: Task(now) for k in range(width)}

    def name_of(self, k: int) -> str:
        return f"{self.id}_{k}" if self.width > 1 else str(self.id)


class Site:
    """What there is. `way` is what becomes of the next submissions, one by one; then all go well.

    In `way`: a Completed is what sbatch answers without making a job; "lost" makes the job and loses the answer on its
    way here; "hung" makes the job, and sbatch never tells anybody; "nothing" neither makes it nor tells.
    `answers` replaces what a command would answer for as long as it is there. `unreachable` breaks all commands.
    """

    def __init__(self, clock: VirtualClock, *, accounts: bool = True) -> None:
        self.clock = clock
        self.accounts = accounts
        self.latency_s = 0.05
        self.way: list[Completed | str] = []
        self.answers: dict[str, Completed | Exception] = {}
        self.unreachable = ""
        self.calls: list[tuple[float, str]] = []
        self.signals: list[str] = []
        self.files: dict[str, bytes] = {}
        self.links: dict[str, str] = {}
        self.jobs: dict[str, list[Job]] = {}
        self.fetched: list[str] = []
        self._next_id = 1000

    def count(self, *commands: str, since_s: float = 0.0) -> int:
        """How often these commands were called since then."""
        return sum(at >= since_s and command in commands for at, command in self.calls)

    def job(self, ulid: str) -> Job:
        """The one job of a submission."""
        (job,) = self.jobs[ulid]
        return job

    # ---- what happens there -----------------------------------------------------------------------------------------

    def start(self, ulid: str, k: int = 0, node: str = "n1") -> bool:
        """A task begins, and with it its first attempt; False when its claim is taken."""
        job = self.job(ulid)
        task = job.tasks[k]
        if self.links.setdefault(f"{ulid}/claim.{k}", f"{job.id}:0:{node}") == TOMBSTONE:
            task.state, task.ended_at = "COMPLETED", self.clock.time()
            return False
        task.state, task.reason, task.node, task.started_at = "RUNNING", "None", node, self.clock.time()
        self._write(ulid, k, Host(node))
        self.begin(ulid, k, k)
        return True

    def begin(self, ulid: str, k: int, position: int) -> None:
        """A task's next attempt begins."""
        self.job(ulid).tasks[k].position = position
        self._write(ulid, k, Start(position, self.clock.time()))

    def end(
        self, ulid: str, k: int = 0, *, code: int | None = 0, verdict: str | None = None, last: bool = True
    ) -> None:
        """The attempt that runs ends, and leaves word of it; the task too if it was its `last`."""
        task, now = self.job(ulid).tasks[k], self.clock.time()
        assert task.position is not None
        self._write(ulid, k, End(task.position, Exit(code, None, now, now, verdict)))
        task.position = None
        if last:
            self._write(ulid, k, Finish())
            self.over(ulid, k, "COMPLETED" if code == 0 else "FAILED")

    def over(self, ulid: str, k: int, state: str, exit_text: str = "0:0") -> None:
        """The task ends at the scheduler; it leaves no word."""
        task = self.job(ulid).tasks[k]
        task.state, task.ended_at, task.exit, task.reason = state, self.clock.time(), exit_text, "None"

    def forget(self, ulid: str) -> None:
        """The queue forgets a job that has ended."""
        for task in self.job(ulid).tasks.values():
            task.shown = False

    def _write(self, ulid: str, k: int, line: Line) -> None:
        name = f"{ulid}/journal.{k}"
        self.files[name] = self.files.get(name, b"") + encode_line(line)
        self.files[f"news/{ulid}.{k}"] = b""

    def names(self, ulid: str) -> list[str]:
        """What the spool holds of a submission."""
        return sorted(name.partition("/")[2] for name in [*self.files, *self.links] if name.startswith(f"{ulid}/"))

    def ulids(self) -> list[str]:
        """The submissions that the spool holds anything of."""
        return sorted(filter(is_ulid, {name.partition("/")[0] for name in [*self.files, *self.links]}))

    # ---- commands ---------------------------------------------------------------------------------------------------

    def answer(self, argv: Sequence[str], stdin: bytes) -> Completed:
        """What a command answers."""
        if argv[:2] == ["/bin/sh", "-c"]:
            return self._errand(argv[2], list(argv[4:]), stdin.decode())
        if argv[0] == "test":
            return Completed(0, b"", b"")
        command = command_name(argv)
        if argv[-2:-1] == ["-c"]:
            command = "sacctmgr"
        self.calls.append((self.clock.monotonic(), command))
        answer = self.answers.get(command)
        if isinstance(answer, Exception):
            raise answer
        if answer is not None:
            return answer
        words = list(argv[argv.index(command) + 1 :]) if command in argv else []
        return getattr(self, f"_{command}")(words)  # type: ignore[no-any-return]

    def _errand(self, script: str, arguments: list[str], stdin: str) -> Completed:
        errands: dict[str, Callable[[list[str], str], bytes]] = {
            scripts.PREPARE: lambda *_: f"{SPOOL}\n/home/a\nlogin\n{self.clock.time():.0f}\n".encode(),
            scripts.SUBMIT: self._submit,
            scripts.TAKE_NEWS: self._take_news,
            scripts.READ: self._read,
            scripts.BURY: self._bury,
            scripts.CANCEL: self._mark,
            scripts.FORGET: self._remove,
            scripts.INVENTORY: lambda *_: "".join(f"{ulid}\n" for ulid in self.ulids()).encode(),
        }
        return Completed(0, scripts.BEGIN + errands[script](arguments, stdin) + scripts.END + b"0\n", b"")

    def _submit(self, arguments: list[str], _: str) -> bytes:
        _, ulid, count, *rest = arguments
        words = rest[int(count) :]
        assert f"{ulid}/script" in self.files, "submitted before its script was there"
        if f"{ulid}/submitting" in self.files:
            for name in ("jobid", "refused"):
                if (told := self.files.get(f"{ulid}/{name}")) is not None:
                    return told if name == "refused" else b"exit 0\n1" + told
            return b"begun\n"
        self.files[f"{ulid}/submitting"] = b""
        self.calls.append((self.clock.monotonic(), "sbatch"))
        way = self.way.pop(0) if self.way else "well"
        if isinstance(way, Completed):
            self.files[f"{ulid}/refused"] = told = f"exit {way.exit_code}\n2".encode() + way.stderr
            return told
        if way != "nothing":
            job = self._make(ulid, words)
            if way != "hung":
                self.files[f"{ulid}/jobid"] = f"{job.id}\n".encode()
        if way != "well":
            raise ClusterError("the connection broke", transient=True)
        return b"exit 0\n1" + self.files[f"{ulid}/jobid"]

    def _make(self, ulid: str, words: list[str]) -> Job:
        array = next((word for word in words if word.startswith("--array=0-")), "--array=0-0")
        job = Job(self._next_id, ulid, int(array.rpartition("-")[2]) + 1, words, self.clock.time())
        self._next_id += 1
        self.jobs.setdefault(ulid, []).append(job)
        return job

    def _take_news(self, *_: object) -> bytes:
        hints = [name for name in self.files if name.startswith("news/")]
        for hint in hints:
            del self.files[hint]
        journals = [re.sub(r"news/(\w+)\.(\d+)", r"\1/journal.\2", hint) for hint in hints]
        return self._tar(journals) if hints else b""

    def _read(self, _: object, stdin: str) -> bytes:
        ulids = stdin.split()
        there = {ulid: bool(self.names(ulid)) for ulid in ulids}
        wanted = re.compile(r"(claim|journal|duplicate)\.|(submitting|jobid|refused)$")
        names = [f"{ulid}/{name}" for ulid in ulids for name in self.names(ulid) if wanted.match(name)]
        head = "".join(f"{'+' if there[ulid] else '-'}{ulid}\n" for ulid in ulids)
        return f"{head}\n".encode() + self._tar(names)

    def _bury(self, arguments: list[str], _: str) -> bytes:
        _, ulid, *claims = arguments
        for claim in claims:
            self.links.setdefault(f"{ulid}/{claim}", TOMBSTONE)
        return self._tar([f"{ulid}/{claim}" for claim in claims], below=ulid)

    def _mark(self, arguments: list[str], _: str) -> bytes:
        _, ulid, _, *positions = arguments
        self.files |= {f"{ulid}/cancel.{position}": b"" for position in positions}
        return b""

    def _remove(self, _: object, stdin: str) -> bytes:
        for ulid in stdin.split():
            self.files = {name: data for name, data in self.files.items() if not name.startswith(f"{ulid}/")}
            self.links = {name: target for name, target in self.links.items() if not name.startswith(f"{ulid}/")}
        return b""

    def _tar(self, names: Sequence[str], below: str = "") -> bytes:
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w:", format=tarfile.USTAR_FORMAT) as archive:
            for name in names:
                member = tarfile.TarInfo(name.removeprefix(f"{below}/"))
                if name in self.links:
                    member.type, member.linkname = tarfile.SYMTYPE, self.links[name]
                    archive.addfile(member)
                elif (content := self.files.get(name)) is not None:
                    member.size = len(content)
                    archive.addfile(member, io.BytesIO(content))
        return stream.getvalue()

    def _scontrol(self, words: list[str]) -> Completed:
        text = _CONFIG.format("slurmdbd" if self.accounts else "none") if "config" in words else _PARTITION
        return Completed(0, text.encode(), b"")

    def _sinfo(self, _: list[str]) -> Completed:
        return Completed(0, _NODES.encode(), b"")

    def _sacctmgr(self, _: list[str]) -> Completed:
        return Completed(0, b"", b"")

    def _squeue(self, _: list[str]) -> Completed:
        return Completed(0, self.queue(), b"")

    def queue(self) -> bytes:
        """What squeue prints."""
        rows = [
            f"{job.name_of(k)}|{task.state}|{task.submitted_at:.0f}|{_epoch(task.started_at)}|{_epoch(task.ended_at)}|"
            f"{task.node}|{task.reason}|penstock-{job.ulid}\n"
            for jobs in self.jobs.values()
            for job in jobs
            for k, task in job.tasks.items()
            if task.shown
        ]
        return "".join(rows).encode()

    def _sacct(self, words: list[str]) -> Completed:
        assert self.accounts, "asked for accounts that the site does not keep"
        asked = next(word for word in words if word.startswith("--name="))
        rows = [
            f"{job.name_of(k)}|{task.state}|{task.exit}|{task.submitted_at:.0f}|{_epoch(task.started_at)}|"
            f"{_epoch(task.ended_at)}|{task.node}|penstock-{job.ulid}\n"
            for jobs in self.jobs.values()
            for job in jobs
            for k, task in job.tasks.items()
            if job.ulid in asked
        ]
        return Completed(0, "".join(rows).encode(), b"")

    def _scancel(self, words: list[str]) -> Completed:
        signals = [word.partition("=")[2] for word in words if word.startswith("--signal=")]
        for word in words:
            match = re.fullmatch(r"(\d+)(?:_(?:(\d+)|\[(.*)\]))?", word)
            for job in (job for jobs in self.jobs.values() for job in jobs if match and int(match[1]) == job.id):
                assert match is not None
                named = match[2] or match[3]
                for k in indices_of(named) if named else job.tasks:
                    self._hit(job, k, signals[0] if signals else "TERM")
        return Completed(0, b"", b"")

    def _hit(self, job: Job, k: int, signal: str) -> None:
        """A signal reaches a task: its script acts as scripts do."""
        self.signals.append(f"{signal} {job.name_of(k)}")
        task = job.tasks[k]
        marked = f"{job.ulid}/cancel.{task.position}" in self.files
        if task.state == "PENDING" and signal == "TERM":
            self.over(job.ulid, k, "CANCELLED")
        elif task.state == "RUNNING" and marked:
            self.end(job.ulid, k, code=None, verdict="cancelled", last=signal == "TERM")
            if signal == "TERM":
                self.over(job.ulid, k, "CANCELLED")


class SiteShell:
    """The way to a site. See `Shell`."""

    def __init__(self, site: Site) -> None:
        self._site = site

    async def _go(self) -> None:
        await self._site.clock.sleep(self._site.latency_s)
        if self._site.unreachable:
            raise ClusterError(self._site.unreachable, transient=True)

    async def run(self, argv: Sequence[str], *, stdin: bytes = b"", timeout_s: float) -> Completed:
        assert timeout_s > 0
        await self._go()
        return self._site.answer(argv, stdin)

    async def put(self, directory: str, files: Mapping[str, bytes]) -> None:
        await self._go()
        root = directory.removeprefix(SPOOL).strip("/")
        self._site.files |= {f"{root}/{name}".strip("/"): content for name, content in files.items()}

    async def get(self, path: str) -> bytes:
        await self._go()
        return self._site.files[path]

    async def list(self, directory: str) -> list[str]:
        await self._go()
        return [name for name in self._site.files if name.startswith(directory)]

    async def fetch(self, directory: str, names: Sequence[str], into: Path) -> None:
        await self._go()
        self._site.fetched += [f"{directory}/{name} {into}" for name in names]

    @property
    def way(self) -> Way:
        return Way(is_up=not self._site.unreachable)

    async def close(self) -> None:
        await anyio.lowlevel.checkpoint()


def _epoch(moment: float | None) -> str:
    return "Unknown" if moment is None else f"{moment:.0f}"
