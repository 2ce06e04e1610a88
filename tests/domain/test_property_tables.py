"""What property recipes are asked for is checked before anything is calculated."""

from __future__ import annotations

import math

import pytest

from penstock.domain.errors import SpecError
from penstock.domain.property_tables import ElasticTable, PhaseDiagramTable, check_property_table


@pytest.mark.parametrize("energy", [math.nan, math.inf])
@pytest.mark.parametrize("key", ["energies_ev_per_atom", "references_ev_per_atom"])
def test_energies_are_finite(key: str, energy: float) -> None:
    table = PhaseDiagramTable(**{key: {"Cu": energy}})  # type: ignore[arg-type]
    with pytest.raises(SpecError, match=rf"phase_diagram\.{key}\.Cu: {energy} is no energy"):
        check_property_table("phase_diagram", {"phase_diagram": table})


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (ElasticTable(amplitudes=()), "empty"),
        (ElasticTable(amplitudes=(0.01, math.nan)), "nan is no amplitude"),
        (ElasticTable(amplitudes=(0.01, 0.01)), "names an amplitude twice"),
        (ElasticTable(symprec_angstrom=math.nan), "symprec_angstrom: must be between"),
        (ElasticTable(pressure_gpa=math.nan), "out of all bounds"),
        (ElasticTable(pressure_gpa=1.0, relax=False), "leave pressure_gpa out, or relax"),
    ],
)
def test_what_cannot_be_meant_is_refused(table: ElasticTable, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        check_property_table("elastic", {"elastic": table})
