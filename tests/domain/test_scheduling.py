"""Options for a scheduler: nothing that would undo our own, and a workflow's over its cluster's."""

from __future__ import annotations

import msgspec
import pytest

from penstock.domain.errors import SpecError
from penstock.domain.scheduling import SchedulerOptions, check_options

SITE = SchedulerOptions(
    partition="short",
    account="chem",
    launcher=("srun",),
    setup="source /etc/profile.d/modules.sh\n",
    directives=("--export=NONE",),
)


def test_what_a_workflow_gives_replaces_its_clusters_defaults_and_lines_add_up() -> None:
    own = SchedulerOptions(partition="long", qos="night", setup="module load orca", directives=("--comment=water",))
    assert own.over(SITE) == SchedulerOptions(
        partition="long",
        account="chem",
        qos="night",
        launcher=("srun",),
        setup="source /etc/profile.d/modules.sh\nmodule load orca",
        directives=("--export=NONE", "--comment=water"),
    )
    assert SchedulerOptions().over(SchedulerOptions()) == SchedulerOptions()
    assert SchedulerOptions().over(own) == own


def test_sound_options_are_left_as_they_are() -> None:
    options = SchedulerOptions(
        partition="long,short",
        constraint="[rack1|rack2]&ib",
        licenses="orca:2",
        launcher=("srun", "--mpi=pmix"),
        setup="module purge\n\tmodule load orca/6.0 # für alle\n",
        directives=("--exclusive", "--gres=gpu:a100:2", "--comment=two words", "--time-min=10", "--wait-all-nodes=1"),
    )
    assert check_options(options) is options


@pytest.mark.parametrize(
    ("options", "key", "said"),
    [
        ({"partition": "long\n#SBATCH --uid=0"}, "partition", "holds line ends or control characters"),
        ({"account": "-Aother"}, "account", "looks like an option; give the name alone"),
        ({"qos": "a\x00b"}, "qos", "holds line ends or control characters"),
        ({"reservation": "a\u2028b"}, "reservation", "holds line ends or control characters"),
        ({"launcher": ("--mpi=pmix",)}, "launcher", "is no program; begin with one, such as srun"),
        ({"launcher": ("",)}, "launcher", "is no program"),
        ({"launcher": ("srun", "a\nb")}, "launcher", "holds line ends"),
        ({"setup": "module load a\r\nmodule load b"}, "setup", "holds control characters"),
        ({"setup": "a\x00"}, "setup", "holds control characters"),
        ({"directives": ("-p long",)}, "directives", "is no option; write it like '--comment=water'"),
        ({"directives": ("--exclusive --hold",)}, "directives", "is no option"),
        ({"directives": ("--comment=a\nb",)}, "directives", "holds line ends"),
        ({"directives": ("--job-name=x",)}, "directives", "--job-name cannot be given here: Penstock sets it itself"),
        ({"directives": ("--arr=1-10",)}, "directives", "--array cannot be given here: Penstock sets it itself"),
        ({"directives": ("--time=1:00",)}, "directives", "--time cannot be given here: use [resources] for it"),
        ({"directives": ("--mem=1G",)}, "directives", "--mem cannot be given here: use [resources] for it"),
        ({"directives": ("--partition=x",)}, "directives", "use scheduler.partition"),
        ({"directives": ("--wait",)}, "directives", "it does not go with Penstock"),
        ({"directives": ("--no-req",)}, "directives", "--no-requeue cannot be given here"),
    ],
)
def test_what_would_undo_our_own_or_break_a_line_is_refused(
    options: dict[str, str | tuple[str, ...]], key: str, said: str
) -> None:
    with pytest.raises(SpecError) as caught:
        check_options(msgspec.convert(options, SchedulerOptions), "clusters.hpc")
    assert caught.value.key == f"clusters.hpc.{key}"
    assert said in caught.value.message
