import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import pytest
from tests.engines.crystal.decks import EXPLICIT

from penstock import engines
from penstock.domain.calculation import Calculation, Exit, FailureClass
from penstock.domain.errors import SpecError
from penstock.engines.engine import check_table, classify_exhausted, read_output, read_verdict, signal_message

TABLES: dict[str, dict[str, Any]] = {
    "tblite": {"task": "energy"},
    "emt": {"task": "energy"},
    "ase": {"calculator": "ase.calculators.lj.LennardJones"},
    "orca": {"method": "B3LYP", "basis": "def2-SVP", "task": "energy"},
    "orca-sella": {"orca": {"method": "B3LYP", "basis": "def2-SVP"}},
    "crystal": {"task": "sp"},
    "command": {"command": "true"},
}
"""The least that each engine's table needs; that of espresso is a folder with a pseudopotential."""
HELIUM = """<UPF version="2.0.1">
<PP_INFO>
</PP_INFO>
<PP_HEADER
element="He"
pseudo_type="NC"
relativistic="scalar"
is_ultrasoft="F"
is_paw="F"
has_so="F"
functional="PBE"
wfc_cutoff="20.0"
rho_cutoff="80.0"
/>
</UPF>
"""


def tables(folder: Path) -> dict[str, dict[str, Any]]:
    """A small table for every engine."""
    (folder / "pseudo").mkdir()
    (folder / "pseudo" / "He.UPF").write_text(HELIUM)
    return TABLES | {"espresso": {"pseudo_dir": str(folder / "pseudo")}}


class Table(msgspec.Struct, frozen=True):
    method: Literal["fast", "slow"] = "fast"
    cutoff: Annotated[float, msgspec.Meta(gt=0)] = 1.0
    count: int = 1


NEEDED = {
    "tblite": {},
    "emt": {},
    "ase": {},
    "orca": {"engine.command": "orca"},
    "orca-sella": {"engine.orca.command": "orca"},
    "crystal": {"engine.command": "Pcrystal"},
    "espresso": {"engine.command": "pw.x"},
    "command": {"engine.command": "true"},
}


@pytest.mark.parametrize("name", sorted(NEEDED))
def test_programs_by_the_keys_that_name_them(name: str, tmp_path: Path) -> None:
    engine = engines.get(name)
    assert engine.programs(engine.parameters(tables(tmp_path)[name], str)) == NEEDED[name]


def test_every_engine_says_what_it_calls() -> None:
    assert set(NEEDED) == set(engines.names())


CALLS: list[tuple[str, dict[str, Any], str]] = [
    ("orca", {"command": "/opt/orca/orca"}, "/opt/orca/orca"),
    ("orca", {"command": "orca6"}, "orca6"),
    ("crystal", {"command": "mpirun -np 4 Pcrystal"}, "mpirun"),
    ("crystal", {"command": "crystal", "input": "stdin"}, "crystal"),
    ("crystal", {"properties": "properties", "task": "charge_potential"}, "properties"),
    ("espresso", {"command": "mpirun pw.x"}, "mpirun"),
    ("command", {"command": ["money$$", "$name"]}, "money$"),
]


@pytest.mark.parametrize(("name", "table", "program"), CALLS)
@pytest.mark.parametrize("cores", [1, 4])
def test_what_it_says_it_calls_is_in_the_command_line(
    name: str, table: dict[str, Any], program: str, cores: int, tmp_path: Path
) -> None:
    engine = engines.get(name)
    parameters = engine.parameters(tables(tmp_path)[name] | table, str)
    deck = EXPLICIT if name == "crystal" else None
    cell = 'Lattice="6 0 0 0 6 0 0 0 6" pbc="T T T"' if name == "espresso" else ""
    helium = Calculation("he", f"1\n{cell}\nHe 0 0 0\n", 0, 1, cores, 4000, deck=deck, previous=("fort.9",))
    assert list(engine.programs(parameters).values()) == [program]
    assert program in (engine.render(helium, parameters).argv or ())


def test_a_good_table_becomes_a_struct() -> None:
    assert check_table({"cutoff": 2, "method": "slow"}, Table) == Table("slow", 2.0)


