"""Commands that look through job directories (rescan, recompute-metrics, reset-missing), and set-job."""

from __future__ import annotations

from typing import Any, Final

import click

from penstock.control.messages import Reviewed
from penstock.ctl.options import Whole, command, id_argument, selection_options
from penstock.ctl.output import Ctl
from penstock.domain.views import Selection

_LISTED: Final = 10
_FORCE: Final = "max_force_hartree_per_bohr"
_SETTABLE: Final = ("completed", "failed", "skipped")


@command("rescan")
@id_argument()
@selection_options
def rescan(ctl: Ctl, id: str, selection: Selection) -> None:
    """Read job directories again: jobs without a result whose files show a success are completed by it.

    Jobs that are active are never touched, and a reading that shows no success changes nothing.
    """
    _show(ctl, id, "completed by what is in their directories", ctl.client.rescan(id, selection))


@command("recompute-metrics")
@id_argument()
@selection_options
def recompute_metrics(ctl: Ctl, id: str, selection: Selection) -> None:
    """Read the outputs of completed jobs again and record what they say now.

    A job whose outputs no longer read as a success keeps the values it has.
    """
    _show(ctl, id, "with other values than before", ctl.client.recompute_metrics(id, selection))


@command("reset-missing")
@id_argument()
@selection_options
def reset_missing(ctl: Ctl, id: str, selection: Selection) -> None:
    """Run completed jobs again whose outputs are gone, but for those marked never-rerun."""
    _show(ctl, id, "to be run again, for their outputs are gone", ctl.client.reset_missing(id, selection))


@command("set-job")
@id_argument()
@click.option("--job", type=Whole(1), required=True, metavar="N", help="The job.")
@click.option("--status", type=click.Choice(_SETTABLE), help="What became of it.")
@click.option("--energy", "energy_hartree", type=float, metavar="EH", help="Final energy, Eh.")
@click.option("--max-force", _FORCE, type=float, metavar="F", help="Largest force component, Eh/bohr.")
@click.option("--scf-cycles", "scf_cycles", type=Whole(0), metavar="N", help="SCF cycles.")
@click.option("--wall-time", "wall_time_s", type=float, metavar="S", help="Wall time, s.")
@click.option("--reason", metavar="TEXT", help="Why; kept in the job's history.")
def set_job(ctl: Ctl, id: str, job: int, reason: str | None, **given: Any) -> None:
    """Set what is recorded of a job that is not active: its status, its metrics."""
    if all(value is None for value in given.values()):
        raise click.UsageError("give --status, --energy, --max-force, --scf-cycles or --wall-time")
    reply = ctl.client.set_job(id, job, reason=reason, **given)
    if ctl.json:
        ctl.emit(reply)
        return
    energy_text = "" if reply.job.final_energy is None else f", energy {reply.job.final_energy:.8f} Eh"
    ctl.line(f"{id}: job {job} is {reply.job.state}{energy_text}")


def _show(ctl: Ctl, id: str, what: str, reply: Reviewed) -> None:
    if ctl.json:
        ctl.emit(reply)
        return
    unchanged = f", {reply.unchanged} as they were" if reply.unchanged else ""
    ctl.line(f"{id}: {reply.looked_at} looked at, {reply.changed} {what}{unchanged}")
    for reason, jobs in sorted(reply.left.items(), key=lambda item: -item[1]):
        ctl.line(f"  {jobs} left: {reason}")
    for left in reply.shown[:_LISTED]:
        ctl.line(f"    job {left.job}: {left.detail or left.reason}")
    if len(reply.shown) > _LISTED:
        ctl.line("    ... --json shows more")


COMMANDS: Final = {
    "rescan": rescan,
    "recompute-metrics": recompute_metrics,
    "reset-missing": reset_missing,
    "set-job": set_job,
}
