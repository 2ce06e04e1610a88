import subprocess
from collections.abc import Callable
from typing import Any, cast

import pytest

from penstock import engines
from penstock.domain.calculation import Calculation
from penstock.domain.errors import SpecError
from penstock.engines.command import CommandParameters

ENGINE = engines.get("command")
WATER = "O 0 0 0.119\nH 0 0.763 -0.477\nH 0 -0.763 -0.477\n"
CALCULATION = Calculation("the $water; rm", f"3\n\n{WATER}", -1, 2, 4, 2000)


def no_files(path: str) -> str:
    raise SpecError(f"no {path}", key="x")


def parameters(read_file: Callable[[str], str] = no_files, **table: Any) -> CommandParameters:
    return cast("CommandParameters", ENGINE.parameters(table, read_file))


def refused(read_file: Callable[[str], str] = no_files, **table: Any) -> tuple[str | None, str]:
    with pytest.raises(SpecError) as raised:
        parameters(read_file, **table)
    return raised.value.key, raised.value.message


def test_a_command_line_is_split_as_a_shell_would_but_sees_no_shell() -> None:
    given = parameters(command="prog 'two words' ${name}.inp -q $charge; $$HOME '|' cat")
    argv = ENGINE.render(CALCULATION, given).argv
    assert argv == ["prog", "two words", "the $water; rm.inp", "-q", "-1;", "$HOME", "|", "cat"]
    done = subprocess.run(["printf", "%s", argv[2]], capture_output=True, text=True, check=True)
    assert done.stdout == "the $water; rm.inp"


@pytest.mark.parametrize("command", ["run '>' \">\" \\> 'a | b'", 'run "a \\" ; b"', "run a>b x|y"])
def test_what_is_quoted_is_no_shell_mark(command: str) -> None:
    assert parameters(command=command).argv[0] == "run"
    assert parameters(command=["run", ">", "|"]).argv == ["run", ">", "|"]


def test_other_names_are_properties() -> None:
    for name in ("gap_ev", "dipole", "correlation_energy", "atoms_read", "scf_seconds"):
        assert parameters(command="x", results={"patterns": {name: "(a)"}}).results.patterns == {name: "(a)"}


def test_a_list_is_taken_as_it_is() -> None:
    assert ENGINE.render(CALCULATION, parameters(command=["run", "a b", ""])).argv == ["run", "a b", ""]


def test_every_placeholder() -> None:
    text = "$name|$charge|$multiplicity|$unpaired|$natoms|$cores|$memory_mb|$$|\n$geometry--\n$xyz--"
    given = parameters({"orca.tmpl": text}.__getitem__, command="orca", templates={"orca.inp": "orca.tmpl"})
    rendered = ENGINE.render(CALCULATION, given)
    block = CALCULATION.geometry
    assert rendered.files == {"orca.inp": f"the $water; rm|-1|2|1|3|4|2000|$|\n{WATER}--\n{block}--"}


def test_what_is_filled_in_is_not_filled_in_again() -> None:
    odd = Calculation("$charge $$", CALCULATION.geometry, 0, 1, 1, 1)
    assert ENGINE.render(odd, parameters(command="run $name")).argv == ["run", "$charge $$"]


