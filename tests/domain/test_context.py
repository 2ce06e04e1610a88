"""`context.toml`: what is written is read again, and what is none of a workflow's places is never used."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.domain.context import CONTEXT_NAME, Mode, plan_context, read_context, render_context
from penstock.domain.errors import StoreError

GOOD = {
    "workflow_id": "w",
    "mode": "shared",
    "namespace": "shared",
    "database": "../shared/workflow.db",
    "storage": "../shared/storage",
    "locks": "../shared/locks",
}


def write(root: Path, text: str) -> Path:
    directory = root / ".penstock" / "w"
    directory.mkdir(parents=True)
    (directory / CONTEXT_NAME).write_text(text)
    return directory


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("name", ["plain", 'quo"ted \\ and\nbroken', "ünï cödé", "#=[]"])
def test_what_is_written_is_read_again(tmp_path: Path, mode: Mode, name: str) -> None:
    context = plan_context(mode, str(tmp_path / name), "w")
    directory = write(tmp_path / name, render_context(context))
    assert read_context(directory) == context


def test_a_work_directory_behind_a_link_is_used_by_the_name_it_is_called_by(tmp_path: Path) -> None:
    write(tmp_path / "real", render_context(plan_context(Mode.SHARED, str(tmp_path / "real"), "w")))
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert read_context(tmp_path / "link/.penstock/w") == plan_context(Mode.SHARED, str(tmp_path / "link"), "w")


@pytest.mark.parametrize(
    "change",
    [
        {"workflow_id": "other"},
        {"workflow_id": "../w"},
        {"mode": "open"},
        {"mode": "isolated"},
        {"namespace": "w"},
        {"storage": "../../../elsewhere"},
        {"storage": "/"},
        {"locks": "../other/locks"},
        {"database": "../../../elsewhere/workflow.db"},
        {"database": "../shared/other.db"},
        {"database": "/etc/passwd"},
        {"database": "/nul\\u0000/workflow.db"},
    ],
    ids=str,
)
def test_what_leads_elsewhere_is_damage(tmp_path: Path, change: dict[str, str]) -> None:
    text = "".join(f'{key} = "{value}"\n' for key, value in (GOOD | change).items())
    with pytest.raises(StoreError, match="is damaged") as caught:
        read_context(write(tmp_path, text), "w")
    assert not caught.value.healable


@pytest.mark.parametrize(
    "text", ["mode = 5", "workflow_id = ['w']", "[database]", 'workflow_id = "w"\nstorage = 3', "="]
)
def test_what_is_no_context_is_damage(tmp_path: Path, text: str) -> None:
    with pytest.raises(StoreError, match="is damaged"):
        read_context(write(tmp_path, text))


def test_a_database_in_a_state_directory_is_used(tmp_path: Path) -> None:
    text = "".join(f'{key} = "{value}"\n' for key, value in (GOOD | {"database": "/state/x/workflow.db"}).items())
    assert read_context(write(tmp_path, text)).database == "/state/x/workflow.db"
