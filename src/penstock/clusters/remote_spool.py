"""The spool of a cluster with a scheduler, as seen from afar: the command for each errand, and what its answer says.

    SPOOL/news/ULID.K         empty: journal K of ULID has grown (K is `w` for a warm runner's)
    SPOOL/ULID/script         the job script, and run.K what its task K runs
    SPOOL/ULID/submitting     the submission has begun; then `jobid` or `refused` is what the scheduler answered
    SPOOL/ULID/claim.K        who works through task K, or a tombstone; `duplicate.TOKEN` somebody else who tried
    SPOOL/ULID/journal.K      what happened there: the lines of `penstock.clusters.spool`
    SPOOL/ULID/cancel.P       the attempt at position P shall end, or not begin
    SPOOL/ULID/ULID.*         a warm runner's manifest, claim, journal and cancel, as in `penstock.clusters.spool`

Every errand is one `/bin/sh -c` with arguments. Every `parse_*` raises ClusterError for an answer that is not whole or
tells of trouble, so that no answer is ever taken for an empty one.
"""

from __future__ import annotations

import contextlib
import io
import re
import tarfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Final

import msgspec

from penstock.clusters import remote_scripts as scripts
from penstock.clusters.claim import TOMBSTONE
from penstock.clusters.shell import Completed
from penstock.clusters.spool import Line, parse_lines
from penstock.domain.errors import ClusterError
from penstock.domain.ids import is_ulid

_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LASTING: Final = ("permission denied", "not a directory", "read-only file system", "is no spool")
_GROWN: Final = b"changed as we read it"
_WORDS_MAX: Final = 300
_SIGNALS: Final = range(129, 193)


class SpoolPlace(msgspec.Struct, frozen=True):
    """A spool that is ready: absolute, on which host, in whose home, and the host's clock (s since the epoch)."""

    spool: str
    home: str
    host: str
    time_s: int


class SubmissionFiles(msgspec.Struct, frozen=True):
    """What the spool holds of one submission.

    `answer` is what the scheduler said when it was submitted. By task: `claims` (the holder's token or TOMBSTONE) and
    `journals`; a warm runner's journal is task 0's, and `warm_claim` its own claim, taken after that of task 0. `words`
    are the last line that the scheduler or the set-up left in the task's own output.
    """

    exists: bool
    submitting: bool = False
    answer: Completed | None = None
    claims: dict[int, str] = {}
    journals: dict[int, list[Line]] = {}
    warm_claim: str | None = None
    duplicates: tuple[str, ...] = ()
    words: dict[int, str] = {}


def prepare_argv(spool: str) -> list[str]:
    """Makes the spool, which is absolute or relative to the home."""
    return _argv(scripts.PREPARE, spool)


def parse_prepare(answer: Completed) -> SpoolPlace:
    """Where it is."""
    fields = _payload(answer).decode(errors="replace").split("\n")
    if len(fields) != 5 or not fields[3].isdigit() or not fields[0].startswith("/"):
        raise _unreadable(answer)
    return SpoolPlace(fields[0], fields[1], fields[2], int(fields[3]))


def submit_argv(spool: str, ulid: str, argv: Sequence[str], environment: Mapping[str, str]) -> list[str]:
    """Runs `argv`, the scheduler's command, in the submission's directory; never twice, however often it is asked."""
    for name in environment:
        if _VARIABLE.fullmatch(name) is None:
            raise ValueError(f"{name!r} is no name of a variable")
    variables = [f"{name}={value}" for name, value in environment.items()]
    return _argv(scripts.SUBMIT, spool, _checked(ulid), str(len(variables)), *variables, *argv)


def parse_submit(answer: Completed) -> Completed | None:
    """What the scheduler's command answered, now or the first time; None when the first time has no answer yet."""
    payload = _payload(answer)
    return None if payload == b"begun\n" else _parse_exit(payload, answer)


def take_news_argv(spool: str, limit: int) -> list[str]:
    """Takes up to `limit` hints and the journals they point to.

    Hints are gone once the command has run, whether its answer arrives or not: after an error read the submissions.
    """
    return _argv(scripts.TAKE_NEWS, spool, str(limit))


