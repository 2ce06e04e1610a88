"""What jobs wrote themselves, and what it says of the daemon's records.

Every attempt appends a line when it begins and one when it ends, to a file that the daemon does not know.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from benchmarks.slurm_site import Task
from benchmarks.submission_points import Running, read

SCRIPT: Final = (
    'say() { printf "%s %s %s %s %s %s\\n" "$1" "$PENSTOCK_JOB_ID" "${PENSTOCK_ATTEMPT_DIR#"$PENSTOCK_WORKFLOW_DIR"/}" '
    '"${SLURM_JOB_NAME#penstock-}" "${SLURM_ARRAY_TASK_ID:-0}" "$2" >>"$0"; }; '
    'say begin 0; case $PENSTOCK_JOB_ID in *[159]) sleep 6;; *) sleep "0.$((PENSTOCK_JOB_ID * 3 % 10))";; esac; '
    'say end "$(date +%s.%N)"'
)
"""For `sh -c`; $0 is the witness file. Some jobs last longer than anybody's patience with an empty answer."""
_CLOCKS_S: Final = 1.5  # a job script knows the time to the second
_JOBS: Final = "SELECT id, state FROM job"
_ATTEMPTS: Final = """
SELECT job_id, submission, position % width, directory, attempt.state, failure, ended_at, message
FROM attempt JOIN submission ON ulid = submission
"""


class Story(NamedTuple):
    """What a witness file tells, by job and attempt directory."""

    began: dict[int, list[tuple[str, Task]]]
    ended: dict[tuple[int, str], float]


class Verdict(msgspec.Struct):
    """What became of a workflow's jobs."""

    jobs: int = 0
    attempts: int = 0
    struck: int = 0  # attempts that the storm harmed and that were run again
    vanished: int = 0  # attempts that never began, though nobody struck them, and were made anew
    lost: int = 0
    twice: int = 0
    failed: int = 0
    winners: int = 0  # completed jobs without exactly one attempt that completed
    early: int = 0  # called completed before they had ended
    details: list[str] = []

    def add(self, other: Verdict) -> None:
        """Sums up."""
        for field in self.__struct_fields__:
            setattr(self, field, getattr(self, field) + getattr(other, field))


def read_story(path: Path) -> Story:
    """What the witnesses wrote so far."""
    story = Story(defaultdict(list), {})
    for line in path.read_text(encoding="utf-8").splitlines():
        word, job, directory, ulid, index, at = line.split(" ")
        if word == "begin":
            story.began[int(job)].append((directory, Task(ulid, int(index))))
        else:
            story.ended[int(job), directory] = float(at)
    return story


def judge(workflow: Running, witness: Path, jobs: int) -> Verdict:
    """The daemon's records against what really ran."""
    story = read_story(witness)
    struck = workflow.site.struck
    verdict = Verdict(jobs=jobs, details=[])

    def note(count: str, text: str) -> None:
        setattr(verdict, count, getattr(verdict, count) + 1)
        verdict.details.append(f"{workflow.id} {count}: {text}")

    states = {int(str(job)): str(state) for job, state in read(workflow.directory, _JOBS)}
    won: dict[int, list[str]] = defaultdict(list)
    for row in read(workflow.directory, _ATTEMPTS):
        job, directory, state = int(str(row[0])), str(row[3]), str(row[4])
        task = Task(str(row[1]), int(str(row[2])))
        verdict.attempts += 1
        if state == "completed":
            won[job].append(directory)
            if float(str(row[6])) < story.ended.get((job, directory), 0.0) - _CLOCKS_S:
                note("early", f"job {job}, {directory}: {row[6]}, but {story.ended[job, directory]}")
        elif state != "not_run":
            has_begun = directory in [begun for begun, _ in story.began[job]]
            if task in struck:
                verdict.struck += 1
            elif has_begun:
                note("failed", f"job {job}, {directory}, {task}: {state}, {row[5]}: {row[7]}")
            else:
                note("vanished", f"job {job}, {directory}, {task}: {state}, {row[5]}: {row[7]}")
    for job in range(1, jobs + 1):
        _judge_job(job, states.get(job, "missing"), won[job], story, struck, note)
    return verdict


def _judge_job(
    job: int,
    state: str,
    won: list[str],
    story: Story,
    struck: set[Task],
    note: Callable[[str, str], None],
) -> None:
    begun = story.began[job]
    if state in {"failed", "timeout", "cancelled"}:
        note("failed", f"job {job} is {state}")
    elif state != "completed":
        note("lost", f"job {job} is {state}")
    elif len(won) != 1:
        note("winners", f"job {job} was won by {won}")
    elif (job, won[0]) not in story.ended:
        note("lost", f"job {job} is completed, but {won[0]} never came to its end")
    for number, (directory, task) in enumerate(begun[:-1]):
        if directory in [other for other, _ in begun[number + 1 :]]:
            note("twice", f"job {job}: {directory} began twice, {task}")
        elif task not in struck:
            note("twice", f"job {job}: {directory} of {task} began, and then {begun[number + 1]}")
