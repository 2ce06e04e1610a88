"""What `penstockctl new` asks: of every workflow, of each recipe, of each engine only what it needs."""

from __future__ import annotations

from typing import Any, Final, Literal, NamedTuple

from penstock.ctl.spec_document import parse_value
from penstock.recipes.crystal import TEMPLATES
from penstock.recipes.recipe import PropertyRecipe
from penstock.recipes.registry import get_recipe


class Question(NamedTuple):
    """What is asked for a key of the spec, and what an empty answer means.

    `default` None: an answer is needed, or, where it is not `needed`, an empty one leaves the key out. `kind` says what
    an answer is: a text; a value as TOML writes it; a file, relative to where the person is; several files, which
    become a table from their names to their paths. It is not asked where the key `unless` has a value.
    """

    key: str
    text: str
    default: Any = None
    choices: tuple[str, ...] = ()
    kind: Literal["text", "value", "file", "files"] = "text"
    needed: bool = True
    unless: str = ""


_ASE_TASK: Final = Question("engine.task", "Task", "gradient", ("energy", "gradient", "optimize", "relax"))
_BASIS: Final = "Basis (empty: the method's own)"
_COMMAND: Final = "Command that starts it"

BY_ENGINE: Final[dict[str, tuple[Question, ...]]] = {
    "tblite": (Question("engine.method", "Method", "GFN2-xTB", ("GFN2-xTB", "GFN1-xTB")), _ASE_TASK),
    "emt": (_ASE_TASK,),
    "ase": (
        Question(
            "engine.calculator", "Calculator, such as ase.calculators.lj.LennardJones or mace.calculators.mace_mp"
        ),
        Question("engine.arguments", "What it is called with, such as { epsilon = 0.0103 }", {}, kind="value"),
        _ASE_TASK,
    ),
    "orca": (
        Question("engine.command", f"{_COMMAND} (a full path, or a name on the PATH)", "orca"),
        Question("engine.method", "Method, such as r2SCAN-3c or B3LYP D3BJ", unless="engine.template"),
        Question("engine.basis", _BASIS, needed=False),
        Question("engine.task", "Task", "opt", ("energy", "gradient", "opt", "freq", "opt+freq")),
    ),
    "orca-sella": (
        Question("engine.orca.command", "Command that starts ORCA (a full path, or a name on the PATH)", "orca"),
        Question("engine.orca.method", "ORCA's method, such as r2SCAN-3c"),
        Question("engine.orca.basis", _BASIS, needed=False),
        Question("engine.order", "0 for minima, 1 for saddle points", 0, kind="value"),
    ),
    "crystal": (
        Question("engine.command", _COMMAND, "Pcrystal"),
        Question("engine.deck", "Deck with all but the geometry (empty: one is made)", kind="file", needed=False),
        Question("engine.hamiltonian.functional", "Functional, or HF, HF3C, HFSOL3C", "PBE", unless="engine.deck"),
        Question(
            "engine.basis.name", "Basis (empty: POB-TZVP-REV2, or the method's own)", needed=False, unless="engine.deck"
        ),
    ),
    "espresso": (
        Question("engine.command", _COMMAND, "pw.x"),
        Question("engine.task", "Task", "relax", ("energy", "gradient", "relax", "vc-relax")),
        Question("engine.pseudo_dir", "Folder with the pseudopotentials (absolute)"),
        Question("engine.ecutwfc_ry", "Cut-off, Ry (empty: as the files suggest)", kind="value", needed=False),
        Question(
            "engine.kspacing_per_angstrom", "Distance of the k-points, 1/Å", 0.2, kind="value", unless="engine.kpoints"
        ),
    ),
    "command": (
        Question("engine.command", "Command line of the program; $name, $charge, ... are filled in"),
        Question("engine.templates", "Template files filled in for it (empty: none)", kind="files", needed=False),
        Question(
            "engine.results.patterns.energy_hartree",
            "Regular expression whose one group is the energy in Eh (empty: none)",
            needed=False,
            unless="engine.results.file",
        ),
    ),
}
BY_RECIPE: Final[dict[str, tuple[Question, ...]]] = {
    "campaign": (),
    "crystal": (
        Question("engine.properties", "Command that starts properties", "Pproperties"),
        Question("chain.template", "Steps", "full_electronic", tuple(TEMPLATES), unless="chain.steps"),
    ),
    "elastic": (),
    "equilibrate": (),
    "diffusion": (Question("diffusion.temperatures_k", "Temperatures, K, such as [800, 1000, 1200]", kind="value"),),
    "phase_diagram": (),
}
CRYSTAL_TASK: Final = Question("engine.task", "Task", "sp", ("sp", "opt", "freq"))
"""For a campaign; in a chain the steps say it."""

RETENTION: Final = (
    Question("retention.archive_after", "Archive how long after the end, such as 30d (empty: never)", needed=False),
    Question("retention.delete_after", "Delete how long after the end, such as 90d (empty: never)", needed=False),
)
COLUMNS: Final = {
    "geometry_column": "Column of the geometries",
    "charge_column": "Column of the charges",
    "unpaired_column": "Column of the numbers of unpaired electrons",
    "multiplicity_column": "Column of the multiplicities",
    "name_column": "Column of the names",
}
"""By the key of `[structures]`."""

_FILES: Final = frozenset({"structures.source", "engine.template", "engine.orca.template", "engine.deck"})

OPTIONS: Final = {
    "recipe": "--recipe",
    "structures.source": "--structures",
    "engine.name": "--engine",
    "cluster": "--cluster",
    "isolation": "--isolation",
    "slots": "--slots",
    "id": "--id",
    "retention.archive_after": "--archive-after",
    "retention.delete_after": "--delete-after",
}


def option_for(key: str) -> str:
    """The option that answers for a key."""
    return OPTIONS.get(key, f"--set {key}=...")


def engine_questions(recipe: str, engine: str, *, are_decks: bool) -> list[Question]:
    """What an engine needs to be told for a recipe; structures that are decks need no other one."""
    task = (CRYSTAL_TASK,) if engine == "crystal" and recipe == "campaign" else ()
    of_engine = BY_ENGINE.get(engine, ())
    if isinstance(get_recipe(recipe), PropertyRecipe):  # which decides what each step does
        of_engine = tuple(question for question in of_engine if question.key != "engine.task")
    questions = (*of_engine, *task, *BY_RECIPE.get(recipe, ()))
    return [question for question in questions if not (are_decks and "engine.deck" in {question.key, question.unless})]


def question_for(key: str, text: str) -> Question:
    """A template's question: what an answer is, where we ask for that key too, as we ask it."""
    known = _known(key)
    if known is not None:
        return Question(key, text, kind=known.kind)
    return Question(key, text, kind="file" if names_file(key) else "value")


def value_for(key: str, text: str) -> Any:
    """The value that a command line means for a key: `true` may be a program, where a text is wanted."""
    value, known = parse_value(text), _known(key)
    if isinstance(value, bool | int | float) and (
        key == "id" or (known is not None and known.kind in {"text", "file"})
    ):
        return text
    return value


def names_file(key: str) -> bool:
    """Whether a key holds the name of a file beside the spec."""
    return key in _FILES or key.startswith("engine.templates.")


def _known(key: str) -> Question | None:
    questions = (question for table in (BY_ENGINE, BY_RECIPE) for listed in table.values() for question in listed)
    return next((question for question in questions if question.key == key), None)
