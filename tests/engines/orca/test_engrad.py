from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.domain.errors import OutputError
from penstock.engines.orca.engrad import parse_engrad, read_engrad

TEXT = """#
# Number of atoms
#
 2
#
# The current total energy in Eh
#
     -1.130000000000
#
# The current gradient in Eh/bohr
#
       0.000000000000
      -0.000001000000
       0.012300000000
       0.000000000000
       0.000001000000
      -0.012400000000
#
# The atomic numbers and current coordinates in Bohr
#
   1     0.0000000    0.0000000   -0.7000000
   1     0.0000000    0.0000000    0.7000000
"""


def test_energy_gradient_and_positions() -> None:
    found = parse_engrad(TEXT)
    assert found.energy_hartree == -1.13
    assert found.gradient_hartree_per_bohr == [0, -1e-6, 0.0123, 0, 1e-6, -0.0124]
    assert found.max_component_hartree_per_bohr == 0.0124
    assert (found.atomic_numbers, found.positions_bohr) == ([1, 1], [0, 0, -0.7, 0, 0, 0.7])
    assert parse_engrad(TEXT.replace("\n", "\r\n")) == found
    assert parse_engrad(TEXT.replace(".", ",")) == found


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", 1),
        ("# nothing\n", 1),
        (TEXT.replace(" 2\n", " two\n"), 4),
        (TEXT.replace(" 2\n", " 3\n"), 22),
        (TEXT.replace("0.012300000000", "nan"), 14),
        (TEXT.replace("0.012300000000", "0.1 0.2"), 14),
        (TEXT.replace("   1     0.0000000    0.0000000   -0.7", "   1     0.0000000   -0.7"), 21),
        (TEXT[:200], 15),
    ],
)
def test_what_is_no_such_file_is_told_with_its_line(text: str, line: int) -> None:
    with pytest.raises(OutputError) as raised:
        parse_engrad(text)
    assert raised.value.line == line


@given(part=st.floats(0, 1, exclude_max=True))
def test_a_file_cut_short_gives_the_whole_gradient_or_an_error(part: float) -> None:
    text = TEXT[: int(part * len(TEXT))]
    try:
        found = parse_engrad(text)
    except OutputError:
        return
    assert len(found.gradient_hartree_per_bohr) == 6
    assert found.gradient_hartree_per_bohr[-1] == -0.0124
    assert len(found.atomic_numbers) == 2


@given(data=st.binary(max_size=200))
def test_any_bytes_can_be_read(data: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("engrad") / "job.engrad"
    path.write_bytes(data)
    assert read_engrad(path) is None or data.strip()


def test_a_missing_file_is_none(tmp_path: Path) -> None:
    assert read_engrad(tmp_path / "job.engrad") is None
