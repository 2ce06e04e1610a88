"""The commands that need no daemon: what they find, what they say, how they end."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from penstock import engines
from penstock.ctl import outputs
from penstock.ctl.diagnose import Diagnosis, would_do
from penstock.ctl.outputs import Found, find_outputs, read_all
from penstock.domain.calculation import Evidence, FailureClass
from penstock.domain.remedy import Change, Rule
from penstock.domain.report import Optimization, Report
from penstock.engines.marker_scan import read_head

PAGE = (Path(__file__).parents[2] / "docs" / "ctl-json.md").read_text()
KEYS = [
    "path",
    "engine",
    "version",
    "ended",
    "converged",
    "failure",
    "evidence",
    "energy_hartree",
    "scf_cycles",
    "max_gradient_hartree_per_bohr",
    "optimization",
    "band_gap_ev",
    "band_gap_kind",
    "wall_time_s",
    "cores",
]
NO_OUTPUT = "not an output of ORCA, CRYSTAL or Quantum ESPRESSO"
GOOD = "TOY good\n"
BAD = "TOY bad\nSCF \x1b[31mlost\n"
RULES = (
    Rule("damp", FailureClass.SCF_NOT_CONVERGED, "scf", 2, {"damping": Change(set=True)}, why="quieter steps"),
    Rule("other", FailureClass.SCF_NOT_CONVERGED, "never said"),
    Rule("ask", FailureClass.SCF_NOT_CONVERGED, person="look at the orbitals"),
    Rule("unheard", FailureClass.SCF_NOT_CONVERGED, person="never reached"),
)


class Toy:
    """A program of which all is known: `TOY good`, `TOY bad`, or anything that makes its reader fail."""

    name = "toy"
    rules = RULES

    def recognises(self, head: bytes) -> bool:
        return head.startswith(b"TOY")

    def main_output(self, names: Iterable[str]) -> list[str]:
        return [name for name in names if name.endswith((".out", ".out.gz"))]

    def report(self, path: Path) -> Report:
        words = read_head(path).decode().split()
        if words[1] == "bad":
            failure = FailureClass.SCF_NOT_CONVERGED
            return Report("toy", "1.2", "error", False, failure, Evidence(path.name, 2, "SCF \x1b[31mlost"))
        if words[1] != "good":
            raise ZeroDivisionError("a defect")
        return Report(
            "toy",
            None,
            "normal",
            converged=True,
            failure=None,
            energy_hartree=float(words[2]) if len(words) > 2 else -1.5,
            scf_cycles=9,
            max_gradient_hartree_per_bohr=0.00025,
            optimization=Optimization(converged=True, cycles=1, energy_hartree=-1.5),
            band_gap_ev=2.5,
            band_gap_kind="direct",
            wall_time_s=61.0,
            cores=4,
            geometry="1\n\nH 0 0 0\n",
            properties={"dipole": [0.0, 0.0, 1.0]},
        )


@pytest.fixture(autouse=True)
def toy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    others = {name: engines.get(name) for name in engines.names() if not engines.get(name).rules}
    monkeypatch.setattr(engines, "_ENGINES", others | {"toy": Toy()})
    monkeypatch.chdir(tmp_path)


def write(path: str, text: str = GOOD) -> Path:
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def test_a_good_output_is_told_field_by_field(run: Callable[..., Any]) -> None:
    write("a.out")
    code, out, err = run("diagnose", "a.out", "--json")
    assert (code, err) == (0, "")
    said = json.loads(out)
    assert list(said) == KEYS == list(Diagnosis.__struct_fields__)
    assert said == dict.fromkeys(KEYS) | {
        "path": "a.out",
        "engine": "toy",
        "ended": "normal",
        "converged": True,
        "energy_hartree": -1.5,
        "scf_cycles": 9,
        "max_gradient_hartree_per_bohr": 0.00025,
        "optimization": {"converged": True, "cycles": 1, "energy_hartree": -1.5},
        "band_gap_ev": 2.5,
        "band_gap_kind": "direct",
        "wall_time_s": 61.0,
        "cores": 4,
    }


def test_a_failed_output_is_told_with_its_evidence_and_is_no_failure_of_the_command(run: Callable[..., Any]) -> None:
    write("b.out", BAD)
    code, out, _ = run("diagnose", "b.out", "--json")
    said = json.loads(out)
    assert code == 0
    assert said["failure"] == "scf_not_converged"
    assert said["evidence"] == {"line": 2, "text": "SCF \x1b[31mlost"}


def test_people_get_a_block_with_what_would_be_done(run: Callable[..., Any]) -> None:
    write("a.out")
    write("b.out", BAD)
    code, out, err = run("diagnose", "a.out", "b.out")
    assert (code, err) == (0, "")
    good, bad, total = out.split("\n\n")
    assert good.splitlines() == [
        "a.out",
        "  program       toy of unknown version",
        "  ended         normally",
        "  converged     yes",
        "  energy        -1.5000000000 Eh",
        "  SCF cycles    9",
        "  max gradient  0.00025000 Eh/bohr",
        "  optimisation  converged after 1 cycle, -1.5000000000 Eh",
        "  band gap      2.5000 eV, direct",
        "  wall time     1m 01s",
        "  cores         4",
    ]
    assert "  evidence   line 2: SCF \\x1b[31mlost" in bad.splitlines()
    assert bad.splitlines()[-2:] == [
        "  would do   damp (at most 2 times): damping = true",
        "             ask: needs a person: look at the orbitals",
    ]
    assert total == "2 outputs: good 1, scf_not_converged 1\n"


def test_nothing_is_done_about_a_good_run_or_a_failure_without_a_rule() -> None:
    assert would_do(Report("toy", failure=None)) == []
    assert would_do(Report("toy", failure=FailureClass.DISK)) == ["nothing; no rule answers this failure"]


def test_a_directory_is_searched_for_what_is_an_output_by_name_and_by_content(run: Callable[..., Any]) -> None:
    write("d/2/b.out", BAD)
    write("d/1/a.out")
    write("d/1/a_atom95.out")
    write("d/1/notes.out", "something else")
    write("d/1/a.txt")
    Path("d/z.out.gz").write_bytes(gzip.compress(GOOD.encode()))
    code, out, err = run("diagnose", "./d", "--json")
    assert (code, err) == (0, "")
    assert [json.loads(line)["path"] for line in out.splitlines()] == ["./d/z.out.gz", "./d/1/a.out", "./d/2/b.out"]


def test_links_out_of_the_tree_are_not_followed_and_none_is_read_twice() -> None:
    write("far/away.out")
    write("d/real.out")
    write("d/sub/job.txt")
    Path("d/outward.out").symlink_to("../far/away.out")
    Path("d/outward").symlink_to("../far")
    Path("d/again.out").symlink_to("real.out")
    Path("d/circle").symlink_to(".")
    Path("d/self.out").symlink_to("self.out")
    Path("d/other-name.out").symlink_to("sub/job.txt")
    assert [found.path for found in find_outputs(["d"])] == ["d/other-name.out", "d/real.out"]
    Path("d2").symlink_to("d")
    assert [found.path for found in find_outputs(["d2", "d/outward.out"])][-1] == "d/outward.out"


def test_a_file_given_by_name_is_read_whatever_its_name(run: Callable[..., Any]) -> None:
    write("whatever_atom8.out")
    write("no-suffix", BAD)
    code, out, _ = run("diagnose", "whatever_atom8.out", "no-suffix", "--json")
    assert code == 0
    assert [json.loads(line)["failure"] for line in out.splitlines()] == [None, "scf_not_converged"]


def test_what_cannot_be_read_is_told_and_the_others_are_read(run: Callable[..., Any]) -> None:
    write("a.out")
    write("text", "no output")
    os.mkfifo("pipe")
    code, out, err = run("diagnose", "gone", "text", "pipe", "a.out")
    assert code == 1
    assert out.startswith("a.out\n")
    assert err.splitlines() == [
        "penstockctl: gone: No such file or directory",
        f"penstockctl: text: {NO_OUTPUT}",
        "penstockctl: pipe: not a regular file",
    ]


def test_programs_get_an_object_for_every_file_they_name_and_one_error(run: Callable[..., Any]) -> None:
    write("a.out")
    write("text", "no output")
    code, out, err = run("diagnose", "text", "a.out", "gone", "--json")
    assert code == 1
    first, second, third = map(json.loads, out.splitlines())
    assert first == dict.fromkeys(KEYS) | {"path": "text"}
    assert second["engine"] == "toy"
    assert third == dict.fromkeys(KEYS) | {"path": "gone"}
    error = json.loads(err)["error"]
    assert (error["code"], error["message"]) == ("output", f"text: {NO_OUTPUT} (1 more could not be read)")


def test_a_defect_in_a_reader_costs_one_file(run: Callable[..., Any]) -> None:
    write("d/a.out", "TOY strange\n")
    write("d/b.out")
    code, out, err = run("diagnose", "d")
    assert code == 1
    assert out.startswith("d/b.out\n")
    assert err == "penstockctl: d/a.out: cannot be read, which is a defect: ZeroDivisionError: a defect\n"


def test_a_directory_that_may_not_be_read_is_told(run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    write("d/a.out")
    write("d/shut/b.out")
    scandir = os.scandir

    def refuse(path: str) -> Any:
        if path.endswith("shut"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    code, out, err = run("diagnose", "d")
    assert code == 1
    assert out.startswith("d/a.out\n")
    assert err == "penstockctl: d/shut: Permission denied\n"


def test_a_directory_without_outputs_is_told(run: Callable[..., Any]) -> None:
    write("d/text", "no output")
    assert run("diagnose", "d") == (0, "", "no output of ORCA, CRYSTAL or Quantum ESPRESSO is there\n")
    assert run("diagnose", "d", "--json") == (0, "", "")


def test_bytes_that_are_no_text_do_no_harm(run: Callable[..., Any]) -> None:
    name = os.fsdecode(b"d/\xff.out")
    write(name)
    code, out, _ = run("diagnose", "d", "--json")
    assert code == 0
    assert json.loads(out)["path"] == "d/�.out"


def test_a_number_that_is_not_finite_is_null(run: Callable[..., Any]) -> None:
    write("a.out", "TOY good nan")
    assert json.loads(run("diagnose", "a.out", "--json").out)["energy_hartree"] is None


def test_many_files_make_a_table_with_counts(run: Callable[..., Any]) -> None:
    for number in range(15):
        write(f"d/{number:02}.out")
        write(f"d/x/{number:02}.out", BAD)
    code, out, _ = run("diagnose", "d")
    lines = out.splitlines()
    assert code == 0
    assert lines[0].split() == ["file", "engine", "ended", "converged", "energy/Eh", "time", "failure"]
    assert lines[1].split() == ["d/00.out", "toy", "normal", "yes", "-1.50000000", "1m", "01s", "-"]
    assert lines[16].split() == ["d/x/00.out", "toy", "error", "no", "-", "-", "scf_not_converged"]
    assert lines[-1] == "30 outputs: good 15, scf_not_converged 15"


@pytest.fixture
def many(monkeypatch: pytest.MonkeyPatch) -> list[Found]:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2})
    for number in range(120):
        write(f"d/{number:03}.out", f"TOY good {number}\n")
    return list(find_outputs(["d"]))


def test_several_processes_read_many_files_in_order(many: list[Found]) -> None:
    read = list(read_all(many))
    assert [reading.path for reading in read] == [found.path for found in many]
    assert [reading.report and reading.report.energy_hartree for reading in read] == [float(n) for n in range(120)]
    assert {reading.report and reading.report.geometry for reading in read} == {None}


def test_leaving_early_ends_the_processes(many: list[Found]) -> None:
    readings = read_all(many)
    next(readings)
    readings.close()  # type: ignore[attr-defined]  # it is a generator; what it leaves behind fails the test


def test_files_of_a_process_that_died_are_read_by_the_one_who_asked(
    many: list[Found], monkeypatch: pytest.MonkeyPatch
) -> None:
    mother = os.getpid()
    read_one = outputs.read_one

    def die_at_file_seven(found: Found) -> outputs.Reading:
        if found.path.endswith("007.out") and os.getpid() != mother:
            os.kill(os.getpid(), signal.SIGKILL)
        return read_one(found)

    monkeypatch.setattr(outputs, "read_one", die_at_file_seven)
    read = list(read_all(many))
    assert [reading.report and reading.report.energy_hartree for reading in read] == [float(n) for n in range(120)]


SLOW = """
import os, sys, time
from penstock import engines
from penstock.ctl.main import main
from penstock.domain.report import Report