@pytest.mark.parametrize(
    ("table", "key", "message"),
    [
        ({}, "engine.command", "missing"),
        ({"command": ""}, "engine.command", "empty"),
        ({"command": []}, "engine.command", "empty"),
        ({"command": "run in > out"}, "engine.command", "'>' is for a shell"),
        ({"command": "run in 2>&1"}, "engine.command", "'2>&1' is for a shell"),
        ({"command": "run < 'in'"}, "engine.command", '["sh", "-c", "..."]'),
        ({"command": "run | tail"}, "engine.command", "'|' is for a shell"),
        ({"command": "cd x && run"}, "engine.command", "'&&' is for a shell"),
        ({"command": "run '>' ; other"}, "engine.command", "';' is for a shell"),
        ({"command": [""]}, "engine.command", "empty"),
        ({"command": "run 'open"}, "engine.command", "cannot be split"),
        ({"command": ["run", "a\0b"]}, "engine.command", "NUL"),
        ({"command": 3}, "engine.command", "expected `str | array`"),
        ({"command": "run $nam"}, "engine.command", "unknown placeholder $nam; known: $name"),
        ({"command": "run $NAME"}, "engine.command", "unknown placeholder $NAME"),
        ({"command": "run 5$"}, "engine.command", "a $ that begins no placeholder"),
        ({"command": "$name x"}, "engine.command", "program itself cannot be a placeholder"),
        ({"command": "x", "comand": "y"}, "engine.comand", "did you mean 'command'?"),
        ({"command": "x", "keep": ["../x"]}, "engine.keep", "cannot name a file"),
        ({"command": "x", "keep": [".claim"]}, "engine.keep", "cannot name a file"),
        ({"command": "x", "templates": {"a/b": "t"}}, "engine.templates.a/b", "cannot name a file"),
        ({"command": "x", "templates": {"..": "t"}}, "engine.templates...", "cannot name a file"),
        ({"command": "x", "templates": {"stdout": "t"}}, "engine.templates.stdout", "where the program's output goes"),
        ({"command": "x", "results": {"file": "/etc/passwd"}}, "engine.results", "cannot name a file"),
        ({"command": "x", "results": {"from": "../stdout"}}, "engine.results", "cannot name a file"),
        ({"command": "x", "results": {"form": "stdout"}}, "engine.results.form", "did you mean 'from'?"),
        (
            {"command": "x", "results": {"patterns": {"e": "("}}},
            "engine.results.patterns.e",
            "not a regular expression",
        ),
        ({"command": "x", "results": {"patterns": {"e": "a"}}}, "engine.results.patterns.e", "exactly one group"),
        *(
            ({"command": "x", "results": {"patterns": {name: "(a)"}}}, f"engine.results.patterns.{name}", meant)
            for name, meant in {
                "energy": "did you mean 'energy_hartree'?",
                "Energy_Hartree": "did you mean 'energy_hartree'?",
                "energy_hartre": "did you mean 'energy_hartree'?",
                "energy_eV": "did you mean 'energy_ev'?",
                "max_force": "did you mean 'max_force_hartree_per_bohr'?",
                "scf_cycle": "did you mean 'scf_cycles'?",
            }.items()
        ),
        ({"command": "x", "results": {"success": "["}}, "engine.results.success", "not a regular expression"),
        (
            {"command": "x", "results": {"patterns": {"energy_ev": "(a)", "energy_hartree": "(b)"}}},
            "engine.results.patterns.energy_ev",
            "not both",
        ),
        ({"command": "x", "results": {"patterns": {"geometry": "(a)"}}}, "engine.results.patterns.geometry", "JSON"),
        (
            {"command": "x", "results": {"file": "r.json", "patterns": {"a": "(a)"}}},
            "engine.results.patterns",
            "not both",
        ),
    ],
)
def test_a_bad_table_is_refused_at_its_key(table: Any, key: str, message: str) -> None:
    found_key, found_message = refused(**table)
    assert found_key == key
    assert message in found_message


def test_a_template_with_an_unknown_placeholder_is_refused_with_its_line() -> None:
    key, message = refused(lambda _: "fine $xyz\nnot $fine\n", command="x", templates={"a.inp": "a.tmpl"})
    assert key == "engine.templates.a.inp"
    assert message.startswith("a.tmpl, line 2: unknown placeholder $fine; known: $name, $charge")


def test_a_template_that_cannot_be_read_is_the_callers_error() -> None:
    assert refused(command="x", templates={"a.inp": "a.tmpl"}) == ("x", "no a.tmpl")
