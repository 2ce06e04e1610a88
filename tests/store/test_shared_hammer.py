"""Twenty processes that write to one shared database as fast as they can; the full minute is a benchmark."""

from __future__ import annotations

from pathlib import Path

from benchmarks.hammering import ROWS, count_all, run_processes
from tests.store.test_journal import journal_mode


def test_twenty_processes_at_one_database_see_no_error_and_lose_nothing(tmp_path: Path) -> None:
    database = tmp_path / "workflow.db"
    tallies = run_processes(database, ["actor", "writer"] * 10, 2.0)
    assert {name: tally.errors for name, tally in tallies.items() if tally.errors} == {}
    assert count_all(database) == {name: tally.commits * ROWS for name, tally in tallies.items()}
    assert max(tally.missing for tally in tallies.values()) == 0
    assert min(tally.commits for tally in tallies.values()) > 0  # nobody was shut out
    assert journal_mode(database) == "wal"
