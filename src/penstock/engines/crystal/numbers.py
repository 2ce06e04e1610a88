"""Numbers as Fortran writes them."""

from __future__ import annotations

import math
import re
from typing import Final

_NUMBER: Final = re.compile(r"[-+]?(?:[0-9]{1,17}(?:[.,][0-9]{0,40})?|[.,][0-9]{1,40})(?:[EeDd][-+]?[0-9]{1,3})?")


def parse_number(text: str) -> float | None:
    """`text` as a finite number; a decimal comma and a D exponent are understood. None where it is none."""
    if _NUMBER.fullmatch(text) is None:
        return None
    value = float(text.replace(",", ".").replace("D", "E").replace("d", "e"))
    return value if math.isfinite(value) else None