def parse_news(answer: Completed) -> dict[tuple[str, int], list[Line]]:
    """The journals that have grown, whole, by submission and task."""
    payload = _payload(answer)
    news: dict[tuple[str, int], list[Line]] = {}
    for ulid, name, member, content in _members(payload, answer) if payload else ():
        if member.isreg() and (task := _journal_task(ulid, name)) is not None:
            news[ulid, task] = parse_lines(content)
    return news


def read_submissions_argv(spool: str, ulids: Collection[str]) -> tuple[list[str], bytes]:
    """Reads all that is known of submissions; the command and its standard input."""
    return _argv(scripts.READ, spool), _ulid_lines(ulids)


def parse_submissions(answer: Completed, ulids: Collection[str]) -> dict[str, SubmissionFiles]:
    """By ulid, those that do not exist included."""
    head, separator, archive = _payload(answer).partition(b"\n\n") if ulids else (b"", b"\n", _payload(answer)[1:])
    words = head.decode(errors="replace").split()
    existing = {word[1:] for word in words if word[0] == "+"}
    if not separator or {word[1:] for word in words} != set(ulids):
        raise _unreadable(answer)
    files: dict[str, dict[str, tuple[tarfile.TarInfo, bytes]]] = {ulid: {} for ulid in ulids}
    for ulid, name, member, content in _members(archive, answer):
        if ulid not in existing:
            raise _unreadable(answer)
        files[ulid][name] = (member, content)
    return {ulid: _to_files(ulid, found, answer, exists=ulid in existing) for ulid, found in files.items()}


def bury_argv(spool: str, ulid: str, tasks: Collection[int], *, warm: bool) -> list[str]:
    """Takes the claims of these tasks, and a warm runner's, as tombstones."""
    claims = [f"claim.{task}" for task in tasks] + ([f"{ulid}.claim"] if warm else [])
    return _argv(scripts.BURY, spool, _checked(ulid), *claims)


def parse_bury(answer: Completed) -> dict[int, str]:
    """Who holds the claims now. A warm runner that never can begin makes a tombstone of its task's claim."""
    holders: dict[int, str] = {}
    is_buried = False
    with _archive(_payload(answer), answer) as archive:
        for member in archive:
            if not member.issym():
                raise _unreadable(answer)
            prefix, _, task = member.name.partition(".")
            if prefix == "claim":
                holders[int(task)] = member.linkname
            else:
                is_buried = member.linkname == TOMBSTONE
    return dict.fromkeys(holders, TOMBSTONE) if is_buried else holders


def cancel_argv(spool: str, ulid: str, positions: Collection[int], *, warm: bool) -> list[str]:
    """Marks attempts that shall end, besides those marked before; `check` its answer."""
    return _argv(scripts.CANCEL, spool, _checked(ulid), str(int(warm)), *map(str, positions))


def forget_argv(spool: str, ulids: Collection[str]) -> tuple[list[str], bytes]:
    """Removes all that there is of submissions; the command and its standard input. `check` its answer."""
    return _argv(scripts.FORGET, spool), _ulid_lines(ulids)


def inventory_argv(spool: str) -> list[str]:
    """Lists the submissions in the spool."""
    return _argv(scripts.INVENTORY, spool)


def parse_inventory(answer: Completed) -> set[str]:
    """Their ulids."""
    return set(_payload(answer).decode(errors="replace").split())


def check(answer: Completed) -> None:
    """ClusterError unless it is done."""
    _payload(answer)


def _argv(script: str, *arguments: str) -> list[str]:
    return ["/bin/sh", "-c", script, "penstock", *arguments]


def _checked(ulid: str) -> str:
    if not is_ulid(ulid):
        raise ValueError(f"{ulid!r} is no ulid")
    return ulid


def _ulid_lines(ulids: Collection[str]) -> bytes:
    return "".join(f"{_checked(ulid)}\n" for ulid in ulids).encode()