@pytest.mark.parametrize(
    ("table", "key", "message"),
    [
        ({"cutof": 1}, "engine.cutof", "did you mean 'cutoff'?"),
        ({"zzz": 1}, "engine.zzz", "known keys: count, cutoff, method"),
        ({"cutoff": "1"}, "engine.cutoff", "expected `float`, got `str`"),
        ({"cutoff": -1.0}, "engine.cutoff", "expected `float` > 0"),
        ({"cutoff": float("nan")}, "engine.cutoff", "expected `float` > 0"),
        ({"count": True}, "engine.count", "expected `int`, got `bool`"),
        ({"method": "slo"}, "engine.method", "did you mean 'slow'? use one of fast, slow"),
        ({"method": 3}, "engine.method", "use one of fast, slow"),
    ],
)
def test_a_bad_table_is_a_spec_error_at_its_key(table: Any, key: str, message: str) -> None:
    with pytest.raises(SpecError) as raised:
        check_table(table, Table)
    assert raised.value.key == key
    assert message in raised.value.message


def test_engines_are_found_by_name() -> None:
    assert set(engines.names()) == {*TABLES, "espresso"}
    assert [engines.get(name).name for name in engines.names()] == engines.names()
    assert engines.get_python("emt") is engines.get("emt")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("tblit", "did you mean 'tblite'?"),
        ("zzz", "known: tblite, emt, ase, orca, orca-sella, crystal, espresso, command"),
    ],
)
def test_an_unknown_engine_is_a_spec_error(name: str, hint: str) -> None:
    with pytest.raises(SpecError) as raised:
        engines.get(name)
    assert raised.value.key == "engine.name"
    assert hint in raised.value.message


@pytest.mark.parametrize(
    ("verdict", "failure"),
    [
        ("timeout", FailureClass.WALLTIME),
        ("oom", FailureClass.OUT_OF_MEMORY),
        ("cancelled", FailureClass.CANCELLED),
        ("lost", FailureClass.RUNNER_LOST),
        ("something new", FailureClass.RUNNER_LOST),
    ],
)
def test_a_verdict_settles_the_outcome(verdict: str, failure: FailureClass, tmp_path: Path) -> None:
    ended = Exit(0, None, 0.0, 1.0, verdict=verdict)
    found = read_verdict(ended)
    assert found is not None
    assert found.failure == failure
    for name, table in tables(tmp_path).items():
        engine = engines.get(name)
        parameters = engine.parameters(table, str)
        assert engine.read(tmp_path, ended, parameters).failure == failure


def test_no_verdict_leaves_it_to_the_outputs() -> None:
    assert read_verdict(Exit(0, None, 0.0, 1.0)) is None


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_full_disks_are_known_by_their_messages(number: int) -> None:
    for message in (str(OSError(number, os.strerror(number), "x")), f"[Errno {number}] x", os.strerror(number)):
        assert classify_exhausted(message) == FailureClass.DISK
    assert classify_exhausted("MemoryError: ") == FailureClass.OUT_OF_MEMORY
    assert classify_exhausted("nothing of the kind") is None


def test_outputs_are_read_only_if_regular_and_of_sane_size(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "large").write_bytes(b"x" * 11)
    with pytest.raises(OSError, match="not a regular file"):
        read_output(tmp_path / "pipe", 10)
    with pytest.raises(OSError, match="11 bytes long, more than 10"):
        read_output(tmp_path / "large", 10)
    assert read_output(tmp_path / "large", 11) == b"x" * 11


def test_signals_have_names() -> None:
    assert signal_message(9) == "killed by SIGKILL; often the kernel, out of memory"
    assert signal_message(11) == "killed by SIGSEGV"
    assert signal_message(250) == "killed by signal 250"


def test_checking_and_reading_need_neither_ase_nor_numpy(tmp_path: Path) -> None:
    """The daemon checks tables itself; what renders needs them in two engines, and runs in a worker."""
    program = f"""
import sys
from pathlib import Path
from penstock import engines
from penstock.domain.calculation import Calculation, Exit
calculation = Calculation("x", "1\\n\\nHe 0 0 0\\n", 0, 1, 1, 100)
for name, table in {tables(tmp_path)!r}.items():
    engine = engines.get(name)
    parameters = engine.parameters(table, str)
    if name not in ("crystal", "espresso"):
        engine.render(calculation, parameters)
    engine.read(Path({str(tmp_path)!r}), Exit(0, None, 0.0, 1.0), parameters)
print(*(sys.modules.keys() & {{"ase", "numpy", "scipy", "tblite"}}))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize("name", ["tblite", "emt", "command"])
def test_parameters_survive_being_stored(name: str) -> None:
    engine = engines.get(name)
    table = {"command": "run $name", "templates": {"a.inp": "x"}} if name == "command" else {"task": "optimize"}
    parameters = engine.parameters(table, lambda path: f"{path} $xyz")
    for codec in (msgspec.json, msgspec.msgpack):
        assert codec.decode(codec.encode(parameters), type=engine.parameters_type) == parameters
