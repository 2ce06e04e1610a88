import subprocess
from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any

import msgspec
import pytest

from penstock.domain.calculation import Calculation, Rendered
from penstock.domain.errors import SpecError
from penstock.engines.orca import OrcaEngine
from penstock.engines.orca import parameters as parameters_module
from penstock.engines.orca import render as render_module
from penstock.engines.orca.parameters import OrcaParameters

ENGINE = OrcaEngine()
WATER = "O 0 0 0.119\nH 0 0.763 -0.477\nH 0 -0.763 -0.477\n"
CALCULATION = Calculation("water", f"3\n\n{WATER}", -1, 2, 4, 8000)
ALONE = Calculation("water", f"3\n\n{WATER}", 0, 1, 1, 1000)


def no_files(path: str) -> str:
    raise SpecError(f"no {path}", key="x")


def parameters(read_file: Callable[[str], str] = no_files, **table: Any) -> OrcaParameters:
    given = ENGINE.parameters(table, read_file)
    assert msgspec.convert(msgspec.to_builtins(given), OrcaParameters) == given
    assert msgspec.json.decode(msgspec.json.encode(given), type=OrcaParameters) == given
    return given


def rendered(calculation: Calculation = CALCULATION, **table: Any) -> Rendered:
    return ENGINE.render(calculation, parameters(**{"method": "B3LYP", **table}))


def written(calculation: Calculation = CALCULATION, **table: Any) -> str:
    return rendered(calculation, **table).files["job.inp"]


def from_template(text: str, calculation: Calculation = CALCULATION, **table: Any) -> str:
    given = parameters({"orca.tmpl": text}.__getitem__, template="orca.tmpl", **table)
    return ENGINE.render(calculation, given).files["job.inp"]


def refused(read_file: Callable[[str], str] = no_files, **table: Any) -> tuple[str | None, str]:
    with pytest.raises(SpecError) as raised:
        parameters(read_file, **table)
    return raised.value.key, raised.value.message


def test_an_input_from_a_table() -> None:
    given = rendered(basis="def2-SVP", task="opt", keywords=["D3BJ", "TightSCF"], blocks={"SCF": {"MaxIter": 300}})
    assert given.files == {
        "job.inp": (
            "! B3LYP def2-SVP Opt D3BJ TightSCF\n%maxcore 1500\n%pal nprocs 4 end\n%scf\n  maxiter 300\nend\n"
            f"* xyz -1 2\n{WATER}*\n"
        )
    }
    assert (given.carry, given.argv) == ({}, ["/bin/sh", "-c", render_module._FROM_PATH, "sh", "orca", "job.inp"])


def test_orca_is_called_by_its_full_path() -> None:
    assert rendered(command="/opt/orca 6/orca").argv == ["/opt/orca 6/orca", "job.inp"]
    assert rendered(ALONE).argv == ["orca", "job.inp"]
    options = rendered(command="/o/orca", mpirun_options="--bind-to none").argv
    assert options == ["/o/orca", "job.inp", "--bind-to none"]


