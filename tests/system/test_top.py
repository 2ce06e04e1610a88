"""The live view on a real terminal, through a whole campaign and a restart of the daemon."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.services.tmux import RealTmux

from .conftest import Gate, Penstockd, eventually

# says that it has begun, waits to be let through; job 3 fails until the file $2 is there
SCRIPT = (
    'echo "begin $PENSTOCK_JOB_ID"; echo "$PENSTOCK_JOB_ID $$" > "$0"; read line < "$1"; '
    'echo "end $PENSTOCK_JOB_ID"; test "$PENSTOCK_JOB_ID" != 3 || test -e "$2"'
)


class Live:
    """The live view of a daemon, on a terminal."""

    def __init__(self, daemon: Penstockd, tmux: RealTmux, *arguments: str) -> None:
        self.tmux = tmux
        argv = [sys.executable, "-m", "penstock.ctl.main", "top", "--interval", "0.2", *arguments]
        tmux.open(argv, daemon.environment)

    def until(self, holds: str | Callable[[str], object]) -> str:
        """What stands on the terminal, once it holds a text or `holds` is true of it."""
        text = ""

        def is_shown() -> object:
            nonlocal text
            text = self.tmux.screen()
            return holds in text if isinstance(holds, str) else holds(text)

        try:
            eventually(is_shown, f"on the terminal: {holds}")
        except AssertionError as error:
            pytest.fail(f"{error}\n{text}")
        return text

    def press(self, *keys: str) -> None:
        self.tmux.keys(*keys)

    def quit(self) -> None:
        """Leave it; it ends well."""
        self.press("q")
        eventually(lambda: self.tmux.exit_code() is not None, "the live view ends")
        assert self.tmux.exit_code() == 0, self.tmux.screen()


def matches(pattern: str) -> Callable[[str], object]:
    return lambda text: re.search(pattern, text, re.MULTILINE)


def test_a_whole_campaign_with_a_restart_of_the_daemon(daemon: Penstockd, gate: Gate, real_tmux: RealTmux) -> None:
    mended = daemon.home / "mended"
    settings = {"slots": 2, "retry": {"max_attempts": 1}}
    daemon.submit_command("oxides", SCRIPT, *gate.paths, mended, jobs=6, **settings)
    begun = {gate.next_started()[0], gate.next_started()[0]}
    live = Live(daemon, real_tmux)
    live.until(matches(r"^oxides +running +\.{6} +0% .* 2 +0 +0 "))
    drill_down_to_a_running_job(live, max(begun))
    under_way = pause(daemon, live)
    gate.release(under_way)  # what is in a bundle runs on
    live.until(f"{under_way} of 6 jobs ended")

    daemon.kill()
    assert f"{under_way} of 6 jobs ended" in live.until("no daemon since")
    live.press("R")
    live.until("nothing can be changed")
    daemon.start()
    live.until("the daemon answers again")
    live.press("R")
    live.until("Resume the whole workflow oxides?")
    live.press("y")
    gate.release(6 - under_way)
    live.until("oxides  failed")
    live.until(matches(r"^ +3 oxides-3 +failed +1 .* exit_code"))
    from_its_failure_to_its_completion(live, gate, mended)

    real_tmux.resize(130, 40)
    assert len(live.until("ENERGY/EH").splitlines()) == 40
    live.quit()
    assert daemon.wait("oxides").workflow.statuses == {"completed": 6}


def drill_down_to_a_running_job(live: Live, job: int) -> None:
    """From the overview to what a job writes while it runs, and back to all jobs."""
    live.press("Enter")
    live.until(matches(rf"^ +{job} oxides-{job} +running"))
    live.press("/", str(job), "Enter")
    live.until("1 to 1 of 1")
    live.press("Enter")
    assert f"oxides job {job}  running" in live.until(f"begin {job}")
    live.press("Escape")
    live.until("1 to 1 of 1")
    live.press("Escape")
    live.until("1 to 6 of 6")


def pause(daemon: Penstockd, live: Live) -> int:
    """Pause the workflow from its own screen; how many jobs are under way, of its six."""
    under_way = sum(daemon.client.status("oxides").workflow.states.get(state, 0) for state in ("queued", "running"))
    assert 2 <= under_way < 6
    live.press("P")
    live.until(f"{6 - under_way} jobs that wait.")
    live.press("y")
    live.until(f"oxides: paused, {6 - under_way} jobs")
    live.until("oxides  paused")
    return under_way


def from_its_failure_to_its_completion(live: Live, gate: Gate, mended: Path) -> None:
    """From the overview's list of failures to the job, which is tried again once its cause is mended."""
    live.press("Escape")
    live.until(matches(r"^oxides +failed +######"))
    live.until(matches(r"^\d\d:\d\d:\d\d oxides +3 exit_code +ended with code 1"))
    live.press("Tab", "Tab", "Enter")
    assert "It failed (exit_code)." in live.until("end 3")
    mended.touch()
    live.press("t")
    live.until("Retry job 3 (oxides-3) of oxides?")
    live.press("y")
    live.until("oxides: to be tried again, 1 job")
    gate.release(1)
    live.until("oxides job 3  completed")
    live.until("log of attempt 2")
    live.press("Escape")
    live.until("oxides  completed")


def test_a_workflow_cancelled_deleted_and_a_refusal(daemon: Penstockd, gate: Gate, real_tmux: RealTmux) -> None:
    daemon.submit_command("salts", SCRIPT, *gate.paths, "-", jobs=3, slots=1)
    gate.next_started()
    live = Live(daemon, real_tmux, "salts")
    live.until(matches(r"^ +1 salts-1 +running"))
    live.press("C")
    text = live.until("Cancel the whole workflow salts?")
    states = daemon.client.status("salts").workflow.states
    assert "1 running) is stopped" in text
    assert f"{states['ready']} job" in text
    assert "not yet begun" in text
    daemon.client.cancel("salts")  # somebody else is quicker
    live.press("y")
    live.until("cancelling the whole workflow salts failed: workflow salts is cancelled;")
    live.until("is left to cancel")
    daemon.wait("salts")
    live.until("salts  cancelled")

    eventually(lambda: not daemon.client.status("salts").workflow.states.get("running"), "its job has been stopped")
    daemon.client.delete("salts")
    text = live.until("no workflows")
    assert "salts" in text.splitlines()[-2]
    live.press("?")
    live.until("Everywhere")
    live.quit()
