"""What the keys do, in words."""

from __future__ import annotations

from typing import Final, NamedTuple

from penstock.ctl.top.line import Line, Span, said, wrapped
from penstock.ctl.top.state import ClusterView, HelpView, JobsView, JobView, Overview, View


class Key(NamedTuple):
    """A key and what it does, in a word; where there is no room those of the highest rank are left out first."""

    key: str
    word: str
    rank: int = 0


_ACTIONS: Final = (Key("p", "pause"), Key("r", "resume"), Key("t", "retry"), Key("c", "cancel"))
_ALWAYS: Final = (Key("?", "help"), Key("q", "quit"))
_KEYS: Final[dict[type[View], tuple[Key, ...]]] = {
    Overview: (Key("Enter", "open"), *_ACTIONS, Key("/", "find"), Key("s", "sort"), Key("Tab", "next", 1), *_ALWAYS),
    JobsView: (
        Key("Enter", "why"),
        *_ACTIONS,
        Key("f", "filter"),
        Key("/", "find"),
        Key("s", "sort", 1),
        Key("Space", "mark", 2),
        Key("Esc", "back", 3),
        *_ALWAYS,
    ),
    JobView: (
        Key("Tab", "log"),
        *_ACTIONS,
        Key("[ ]", "attempt", 1),
        Key("Esc", "back"),
        *_ALWAYS,
    ),
    ClusterView: (Key("Up Down", "scroll"), Key("Esc", "back"), *_ALWAYS),
    HelpView: (Key("Up Down", "scroll"), Key("Esc", "back"), Key("q", "quit")),
}
_HELP: Final = (
    ("", "Everywhere"),
    ("Up Down PgUp PgDn", "move; j and k too. Home and End (g, G): the first, the last"),
    ("Enter", "open what the cursor is on: a workflow's jobs, a job, a cluster"),
    ("Esc", "back; first takes back a search or marks"),
    ("?", "this page"),
    ("q", "quit; nothing stops by it"),
    ("", "Overview"),
    ("Tab", "on to clusters, failures, workflows"),
    ("s", "order: by state, id, newest, most failed, fastest"),
    ("/", "only workflows with a text in id, state, cluster, recipe or engine"),
    ("p r t c", "pause, resume, retry what failed, cancel the workflow under the cursor; each asks first"),
    ("", "Jobs of a workflow"),
    ("f F", "only failed, in doubt, running, queued, ready, completed, cancelled ones; F backwards"),
    ("/", "by a part of the name, a number, or a condition such as natoms>50 or failure=walltime"),
    ("s", "order: failures first, number, changed last, name, most attempts, longest, energy"),
    ("Space", "mark a job"),
    ("p r t c", "hold, release, run again, cancel the marked jobs, or the one under the cursor"),
    ("P R T C", "the same for the whole workflow"),
    ("", "A job"),
    ("Tab", "keys move the log, which gets the room; again: the reasons"),
    ("[ ]", "the log of the attempt before, after"),
    ("", "Columns"),
    ("READY", "ready, held or waiting; QUEUE: at the cluster; RUN: running or being read, ? with some in doubt"),
    ("/MIN", "jobs that ended in a minute, over the last five; LEFT: how long it takes if it goes on so"),
)


def keys_line(view: View, width: int) -> Line:
    """As many keys as there is room for, those that lead out always among them."""
    keys = list(_KEYS[type(view)])
    while len(keys) > 1 and _length(keys) > width:
        keys.remove(max(keys, key=lambda key: key.rank) if max(key.rank for key in keys) else keys[0])
    spans: list[Span] = []
    for key in keys:
        spans += [Span("  ")] if spans else []
        spans += [Span(key.key, "bold"), Span(f" {key.word}")]
    return tuple(spans)


def _length(keys: list[Key]) -> int:
    return sum(len(key.key) + 1 + len(key.word) for key in keys) + 2 * (len(keys) - 1)


def help_lines(width: int) -> list[Line]:
    """The page of help."""
    lines: list[Line] = []
    for key, text in _HELP:
        if not key:
            lines += [(), said(text, "bold")] if lines else [said(text, "bold")]
            continue
        lines += wrapped(f"{key:<18} {text}", width, indent=" " * 19)
    return lines
