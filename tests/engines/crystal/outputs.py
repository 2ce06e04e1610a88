"""Outputs of our own making, after the facts of real ones, and the stand-in that prints longer ones."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

STAND_IN = Path(__file__).parents[2] / "standins" / "crystal"
SAMPLES = Path(os.environ.get("PENSTOCK_SAMPLES", "/nonexistent")) / "crystal"

STARS = " " + "*" * 79
BLANK = " *" + " " * 77 + "*"
BANNER = f"""
         
{STARS}
{BLANK}
 *                               CRYSTAL23                                     *
 *                      public : 1.0.1 - October 2022                          *
 *                                                                             *
 * (3) A UNIVERSITY - MUELHEIM AN DER RUHR (GERMANY)                           *
{STARS}
"""  # noqa: W293 - as the program writes it
START = " EEEEEEEEEE STARTING  DATE 21 12 2023 TIME 15:01:10.2\n"
END = " EEEEEEEEEE TERMINATION  DATE 21 12 2023 TIME 15:02:22.0\n"
TITLE = " a title\n\n"
SCF_START = f"{STARS}\n a title\n CRYSTAL - SCF - TYPE OF CALCULATION :  RESTRICTED CLOSED SHELL\n{STARS}\n"
ELECTRONS = " NUMBER OF AO                36  EXCHANGE OVERLAP TOL        (T3) 10**   -7\n"
ELECTRONS += " N. OF ELECTRONS PER CELL    12  EXCHANGE PSEUDO OVP (F(G))  (T4) 10**   -7\n"
SCF_END = " == SCF ENDED - CONVERGENCE ON ENERGY      E(AU) -7.6194112686625E+01 CYCLES   6\n"
TOO_MANY = " == SCF ENDED - TOO MANY CYCLES            E(AU) -7.6100000000000E+01 CYCLES  50\n"
TOTAL = " TOTAL ENERGY(DFT)(AU)(  6) -7.6194112686625E+01 DE 1.4E-08 tester 5.9E-09\n"
DISPERSION = " D3 DISPERSION ENERGY (AU)       -2.3E-02\n TOTAL ENERGY + DISP (AU)        -7.6217192491426E+01\n"
FORCES = """
 CARTESIAN FORCES IN HARTREE/BOHR (ANALYTICAL)
   ATOM                     X                   Y                   Z
   1   6             4.000000000000E-03  8.257406280617E-16  3.738991421063E-16
   2   6            -5.000000000000E-03 -8.247287060341E-16 -3.738991421063E-16

 RESULTANT FORCE     1.445602896648E-19  1.011922027653E-18  0.000000000000E+00
"""
OPT_START = " *                             OPTIMIZATION STARTS                             *\n"
POINT_1 = " CELL OPTIMIZATION - POINT    1\n"
POINT_2 = " COORDINATE AND CELL OPTIMIZATION - POINT    2\n"
STEP = """
 TOTAL ENERGY(DFT)(AU)( 53) -7.6220000000000E+01     DE (AU)   -1.114E-04
 MAX GRADIENT      0.000122  THRESHOLD              0.000450 CONVERGED YES
"""
OPT_END = " * OPT END - CONVERGED * E(AU):  -7.622000000000E+01  POINTS    2 *\n"
OPT_FAILED = """ CONVERGENCE TESTS UNSATISFIED AFTER   2 ENERGY AND GRADIENT CALCULATIONS
 * OPT END - FAILED    * E(AU):  -7.622000000000E+01  POINTS    2 *
"""
LATTICE = """ LATTICE PARAMETERS (ANGSTROMS AND DEGREES) - BOHR = 0.5291772083 ANGSTROM
 PRIMITIVE CELL - CENTRING CODE 5/0 VOLUME=    11.137269 - DENSITY  3.578 g/cm^3
         A              B              C           ALPHA      BETA       GAMMA
     2.50667429     2.50667429     2.50667429    60.000000  60.000000  60.000000
