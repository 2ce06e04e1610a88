"""The whole screen as lines: the one on top, the notice, the keys, and over them what is being asked."""

from __future__ import annotations

import time
from typing import Final

from rich.cells import cell_len

from penstock.ctl.text import clean
from penstock.ctl.top.cluster import cluster_lines
from penstock.ctl.top.job import job_lines
from penstock.ctl.top.jobs import jobs_lines
from penstock.ctl.top.keys import help_lines, keys_line
from penstock.ctl.top.line import Line, Span, cut, filled, said, text_of, wrapped
from penstock.ctl.top.overview import overview_lines
from penstock.ctl.top.state import ClusterView, Dialog, HelpView, JobsView, JobView, Overview, State

LEAST: Final = (40, 12)
"""The smallest terminal that anything can be shown on."""
_NOTICE_MOST: Final = 4
_DIALOG_LEAST: Final = 30
_DIALOG_MOST: Final = 72


def drawn(state: State) -> list[Line]:
    """Exactly as many lines as the terminal has, each exactly as wide."""
    width, height = state.size
    if width < LEAST[0] or height < LEAST[1]:
        lines = [said(f"{width}x{height} is too small; {LEAST[0]}x{LEAST[1]} is the least")]
    else:
        notice = _notice(state, width)
        body = _body(state, width)[: height - 1 - len(notice)]
        if state.picture.lost:
            body = [tuple(Span(span.text, "dim") for span in line) for line in body]
        lines = [*body, *[()] * (height - 1 - len(notice) - len(body)), *notice, _keys(state, width)]
    lines = [filled(line, width) for line in lines[:height]]
    lines += [filled((), width)] * (height - len(lines))
    return _with_dialog(lines, state.dialog, width) if state.dialog else lines


def _body(state: State, width: int) -> list[Line]:
    match state.view:
        case Overview():
            return overview_lines(state, width)
        case JobsView():
            return jobs_lines(state, width)
        case JobView():
            return job_lines(state, width)
        case ClusterView():
            return cluster_lines(state, width)
        case HelpView(scroll=scroll):
            lines = help_lines(width)
            rows = state.size[1] - 2
            return lines[max(0, min(scroll, len(lines) - rows)) :]


def _notice(state: State, width: int) -> list[Line]:
    """What matters most at the moment: that there is no daemon, what was done, what is being done. At least a line."""
    text, style = _said(state)
    lines = wrapped(text, width, style=style)
    if len(lines) > _NOTICE_MOST:
        rest = " ".join(text_of(line) for line in lines[_NOTICE_MOST - 1 :])
        lines = [*lines[: _NOTICE_MOST - 1], said(cut(rest, width), style)]
    return lines


def _said(state: State) -> tuple[str, str]:
    """It, and its style."""
    picture = state.picture
    if state.notice:
        return state.notice.text, "bold red" if state.notice.bad else "bold"
    if picture.lost:
        since = time.strftime("%H:%M:%S", time.localtime(picture.lost.since))
        if picture.lost.why:
            return f"no conversation since {since}; trying again; {picture.lost.why}", "bold red"
        return f"no daemon since {since}; trying again; this is how things stood then", "bold red"
    if state.acting:
        return f"{state.acting.doing} ...", "bold"
    if picture.slow:
        return "the daemon has not answered for a while; waiting", "yellow"
    return "", ""


def _keys(state: State, width: int) -> Line:
    if state.prompt is not None:
        room = max(1, width - len(state.prompt.label) - 1)
        text = state.prompt.text
        return (Span(state.prompt.label, "bold"), Span(cut(text[-room:], room)), Span(" ", "reverse"))
    return keys_line(state.view, width)


def _with_dialog(lines: list[Line], dialog: Dialog, width: int) -> list[Line]:
    """A box in the middle of the screen."""
    longest = max(cell_len(clean(line)) for line in (dialog.title, *dialog.lines))
    inner = max(_DIALOG_LEAST, min(longest, _DIALOG_MOST, width - 6))
    text = wrapped(dialog.title, inner, style="bold")
    text.append(())
    for line in dialog.lines:
        text += wrapped(line, inner)
    text += [(), (Span("y", "reverse"), Span(" yes   "), Span("n", "reverse"), Span(" no"))]
    text = text[: max(1, len(lines) - 2)]
    left = (width - inner - 4) // 2
    rule = said("+" + "-" * (inner + 2) + "+", "bold")
    box = [rule, *((Span("| ", "bold"), *filled(line, inner), Span(" |", "bold")) for line in text), rule]
    top = max(0, (len(lines) - len(box)) // 2)
    over = list(lines)
    for place, edge in enumerate(box[: len(lines) - top], top):
        under = lines[place]
        over[place] = filled((*filled(under, left), *edge, *_from(under, left + inner + 4)), width)
    return over


def _from(line: Line, cells: int) -> Line:
    """What of a line stands right of `cells`; a wide character that is cut in two becomes a blank."""
    text = "".join(span.text for span in line)
    before = sum(len(span.text) for span in filled(line, cells))
    return said(text[before:], "dim")
