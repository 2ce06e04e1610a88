"""Versions of what Penstock stands on."""

from __future__ import annotations

import sys
from importlib import import_module, metadata
from pathlib import Path

import msgspec
import pytest

from penstock.ctl.doctor.versions import (
    Packages,
    Requirement,
    has_mended_wal,
    judge_init,
    judge_kernel,
    judge_packages,
    judge_python,
    judge_sqlite,
    look_at_versions,
    parse_requirement,
    try_imports,
)

NEEDED = (Requirement("anyio", "4.10", ""), Requirement("prometheus-client", "0.22", ""))
EXTRA = (Requirement("fsspec", "2025.3", "remote"), Requirement("s3fs", "2025.3", "remote"))
SEEN = Packages((*NEEDED, *EXTRA), {"anyio": "4.11.0", "prometheus-client": "0.22"}, {})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("anyio>=4.10", Requirement("anyio", "4.10", "")),
        ("tblite>=0.5; extra == 'xtb'", Requirement("tblite", "0.5", "xtb")),
        ('moto[s3]>=5.1; extra == "dev"', Requirement("moto", "5.1", "dev")),
        ("x (<3,>=2.1) ; python_version < '4'", Requirement("x", "2.1", "")),
        ("plain", Requirement("plain", "", "")),
        ("", None),
    ],
)
def test_requirements(text: str, expected: Requirement | None) -> None:
    assert parse_requirement(text) == expected


def test_every_package_that_we_need_is_imported_by_the_name_that_we_take() -> None:
    requirements = [parsed for parsed in map(parse_requirement, metadata.requires("penstock") or []) if parsed]
    always = [requirement for requirement in requirements if not requirement.extra]
    assert len(always) > 10
    for requirement in always:
        assert requirement.least
        assert metadata.version(requirement.name)
    light = [r.module for r in always if r.name in {"ahocorasick-rs", "prometheus-client", "msgspec", "tomlkit"}]
    assert [import_module(name).__name__ for name in light] == light


@pytest.mark.parametrize(
    ("version", "mended"),
    [
        ((3, 40, 1), False),
        ((3, 44, 5), False),
        ((3, 44, 6), True),
        ((3, 45, 0), False),
        ((3, 50, 6), False),
        ((3, 50, 7), True),
        ((3, 51, 2), False),
        ((3, 51, 3), True),
        ((3, 53, 0), True),
    ],
)
def test_which_sqlite_has_the_fault(version: tuple[int, ...], mended: bool) -> None:
    assert has_mended_wal(version) is mended
    assert judge_sqlite(version).level == ("ok" if mended else "note")


def test_what_is_too_old() -> None:
    assert judge_sqlite((3, 34, 1)).level == "problem"
    assert judge_python((3, 10, 9), "/p").level == "problem"
    assert judge_kernel("4.18.0-553.el8_10.x86_64").level == "problem"
    assert [judge_kernel(release).level for release in ("5.3.0", "5.14.0-427.el9", "6.1.0-18-amd64", "6.18")] == [
        "ok"
    ] * 4
    assert [judge_init(has_systemd=there).level for there in (True, False)] == ["ok", "note"]


def test_this_machine_can_run_penstock() -> None:
    assert all(finding.ok for finding in look_at_versions())


def test_packages() -> None:
    packages, extras = judge_packages(SEEN)
    assert (packages.level, packages.detail) == ("ok", "all 2 are there and new enough")
    assert extras.detail == "remote not installed"
    missing = msgspec.structs.replace(SEEN, installed={"anyio": "4.9.1"})
    old, gone, _ = judge_packages(missing)
    assert (old.level, old.detail) == ("problem", "anyio 4.9.1 is too old, 4.10 is needed")
    assert gone.remedy == "pip install 'prometheus-client>=0.22'"
    broken = msgspec.structs.replace(SEEN, broken={"prometheus_client": "ImportError: no such symbol"})
    assert "0.22 cannot be imported: ImportError" in judge_packages(broken)[0].detail
    crashed = msgspec.structs.replace(SEEN, broken={"(one of them)": "importing ended with exit code -11"})
    assert judge_packages(crashed)[0].level == "problem"


def test_an_extra_that_is_there_in_part() -> None:
    half = msgspec.structs.replace(SEEN, installed=SEEN.installed | {"fsspec": "2025.3"})
    _, extra = judge_packages(half)
    assert (extra.level, extra.detail, extra.remedy) == (
        "warning",
        "s3fs is not installed",
        "pip install 'penstock[remote]'",
    )
    whole = msgspec.structs.replace(half, installed=half.installed | {"s3fs": "2026.1"})
    assert judge_packages(whole)[1].detail == "remote there"


def test_importing_happens_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "faulty_package_of_a_test.py").write_text("raise ImportError('no such symbol')\n")
    (tmp_path / "deadly_package_of_a_test.py").write_text("import os\nos.abort()\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert try_imports(["json", "faulty_package_of_a_test"]) == {
        "faulty_package_of_a_test": "ImportError: no such symbol"
    }
    assert "faulty_package_of_a_test" not in sys.modules
    assert "exit code -6" in try_imports(["deadly_package_of_a_test"])["(one of them)"]