def _payload(answer: Completed) -> bytes:
    """What stands between the marks."""
    start, end = answer.stdout.find(scripts.BEGIN), answer.stdout.rfind(scripts.END)
    if answer.exit_code != 0 or start < 0 or end < 0:
        raise _unreadable(answer)
    code = answer.stdout[end + len(scripts.END) :].split(b"\n", 1)
    # GNU tar's 1 is also for a journal that grew meanwhile, which is how journals are
    if len(code) != 2 or (code[0] != b"0" and not (code[0] == b"1" and _GROWN in answer.stderr)):
        raise _unreadable(answer)
    return answer.stdout[start + len(scripts.BEGIN) : max(start + len(scripts.BEGIN), end)]


def _unreadable(answer: Completed) -> ClusterError:
    words = answer.stderr.decode(errors="replace").strip() or "its answer is not whole"
    lasting = any(sign in words.lower() for sign in _LASTING)
    return ClusterError(f"the spool of the cluster: {words[-_WORDS_MAX:]}", transient=not lasting)


def _archive(data: bytes, answer: Completed) -> tarfile.TarFile:
    try:
        return tarfile.open(fileobj=io.BytesIO(data), mode="r:", encoding="utf-8", errors="surrogateescape")
    except tarfile.TarError as error:
        raise _unreadable(answer) from error


def _members(data: bytes, answer: Completed) -> Iterator[tuple[str, str, tarfile.TarInfo, bytes]]:
    """Submission, name, kind and content of everything that was sent."""
    try:
        with _archive(data, answer) as archive:
            for member in archive:
                ulid, _, name = member.name.partition("/")
                if ulid != ".spool":
                    file = archive.extractfile(member) if member.isreg() else None
                    yield ulid, name, member, file.read() if file else b""
    except tarfile.TarError as error:
        raise _unreadable(answer) from error


def _journal_task(ulid: str, name: str) -> int | None:
    if name == f"{ulid}.journal":
        return 0
    prefix, _, task = name.partition(".")
    return int(task) if prefix == "journal" and task.isdigit() else None


def _to_files(
    ulid: str, found: Mapping[str, tuple[tarfile.TarInfo, bytes]], answer: Completed, *, exists: bool
) -> SubmissionFiles:
    claims: dict[int, str] = {}
    journals: dict[int, list[Line]] = {}
    words: dict[int, str] = {}
    for name, (member, content) in found.items():
        prefix, _, task = name.partition(".")
        if prefix == "claim" and task.isdigit() and member.issym():
            claims[int(task)] = member.linkname
        elif prefix == "words" and task.isdigit():
            words[int(task)] = content.decode(errors="replace").strip().rpartition("\n")[2][-_WORDS_MAX:]
        elif (number := _journal_task(ulid, name)) is not None:
            journals[number] = parse_lines(content)
    told = None
    if "jobid" in found:
        told = Completed(0, found["jobid"][1], b"")
    elif "refused" in found:
        with contextlib.suppress(ClusterError):  # damaged: nobody knows, and evidence is sought elsewhere
            told = _parse_exit(found["refused"][1], answer)
    warm = found.get(f"{ulid}.claim")
    duplicates = tuple(name.removeprefix("duplicate.") for name in found if name.startswith("duplicate."))
    return SubmissionFiles(
        exists, "submitting" in found, told, claims, journals, warm[0].linkname if warm else None, duplicates, words
    )


def _parse_exit(text: bytes, answer: Completed) -> Completed:
    """`exit N` and then every line of output behind the number of its stream."""
    first, *lines = text.split(b"\n")
    word, _, code = first.partition(b" ")
    if word != b"exit" or not code.isdigit():
        raise _unreadable(answer)
    streams = {b"1": b"", b"2": b""}
    for line in filter(None, lines):
        if line[:1] not in streams:
            raise _unreadable(answer)
        streams[line[:1]] += line[1:] + b"\n"
    exit_code = int(code)
    return Completed(128 - exit_code if exit_code in _SIGNALS else exit_code, streams[b"1"], streams[b"2"])