def test_a_name_is_looked_up_where_it_runs(tmp_path: Path) -> None:
    program = tmp_path / "my orca"
    program.write_text('#!/bin/sh\nprintf "%s|" "$0" "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    argv = rendered(command="my orca", mpirun_options="--bind-to none; rm $x").argv
    assert argv is not None

    def run(path: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(argv or [], env={"PATH": path}, capture_output=True, text=True, check=False)

    assert run(str(tmp_path)).stdout == f"{program}|job.inp|--bind-to none; rm $x|"
    missing = run("/nonexistent")
    assert (missing.returncode, missing.stderr) == (127, "my orca is not on the PATH\n")


@pytest.mark.parametrize(
    ("task", "keywords", "line"),
    [
        ("energy", [], "! B3LYP"),
        ("gradient", [], "! B3LYP EnGrad"),
        ("freq", [], "! B3LYP Freq"),
        ("freq", ["NumFreq"], "! B3LYP NumFreq"),
        ("opt+freq", [], "! B3LYP Opt Freq"),
        ("opt+freq", ["TightOpt NumFreq"], "! B3LYP TightOpt NumFreq"),
        ("opt", ["COpt", "NumGrad"], "! B3LYP COpt NumGrad"),
        ("opt", ["OptTS"], "! B3LYP OptTS"),
        ("energy", ["TightSCF tightscf", "b3lyp"], "! B3LYP TightSCF"),
    ],
)
def test_the_line_of_keywords(task: str, keywords: list[str], line: str) -> None:
    assert written(task=task, keywords=keywords).splitlines()[0] == line


def test_processes_and_memory_are_the_attempts() -> None:
    assert "%maxcore 750\n* xyz" in written(ALONE)
    many = msgspec.structs.replace(CALCULATION, cores=1, tasks=16, memory_mb=32000)
    assert "%maxcore 1500\n%pal nprocs 16 end\n" in written(many)
    assert "%maxcore 3000\n%pal nprocs 8 end\n" in written(many, core_share=0.5)
    assert "%maxcore 9000\n%pal nprocs 2 end\n" in written(many, cores=2, maxcore_mb=9000)
    assert "pal" not in written(many, core_share=0.01)


def test_blocks_of_settings_sub_blocks_lists_and_raw_text() -> None:
    blocks = {
        "scf": {"Shift": {"Shift": 0.1, "ErrOff": 0.1}, "AutoTRAH": False},
        "casscf": {"nel": 4, "weights[0]": [0.25, 0.75], "PTMethod": "SC_NEVPT2"},
        "geom": {"Constraints": ["{ B 0 1 C }", "{ A 1 0 2 C }"], "raw": "  MaxIter 20"},
        "method": "  D3S6 1.0\r\n  D3A1 0.3\n",
        "tddft": {},
    }
    assert written(blocks=blocks).split("%pal nprocs 4 end\n")[1].split("* xyz")[0] == (
        "%scf\n  shift\n    shift 0.1\n    erroff 0.1\n  end\n  autotrah false\nend\n"
        "%casscf\n  nel 4\n  weights[0] 0.25, 0.75\n  ptmethod SC_NEVPT2\nend\n"
        "%geom\n  constraints\n    { B 0 1 C }\n    { A 1 0 2 C }\n  end\n  MaxIter 20\nend\n"
        "%method\n  D3S6 1.0\n  D3A1 0.3\nend\n"
    )


def test_orbitals_of_an_earlier_attempt_are_the_guess() -> None:
    later = msgspec.structs.replace(CALCULATION, previous=("job.gbw", "job.hess", "job.opt"))
    given = rendered(later)
    assert given.carry == {"job.gbw": "guess.gbw"}
    assert '! MORead\n%moinp "guess.gbw"\n' in given.files["job.inp"]
    assert rendered(later, reuse_guess=False).carry == {}
    assert rendered(msgspec.structs.replace(CALCULATION, previous=("other.gbw",))).carry == {}


def test_an_optimisation_goes_on_with_the_hessian_there_is() -> None:
    later = msgspec.structs.replace(CALCULATION, previous=("job.gbw", "job.hess", "job.opt"))
    given = rendered(later, task="opt")
    assert given.carry == {"job.gbw": "guess.gbw", "job.opt": "guess.opt"}
    assert '%geom\n  InHess Read\n  InHessName "guess.opt"\nend\n' in given.files["job.inp"]
    after_freq = msgspec.structs.replace(CALCULATION, previous=("job.hess",))
    assert rendered(after_freq, task="opt").carry == {"job.hess": "guess.hess"}
    for more in (
        {"reuse_hessian": False},
        {"keywords": ["COpt"]},
        {"blocks": {"geom": {"Calc_Hess": True}}},
        {"blocks": {"geom": "  InHess Lindh"}},
        {"task": "freq"},
    ):
        assert rendered(after_freq, **{"task": "opt", **more}).carry == {}


TEMPLATE = "! HF def2-SVP\n* xyz $charge $multiplicity\n$geometry\n*\n"


def test_a_template_gets_what_it_does_not_say_before_its_coordinates() -> None:
    assert from_template(TEMPLATE, keywords=["SlowConv"], blocks={"scf": {"maxiter": 500}}) == (
        f"! HF def2-SVP\n%maxcore 1500\n%pal nprocs 4 end\n! SlowConv\n%scf\n  maxiter 500\nend\n* xyz -1 2\n{WATER}*\n"
    )
    assert from_template(TEMPLATE, ALONE) == f"! HF def2-SVP\n%maxcore 750\n* xyz 0 1\n{WATER}*\n"


def test_a_template_with_every_placeholder() -> None:
    text = (
        "# $name $natoms $unpaired $memory_mb $$\n! $method $basis $task $keywords\n%maxcore $maxcore_mb\n"
        "%pal nprocs $cores end\n$blocks\n*xyz $charge $multiplicity\n${geometry}\n*\n"
    )
    table: dict[str, Any] = {
        "method": "PBE",
        "basis": "STO-3G",
        "task": "opt",
        "keywords": ["D4"],
        "blocks": {"scf": {"a": 1}},
    }
    assert from_template(text, **table) == (
        "# water 3 1 8000 $\n! PBE STO-3G Opt D4\n%maxcore 1500\n%pal nprocs 4 end\n%scf\n  a 1\nend\n"
        f"*xyz -1 2\n{WATER}*\n"
    )


def test_a_template_keeps_its_own_processes_and_memory_unless_a_remedy_changes_them() -> None:
    text = "! HF PAL8\n%maxcore 4000\n" + TEMPLATE
    assert from_template(text).startswith("! HF PAL8\n%maxcore 4000\n! HF def2-SVP\n* xyz")
    changed = from_template(text, core_share=0.5, maxcore_mb=6000)
    assert changed.startswith("! HF PAL8\n%maxcore 4000\n! HF def2-SVP\n%maxcore 6000\n%pal nprocs 2 end\n* xyz")


def test_what_a_template_says_itself_is_not_said_twice() -> None:
    text = from_template("!SlowConv KDIIS # D4\n" + TEMPLATE, ALONE, keywords=["slowconv", "D4"])
    assert text.count("! D4\n") == 1
    assert "slowconv" not in text
    later = msgspec.structs.replace(ALONE, previous=("job.gbw", "job.opt"))
    assert "MORead" not in from_template(f'! MOread\n%moinp "mine.gbw"\n{TEMPLATE}', later)
    assert "InHess" in from_template(TEMPLATE, later, task="opt")
    assert "InHess" not in from_template("%geom calc_hess true end\n" + TEMPLATE, later, task="opt")
    assert "InHess" not in from_template("! COpt\n" + TEMPLATE, later, task="opt")


def test_a_restart_reaches_a_template_too_and_further_jobs_get_the_keywords() -> None:
    later = msgspec.structs.replace(ALONE, previous=("job.gbw",))
    text = from_template(f"{TEMPLATE}\n$new_job\n! MP2\n* xyzfile 0 1 job.xyz\n", later, keywords=["SlowConv"])
    first, second = text.split("$new_job\n")
    assert '! MORead\n%moinp "guess.gbw"\n%maxcore 750\n! SlowConv\n* xyz' in first
    assert second == "! MP2\n! SlowConv\n* xyzfile 0 1 job.xyz\n"


@pytest.mark.parametrize(
    ("table", "key", "message"),
    [
        ({}, "engine.method", "missing; name a method"),
        ({"method": "  "}, "engine.method", "missing"),
        ({"method": "HF\n* xyz"}, "engine.method", "cannot stand in a line of keywords"),
        ({"method": "HF # x"}, "engine.method", "leave out #"),
        ({"method": "HF Opt"}, "engine.method", 'Opt contradicts task = "energy"; write task = "opt"'),
        ({"method": "HF", "basis": "x%y"}, "engine.basis", "cannot stand"),
        ({"method": "HF", "task": "optt"}, "engine.task", "did you mean 'opt'? use one of energy, gradient, opt"),
        ({"method": "HF", "metod": "x"}, "engine.metod", "did you mean 'method'?"),
        ({"method": "HF", "command": ""}, "engine.command", "name the program"),
        ({"method": "HF", "command": "bin/orca"}, "engine.command", "write the full path"),
        ({"method": "HF", "command": "orca\n"}, "engine.command", "name the program"),
        ({"method": "HF", "keywords": ["A\nB"]}, "engine.keywords", "line ends"),
        ({"method": "HF", "keywords": [" "]}, "engine.keywords", "empty keyword"),
        ({"method": "HF", "keywords": ["! A"]}, "engine.keywords", "leave out #, !"),
        ({"method": "HF", "keywords": ["TightOpt"]}, "engine.keywords", 'write task = "opt"'),
        ({"method": "HF", "task": "opt", "keywords": ["NumFreq"]}, "engine.keywords", 'write task = "freq"'),
        ({"method": "HF", "task": "opt", "keywords": ["EnGrad"]}, "engine.keywords", 'write task = "gradient"'),
        ({"method": "HF", "task": "freq", "keywords": ["SP"]}, "engine.keywords", "SP contradicts"),
        ({"method": "HF", "keywords": ["NEB-TS"]}, "engine.keywords", "a task of its own; write a template"),
        ({"method": "HF", "keywords": ["PAL4"]}, "engine.keywords", "as cores"),
        ({"method": "HF", "keywords": ["MORead"]}, "engine.keywords", "added where an earlier attempt"),
        ({"method": "HF", "cores": 0}, "engine.cores", "at least 1"),
        ({"method": "HF", "maxcore_mb": -5}, "engine.maxcore_mb", "at least 1"),
        ({"method": "HF", "core_share": 0}, "engine.core_share", "at most 1"),
        ({"method": "HF", "mpirun_options": "a\0"}, "engine.mpirun_options", "cannot stand"),
        ({"method": "HF", "blocks": {"%scf": {}}}, "engine.blocks", "without %"),
        ({"method": "HF", "blocks": {"PAL": {}}}, "engine.blocks.PAL", "comes from engine.cores"),
        ({"method": "HF", "blocks": {"maxcore": "1"}}, "engine.blocks.maxcore", "engine.maxcore_mb"),
        ({"method": "HF", "blocks": {"scf": "a\n* xyz 0 1"}}, "engine.blocks.scf", "would end the block"),
        ({"method": "HF", "blocks": {"scf": "a\0"}}, "engine.blocks.scf", "control characters"),
        ({"method": "HF", "blocks": {"scf": {"a b": 1}}}, "engine.blocks.scf", "cannot be a setting"),
        ({"method": "HF", "blocks": {"scf": {"a": "1\n%x"}}}, "engine.blocks.scf.a", "line ends"),
        ({"method": "HF", "blocks": {"scf": {"a": [[1]]}}}, "engine.blocks.scf.a", "is a number"),
        ({"template": "t", "hook": "h"}, "engine.hook", "not both"),
        ({"hook": "h"}, "engine.hook", "there is no hook 'h'; none is installed"),
        ({"template": "t"}, "x", "no t"),
    ],
)
def test_a_bad_table_is_refused_at_its_key(table: Any, key: str, message: str) -> None:
    found_key, found_message = refused(**table)
    assert found_key == key
    assert message in found_message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("! HF\n$geometri\n", "t, line 2: unknown placeholder $geometri; known: $name, $geometry"),
        ("5$\n", "t, line 1: a $ that begins no placeholder"),
        ("! HF\n* xyz 0 1\nH 0 0 0\n*\n", "neither $geometry nor $xyz"),
        ("! HF\n$geometry\n", "t has no coordinates; write * xyz $charge"),
    ],
)
def test_a_bad_template_is_refused_with_its_line(text: str, message: str) -> None:
    key, found = refused(lambda _: text, template="t")
    assert key == "engine.template"
    assert message in found


