"""Decks of our own making that the tests of this folder share, and the real ones of the samples."""

import os
from pathlib import Path

import pytest

SAMPLES = Path(os.environ.get("PENSTOCK_SAMPLES", "/nonexistent"))
with_samples = pytest.mark.skipif(
    not SAMPLES.is_dir(), reason="PENSTOCK_SAMPLES does not name a directory of real decks"
)

OPTIMISATION = """OPTGEOM
CRYSTAL
0 0 0
225
5.63
2
11 0.0 0.0 0.0
17 0.5 0.5 0.5 Biso 1.0 Cl
OPTGEOM
FULLOPTG
MAXCYCLE
100
ENDOPT
BASISSET
POB-TZVP-REV2
DFT
PBE0
XLGRID
ENDDFT
SHRINK
0 16
8 8 8
TOLINTEG
7 7 7 7 14
MAXCYCLE
300
FMIXING
60
END
"""

EXPLICIT = """Helium, in a basis of its own
MOLECULE
1
1
2 0. 0. 0.
END
2 1
0 0 2 2.0 1.0
  6.36242139  0.15432897
  1.15892300  0.53532814
99 0
CHARGED
ENDBS
UHF
SPINLOCK
1 20
ATOMSPIN
1
1 1
TOLDEE
8
ENDSCF
"""

FREQUENCIES = """Quartz
CRYSTAL
0 0 0
152
4.916 5.4054
2
14 0.4697 0. 0.
8 0.4135 0.2669 0.1191
SUPERCEL
1 0 0
0 1 0
0 0 1
FREQCALC
PREOPTGEOM
MAXCYCLE
50
END
NUMDERIV
2
INTCPHF
FMIXING
30
ENDCPHF
ENDFREQ
ENDGEOM
BASISSET
STO-3G
CHARGED
END
DFT
EXCHANGE
PBE
CORRELAT
PBE
HYBRID
20
END
DFTD3
VERSION
4
FUNC
PBE0
END
SHRINK
4 8
MAXCYCLE
60
END
"""

SLAB = """Graphene
SLAB
1
2.46 2.46 120.
2
6 0.33333333 0.66666667 0.0
6 0.66666667 0.33333333 0.0
END
BASISSET
POB-TZVP
DFT
PBE
END
SHRINK
12 24
END
"""

ALL = (OPTIMISATION, EXPLICIT, FREQUENCIES, SLAB)


def sample_texts(suffix: str) -> list[tuple[str, str]]:
    """Names and texts of the sample decks that end with `suffix`, line ends as they are."""
    paths = sorted((SAMPLES / "crystal").glob(f"*{suffix}"))
    return [(path.name, path.read_bytes().decode()) for path in paths]


def words(text: str) -> list[list[str]]:
    """`text` without what a deck may lose: blank lines and the width of blanks."""
    return [line.split() for line in text.splitlines() if line.strip()]
