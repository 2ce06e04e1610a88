"""Outputs of ORCA of our own making: water, in the formats of versions 4, 5 and 6, as short as a parser may ask for."""

from __future__ import annotations

from collections.abc import Sequence

STARS = " " * 33 + "*****************"
TITLE = f"\n{STARS}\n{' ' * 33}* O   R   C   A *\n{STARS}\n"
VERSIONS = {"4.2.1": "4.2.1 -  RELEASE  -", "5.0.4": "5.0.4 -  RELEASE  -", "6.1.0": "6.1.0  -  RELEASE   -"}
INPUT = ("! B3LYP def2-SVP", "%pal nprocs 4 end", "* xyz 0 1", "O 0 0 0.1", "*")
END = " " * 29 + "****ORCA TERMINATED NORMALLY****\n"
ENERGY = -76.323456789012


def head(version: str = "5.0.4", lines: Sequence[str] = INPUT) -> str:
    rule = "=" * 80
    echo = "".join(f"|{number:3d}> {line}\n" for number, line in enumerate(lines, 1))
    end = f"|{len(lines) + 1:3d}>                          ****END OF INPUT****\n"
    return (
        f"{TITLE}\n{' ' * 25}Program Version {VERSIONS[version]}\n\n With contributions from (in alphabetic order):\n"
        f"   Ute Becker             : Parallelization\n\n{rule}\n{' ' * 39}INPUT FILE\n{rule}\nNAME = job.inp\n"
        f"{echo}{end}{rule}\n\n"
    )


def geometry(z: float = 0.117) -> str:
    rule = "-" * 33
    atoms = ((0.0, 0.0, z), (0.0, 0.757, -0.469), (0.0, -0.757, -0.469))
    rows = "".join(
        f"  {element:2s}{x:14.6f}{y:14.6f}{q:14.6f}\n" for element, (x, y, q) in zip("OHH", atoms, strict=True)
    )
    return f"{rule}\nCARTESIAN COORDINATES (ANGSTROEM)\n{rule}\n{rows}\n----------------------------\n"


def scf(energy: float = ENERGY, cycles: int = 11, version: str = "5.0.4") -> str:
    columns = (
        "Iteration    Energy (Eh)           Delta-E    RMSDP     MaxDP     DIISErr   Damp  Time(sec)"
        if version.startswith("6")
        else "ITER       Energy         Delta-E        Max-DP      RMS-DP      [F,P]     Damp"
    )
    return (
        f"Convergence Tolerance:\n DIIS Error             TolErr          ....  5.000e-07\n\n{columns}\n"
        f"  0   {energy + 0.1:.10f}   0.000000000000 0.09551725  0.00741377  0.2702570 0.7000\n\n"
        f"               {'*' * 53}\n               *                     SUCCESS                       *\n"
        f"               *           SCF CONVERGED AFTER {cycles:3d} CYCLES          *\n               {'*' * 53}\n\n"
        f"----------------\nTOTAL SCF ENERGY\n----------------\n\n"
        f"Total Energy       : {energy:20.8f} Eh {energy * 27.2114:20.5f} eV\n\n{ORBITALS}"
    )


ORBITALS = """----------------
ORBITAL ENERGIES
----------------

  NO   OCC          E(Eh)            E(eV)
   0   2.0000     -19.151939      -521.1508
   1   2.0000      -0.271383        -7.3847
   2   0.0000      -0.045662        -1.2425
   3   0.0000       0.069410         1.8887

                    ********************************
                    * MULLIKEN POPULATION ANALYSIS *
                    ********************************
"""


def final(energy: float = ENERGY, remark: str = "", tag: str = "") -> str:
    rule = "-------------------------   --------------------"
    return f"\n{rule}\nFINAL SINGLE POINT ENERGY{tag}{energy:22.12f}{remark}\n{rule}\n\n"


def gradient(largest: float = 0.0149627221) -> str:
    return (
        "------------------\nCARTESIAN GRADIENT\n------------------\n\n"
        f"   1   O   :    0.000000000    0.000000000  {-largest:13.9f}\n"
        "   2   H   :    0.000000000    0.001000000    0.000100000\n"
        "   3   H   :    0.000000000   -0.001000000    0.000100000\n\n"
        "Difference to translation invariance:\n           :   -0.0000000000   -0.0000000000   -0.0000000000\n\n"
        f"Norm of the Cartesian gradient     ...    {largest * 1.2:.10f}\n"
        f"RMS gradient                       ...    {largest / 3:.10f}\n"
        f"MAX gradient                       ...    {largest:.10f}\n\n"
    )


