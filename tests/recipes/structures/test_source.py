import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from penstock.domain.errors import SpecError
from penstock.domain.spec import StructureSource
from penstock.recipes.structures import check_source, first_structure, read_chunk, source_files

HELIUM = "1\n\nHe 0 0 0\n"
SOURCE = StructureSource("x")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.xyz", "a/c.cif", "a/a.extxyz", "notes.txt", ".secret.xyz", ".git/x.xyz"):
        path = tmp_path / "set" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(HELIUM)
    return tmp_path / "set"


def test_the_files_of_a_folder_and_of_a_glob(folder: Path) -> None:
    assert [file.name for file in source_files(SOURCE, folder)] == ["a/a.extxyz", "a/c.cif", "b.xyz"]
    assert [file.name for file in source_files(StructureSource("x", format="cif"), folder)] == ["a/c.cif"]
    assert source_files(SOURCE, folder / "b.xyz") == [(folder / "b.xyz", "b.xyz")]
    assert source_files(SOURCE, folder / "*.xyz") == [(folder / "b.xyz", "b.xyz")]
    assert [file.name for file in source_files(SOURCE, folder / "a*" / "*")] == ["a/a.extxyz", "a/c.cif"]


def test_a_file_whose_name_looks_like_a_glob_is_that_file(tmp_path: Path) -> None:
    path = tmp_path / "run[1].xyz"
    path.write_text(HELIUM)
    assert [s.natoms for s in read_chunk(SOURCE, str(path), "", 10).structures] == [1]


@pytest.mark.parametrize(
    ("name", "changes", "key", "message"),
    [
        ("missing.csv", {}, "structures.source", "there is no file or folder"),
        ("notes.txt", {}, "structures.source", "cannot tell the format"),
        ("b.xyz", {"format": "xzy"}, "structures.format", "did you mean 'xyz'?"),
        ("b.xyz", {"format": "magic"}, "structures.format", "known: csv, parquet"),
        ("*.sdf", {}, "structures.source", "no .xyz, .extxyz, .exyz, .cif, .d12, .vasp, .poscar file in"),
        (".git", {"format": "cif"}, "structures.source", "no .xyz"),
        ("*.txt", {}, "structures.source", "notes.txt is matched"),
        ("b.xyz", {"select": "id=1"}, "structures.select", "only rows of an ASE database"),
    ],
)
def test_a_source_that_is_not_there_is_refused(
    folder: Path, name: str, changes: dict[str, Any], key: str, message: str
) -> None:
    with pytest.raises(SpecError) as raised:
        check_source(StructureSource("x", **changes), folder / name)
    assert raised.value.key == key
    assert message in raised.value.message


def test_a_source_without_one_sound_record_is_refused_with_the_first_reason(folder: Path) -> None:
    path = folder / "b.xyz"
    path.write_text("1\n\nQq 0 0 0\n" * 3)
    with pytest.raises(SpecError) as raised:
        check_source(SOURCE, path)
    assert raised.value.key == "structures.source"
    reason = "line 1: geometry: line 3: unknown element 'Qq'"
    assert raised.value.message == f"none of the 3 records of {path} can be taken in; {reason}"
    path.write_text("1\n\nQq 0 0 0\n" * 200 + HELIUM)
    with pytest.raises(SpecError, match="none of the first 100 records of"):
        check_source(SOURCE, path)
    path.write_text("1\n\nQq 0 0 0\n" * 99 + HELIUM)
    check_source(SOURCE, path)
    assert first_structure(SOURCE, path).orig_index == 99


def test_a_format_that_is_given_beats_the_name(folder: Path) -> None:
    chunk = read_chunk(StructureSource("x", format="extxyz"), str(folder / "notes.txt"), "", 10)
    assert len(chunk.structures) == 1


def test_odd_files_in_a_folder_are_refused(folder: Path) -> None:
    os.mkfifo(folder / "pipe.xyz")
    with pytest.raises(SpecError, match=r"pipe\.xyz is not a file"):
        source_files(SOURCE, folder)
    (folder / "pipe.xyz").unlink()
    (folder / "gone.xyz").symlink_to("nowhere")
    with pytest.raises(SpecError, match=r"gone\.xyz is not a file"):
        source_files(SOURCE, folder)
    (folder / "gone.xyz").unlink()
    (folder / "line\nbreak.xyz").write_text(HELIUM)
    with pytest.raises(SpecError, match="unprintable"):
        source_files(SOURCE, folder)


def test_copies_under_their_names_read_like_the_originals(folder: Path, tmp_path: Path) -> None:
    (folder / "a/c.cif").unlink()
    for file in source_files(SOURCE, folder):
        target = tmp_path / "copy" / file.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file.path, target)
    original = read_chunk(SOURCE, str(folder), "", 10)
    assert [s.name for s in original.structures] == ["a/a", "b"]
    assert read_chunk(SOURCE, str(tmp_path / "copy"), "", 10) == original


def test_text_sources_are_read_without_ase_or_numpy(folder: Path) -> None:
    (folder / "x.csv").write_text("g\nHe 0 0 0\n")
    program = f"""
import sys
from pathlib import Path
from penstock.domain.spec import StructureSource
from penstock.recipes import structures
source = StructureSource("x", geometry_column="g")
structures.check_source(source, Path({str(folder / "x.csv")!r}))
assert structures.read_chunk(source, {str(folder / "x.csv")!r}, "", 10).structures
structures.check_source(StructureSource("x"), Path({str(folder)!r}))
print(*(sys.modules.keys() & {{"ase", "numpy", "scipy", "pyarrow"}}))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