class Slow:
    name, rules = "slow", ()
    def recognises(self, head): return True
    def main_output(self, names): return list(names)
    def report(self, path):
        if path.name > "003": time.sleep(float(sys.argv[1]))
        return Report("slow", failure=None)

os.sched_getaffinity = lambda _: {0, 1}
engines._ENGINES["slow"] = Slow()
sys.exit(main(["diagnose", "d", "--json"]))
"""


def start_slow(seconds: float) -> subprocess.Popen[str]:
    """The command over many files, each of which takes so long; it has printed the first of them."""
    argv = [sys.executable, "-W", "error", "-c", SLOW, str(seconds)]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, process_group=0)
    assert process.stdout
    assert process.stdout.readline()
    return process


def test_an_interrupt_ends_all_processes_at_once_and_in_silence(many: list[Found]) -> None:
    with start_slow(60) as process:
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (130, "\n")


def test_the_processes_end_with_the_one_that_started_them(many: list[Found]) -> None:
    with start_slow(0.5) as process:
        process.kill()
        process.communicate(timeout=20)  # until the last of them has closed its standard error
    assert process.returncode == -signal.SIGKILL


def test_remedies_are_shown_for_people(run: Callable[..., Any]) -> None:
    code, out, err = run("remedies", "toy")
    assert (code, err) == (0, "")
    assert out.splitlines()[:6] == [
        "toy: the first rule that answers a failure and still may, at most 3 remedies a job",
        "",
        "  damp  scf_not_converged, at most 2 times",
        "      when the output says: scf",
        "      damping = true",
        "      quieter steps",
    ]
    assert "  ask  scf_not_converged" in out
    assert run("remedies").out == out
    assert run("remedies", "emt").out == "emt has no remedies of its own\n"


def test_remedies_are_shown_for_programs(run: Callable[..., Any]) -> None:
    said = json.loads(run("remedies", "--json").out)
    assert said["total"] == 3
    assert [table["engine"] for table in said["engines"]] == ["toy"]
    first = said["engines"][0]["rules"][0]
    assert first == {
        "name": "damp",
        "failure": "scf_not_converged",
        "when": "scf",
        "limit": 2,
        "does": ["damping = true"],
        "person": None,
        "why": "quieter steps",
        "rule": {
            "name": "damp",
            "on": "scf_not_converged",
            "when": "scf",
            "limit": 2,
            "change": {"damping": {"set": True}},
            "why": "quieter steps",
        },
    }


def test_an_unknown_engine_is_wrong_use(run: Callable[..., Any]) -> None:
    code, _, err = run("remedies", "toi")
    assert code == 2
    assert "did you mean 'toy'" in err


def test_paths_are_needed(run: Callable[..., Any]) -> None:
    assert run("diagnose").code == 2


def test_the_page_for_programs_names_every_key() -> None:
    for key in KEYS:
        assert f"`{key}`" in PAGE