"""
DIAMOND = f"""{LATTICE}{STARS}
 ATOMS IN THE ASYMMETRIC UNIT    1 - ATOMS IN THE UNIT CELL:    2
     ATOM                 X/A                 Y/B                 Z/C
{STARS}
      1 T   6 C     1.250000000000E-01  1.250000000000E-01  1.250000000000E-01
      2 F   6 C    -1.250000000000E-01 -1.250000000000E-01 -1.250000000000E-01

 TRANSFORMATION MATRIX PRIMITIVE-CRYSTALLOGRAPHIC CELL
 -1.0000  1.0000  1.0000  1.0000 -1.0000  1.0000  1.0000  1.0000 -1.0000

{STARS}
 CRYSTALLOGRAPHIC CELL (VOLUME=         44.54907729)
         A              B              C           ALPHA      BETA       GAMMA
     3.54497278     3.54497278     3.54497278    90.000000  90.000000  90.000000

 COORDINATES IN THE CRYSTALLOGRAPHIC CELL
     ATOM                 X/A                 Y/B                 Z/C
{STARS}
      1 T   6 C     1.250000000000E-01  1.250000000000E-01  1.250000000000E-01
      2 F   6 C    -1.250000000000E-01 -1.250000000000E-01 -1.250000000000E-01

 T = ATOM BELONGING TO THE ASYMMETRIC UNIT
"""
BULK = f" GEOMETRY FOR WAVE FUNCTION - DIMENSIONALITY OF THE SYSTEM    3\n{DIAMOND}"
CONDUCTING = " POSSIBLY CONDUCTING STATE - EFERMI(AU) -1.3142424E-01 (RES. CHARGE  2.27E-13;IT. 30)\n"
NODES = "NODE    0 CPU TIME =        71.487\nNODE    1 CPU TIME =        72.194\n    TOTAL CPU TIME =       143.681\n"

HEAD = BANNER + START + TITLE
SINGLE_POINT = HEAD + BULK + ELECTRONS + SCF_START + SCF_END + TOTAL + DISPERSION + END + NODES
GAP = "   BAND GAP:                      6.0010  eV\n"
FIRST_POINT = HEAD + BULK + ELECTRONS + OPT_START + POINT_1 + SCF_START + SCF_END + TOTAL + DISPERSION + FORCES
OPTIMISATION = FIRST_POINT + POINT_2 + DIAMOND + STEP + OPT_END + GAP + DIAMOND + END + NODES
FREQUENCIES = f"""
                       FREQUENCY CALCULATION
   ATOM      MAX ABS(DGRAD)       TOTAL ENERGY (AU)  N.CYC      DE       SYM
    CENTRAL POINT             -7.621719249143E+01     0     0.0000E+00    24
    1 C  DX    1.0E-02       -7.621700000000E+01     5     1.0E-04     4
{TOTAL}
    MODES         EIGV          FREQUENCIES     IRREP  IR   INTENS    RAMAN
             (HARTREE**2)   (CM**-1)     (THZ)             (KM/MOL)
    1-   3   -0.4271E-20     -0.8000    0.0000  (Fu )   A (     0.00)   I
    4-   5   -0.3567E-04   -120.5000   39.3000  (Eg )   I (     0.00)   A
    6-   6    0.3567E-04   1310.9000   39.3000  (Ag )   I (     0.00)   A

 E0            :       0.008969438100       0.244070837700          23.54926290
"""


def run_stand_in(directory: Path, *arguments: str, deck: str | None = None) -> int:
    """Run the stand-in in `directory`, its output to the file stdout there; its exit code."""
    with (directory / "stdout").open("wb") as output:
        done = subprocess.run(
            [str(STAND_IN), *arguments],
            cwd=directory,
            input=(deck or "").encode(),
            stdout=output,
            stderr=subprocess.DEVNULL,
            check=False,
        )
    return done.returncode
