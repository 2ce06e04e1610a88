"""The spool's files: journals that may be torn, claims that have one holder."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from penstock.clusters import spool as spooling
from penstock.clusters.claim import TOMBSTONE, read_claim, take_claim
from penstock.clusters.runner_link import Journal
from penstock.domain.calculation import Exit
from penstock.domain.process_id import ProcessId, boot_id
from penstock.domain.submission import Seen

ULID = "01J00000000000000000000000"
END = spooling.End(0, Exit(0, None, 1.0, 2.0))


def reader(spool: Path) -> spooling.JournalReader:
    return spooling.JournalReader(spooling.spool_path(spool, ULID, "journal"))


def write(spool: Path, *lines: bytes) -> None:
    with spooling.spool_path(spool, ULID, "journal").open("ab") as journal:
        journal.write(b"".join(lines))


def test_a_journal_is_read_on_from_where_it_was_left(tmp_path: Path) -> None:
    journal = reader(tmp_path)
    assert journal.read() == {}
    write(tmp_path, spooling.encode_line(spooling.Start(0, 1.0)))
    assert {n: one.seen for n, one in journal.read().items()} == {0: Seen.RUNNING}
    assert journal.running == {0: 1.0}
    write(tmp_path, spooling.encode_line(END), spooling.encode_line(spooling.Barred(1, "somebody")))
    news = journal.read()
    assert (news[0].seen, news[0].exit, news[1].seen) == (Seen.ENDED, END.exit, Seen.NOT_RUN)
    assert (journal.running, journal.ended, journal.finished) == ({}, {0, 1}, False)
    write(tmp_path, spooling.encode_line(spooling.Finish()))
    assert journal.read() == {}
    assert journal.finished


def test_every_cut_of_a_journal_reads_as_its_whole_lines(tmp_path: Path) -> None:
    whole = [spooling.encode_line(line) for line in (spooling.Start(0, 1.0), END, spooling.Finish())]
    data = b"".join(whole)
    for cut in range(len(data) + 1):
        folder = tmp_path / str(cut)
        folder.mkdir()
        write(folder, data[:cut])
        journal = reader(folder)
        first = journal.read()
        complete = data[:cut].count(b"\n")
        assert list(first) == [0] * (complete > 0)
        assert (len(journal.running), len(journal.ended), journal.finished) == (
            complete == 1,
            complete > 1,
            complete > 2,
        )
        write(folder, data[cut:])
        assert (first | journal.read())[0].exit == END.exit
        assert journal.finished


def test_what_is_written_after_a_torn_line_is_not_lost(tmp_path: Path) -> None:
    write(tmp_path, spooling.encode_line(spooling.Start(0, 1.0)), b'["start",1,')
    journal = Journal(tmp_path, ULID)
    journal.write(END)
    journal.write(spooling.Finish())
    journal.close()
    found = reader(tmp_path)
    assert found.read()[0].exit == END.exit
    assert found.finished


def test_the_first_end_of_an_attempt_counts_and_no_other(tmp_path: Path) -> None:
    second = spooling.encode_line(spooling.End(0, Exit(None, 9, 1.0, 3.0, "timeout")))
    journal = reader(tmp_path)
    write(tmp_path, spooling.encode_line(END), second)
    assert journal.read()[0].exit == END.exit
    write(tmp_path, second)
    assert journal.read() == {}
    assert journal.ended == {0}


def test_rubbish_in_a_journal_is_passed_over(tmp_path: Path) -> None:
    write(tmp_path, b"\0\0\0\n", b'["end",0]\n', b'{"a":1}\n', b"\n", b"\xff\xfe\n", spooling.encode_line(END))
    assert list(reader(tmp_path).read()) == [0]


def test_cancellations_add_up(tmp_path: Path) -> None:
    spooling.request_cancel(tmp_path, ULID, [3])
    spooling.request_cancel(tmp_path, ULID, [1, 3])
    assert spooling.read_cancel(spooling.spool_path(tmp_path, ULID, "cancel")) == {1, 3}
    assert spooling.read_cancel(tmp_path / "none") == set()


def test_forgetting_removes_every_trace(tmp_path: Path) -> None:
    spooling.write_manifest(tmp_path, ULID, b"manifest")
    spooling.request_cancel(tmp_path, ULID, [1])
    take_claim(spooling.spool_path(tmp_path, ULID, "claim"), "me")
    write(tmp_path, b"")
    (tmp_path / "bell").touch()
    assert spooling.submissions(tmp_path) == {ULID}
    spooling.forget(tmp_path, ULID)
    spooling.forget(tmp_path, ULID)
    assert [path.name for path in tmp_path.iterdir()] == ["bell"]
    assert spooling.read_manifest(tmp_path, ULID) is None


def test_a_claim_has_one_holder_for_ever(tmp_path: Path) -> None:
    claim = tmp_path / "claim"
    assert read_claim(claim) is None
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda n: take_claim(claim, f"runner {n}"), range(40)))
    assert won.count(True) == 1
    holder = f"runner {won.index(True)}"
    assert read_claim(claim) == holder
    assert take_claim(claim, holder)
    assert not take_claim(claim, TOMBSTONE)


@pytest.mark.parametrize("token", ["", "1:2", "x:2:boot", "1:x:boot", "1:2:3:4", TOMBSTONE])
def test_a_token_that_names_no_process_is_none(token: str) -> None:
    assert ProcessId.from_token(token) is None


def test_a_process_is_known_by_its_start_as_well() -> None:
    me = ProcessId.of(os.getpid())
    assert me is not None
    assert ProcessId.from_token(me.token()) == me
    assert me.alive()
    assert not ProcessId(me.pid, me.start_ticks + 1, boot_id()).alive()
    assert not ProcessId(me.pid, me.start_ticks, "another boot").alive()
    assert ProcessId.of(2**22 + 1) is None


def test_a_damaged_line_costs_no_other_line() -> None:
    good = spooling.encode_line(spooling.Start(1, 2.0))
    for damaged in (b'["host","\xff\xfe"]\n', b"[" * 5000 + b"\n", b"\x00\n"):
        assert spooling.parse_lines(good + damaged + good) == [spooling.Start(1, 2.0)] * 2