def convergence(verdict: str = "NO") -> str:
    return (
        "          ----------------------|Geometry convergence|-------------------------\n"
        "          Item                value                   Tolerance       Converged\n"
        f"          RMS gradient        0.0050489753            0.0001000000      {verdict}\n"
        f"          MAX gradient        0.9000000000            0.0003000000      {verdict}\n\n"
    )


def cycle(number: int, energy: float, largest: float, version: str = "5.0.4") -> str:
    box = " " * 9 + "*" * 61
    return (
        f"{box}\n         *                GEOMETRY OPTIMIZATION CYCLE {number:3d}            *\n{box}\n"
        f"{geometry(0.117 + number / 1000)}{scf(energy, 10, version)}{final(energy)}{gradient(largest)}"
    )


def times(seconds: float = 7.622) -> str:
    total = f"Sum of individual times         ...    {seconds:9.3f} sec (=   0.127 min)\n"
    return f"Timings for individual modules:\n\n{total}"


def end(run_time: str = "0 days 0 hours 1 minutes 15 seconds 245 msec") -> str:
    return f"{times()}{END}TOTAL RUN TIME: {run_time}\n"


def single_point(version: str = "5.0.4", energy: float = ENERGY) -> str:
    return head(version) + geometry() + scf(energy, version=version) + final(energy) + end()


def engrad_run(version: str = "5.0.4") -> str:
    return head(version) + geometry() + scf(version=version) + final() + gradient() + end()


HURRAY = f"""{" " * 20}***********************HURRAY********************
{" " * 20}***        THE OPTIMIZATION HAS CONVERGED     ***
{" " * 20}*************************************************

{" " * 17}*** FINAL ENERGY EVALUATION AT THE STATIONARY POINT ***
{" " * 17}***               (AFTER    2 CYCLES)               ***
"""
MORE_CYCLES = "The optimization has not yet converged - more geometry cycles are needed\n\n"
NO_MORE_CYCLES = """    ----------------------------------------------------------------------------
                                  WARNING !!!
       The optimization did not converge but reached the maximum number of
       optimization cycles.
       Please check your results very carefully.
    ----------------------------------------------------------------------------

"""


def unfinished_optimisation(version: str = "5.0.4") -> str:
    first = cycle(1, -76.30, 0.02, version) + convergence() + MORE_CYCLES
    return head(version, ("! B3LYP def2-SVP Opt PAL8", "* xyz 0 1")) + first + cycle(2, -76.32, 0.0002, version)


def optimisation(version: str = "5.0.4") -> str:
    done = convergence("YES") + HURRAY + geometry(0.12) + scf(ENERGY, 3, version) + final()
    return unfinished_optimisation(version) + done + end()


def failed_optimisation(version: str = "5.0.4") -> str:
    return unfinished_optimisation(version) + convergence() + NO_MORE_CYCLES + end()


FREQUENCIES = """-----------------------
VIBRATIONAL FREQUENCIES
-----------------------

Scaling factor for frequencies =  1.000000000  (already applied!)

     0:       0.00 cm**-1
     1:       0.00 cm**-1
     2:       0.00 cm**-1
     3:       0.00 cm**-1
     4:       0.00 cm**-1
     5:       0.00 cm**-1
     6:    -312.40 cm**-1 ***imaginary mode***
     7:    1595.12 cm**-1
     8:    3657.05 cm**-1


------------
NORMAL MODES
------------

There are no thermally accessible electronically excited states; this may cause some error

Zero point energy                ...      0.02700781 Eh      16.95 kcal/mol
Total Enthalpy                    ...   -114.38034848 Eh
Final Gibbs free energy         ...   -114.40517032 Eh
"""
EXCITED = """TD-DFT/TDA EXCITED STATES (SINGLETS)

STATE  1:  E=   0.196682 au      5.352 eV    43166.7 cm**-1 <S**2> =   0.000000
STATE  2:  E=   0.220000 au      5.987 eV    48284.4 cm**-1 <S**2> =   0.000000 Sym: Bu Mult 1

TD-DFT/TDA EXCITED STATES (TRIPLETS)

STATE  1:  E=   0.115007 au      3.129 eV    25241.0 cm**-1 <S**2> =   2.000000
"""