def test_a_periodic_structure_is_refused() -> None:
    periodic = msgspec.structs.replace(ALONE, geometry='1\nLattice="4 0 0 0 4 0 0 0 4" pbc="T T T"\nSi 0 0 0\n')
    with pytest.raises(SpecError, match="periodic"):
        rendered(periodic)


def install_hook(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    group = parameters_module.HOOKS
    installed = EntryPoints([EntryPoint("mine", value, group)])
    for module in (parameters_module, render_module):
        monkeypatch.setattr(module, "entry_points", installed.select)
    render_module._load_hook.cache_clear()


def write_mine(calculation: Calculation, given: Mapping[str, Any]) -> dict[str, str]:
    return {
        "job.inp": f"! {given['keywords'][0]}\n* xyz {calculation.charge} 1\n*\n",
        "extra.xyz": calculation.geometry,
    }


def write_elsewhere(calculation: Calculation, given: Mapping[str, Any]) -> dict[str, str]:
    return {"../job.inp": calculation.name}


def write_another(calculation: Calculation, given: Mapping[str, Any]) -> dict[str, str]:
    return {"other.inp": calculation.name}


def write_a_number(calculation: Calculation, given: Mapping[str, Any]) -> int:
    return 3


def test_a_hook_writes_the_files(monkeypatch: pytest.MonkeyPatch) -> None:
    install_hook(monkeypatch, f"{__name__}:write_mine")
    given = parameters(hook="mine", keywords=["HF"])
    later = msgspec.structs.replace(CALCULATION, previous=("job.gbw",))
    assert ENGINE.render(later, given) == Rendered(
        {"job.inp": "! HF\n* xyz -1 1\n*\n", "extra.xyz": CALCULATION.geometry},
        ["/bin/sh", "-c", render_module._FROM_PATH, "sh", "orca", "job.inp"],
        {"job.gbw": "guess.gbw"},
        launches=True,
    )
    assert refused(hook="mind")[1].startswith("there is no hook 'mind'; did you mean 'mine'? installed: mine")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("write_elsewhere", "no plain file name"),
        ("write_another", "gave no job.inp"),
        ("write_a_number", "no mapping"),
    ],
)
def test_a_hook_that_gives_no_input_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, message: str) -> None:
    install_hook(monkeypatch, f"{__name__}:{name}")
    with pytest.raises(SpecError, match=message):
        ENGINE.render(CALCULATION, parameters(hook="mine"))


def test_a_hook_missing_where_it_is_to_run_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    install_hook(monkeypatch, f"{__name__}:write_mine")
    given = msgspec.structs.replace(parameters(hook="mine"), hook="gone")
    with pytest.raises(SpecError, match="'gone' is not installed"):
        ENGINE.render(CALCULATION, given)
