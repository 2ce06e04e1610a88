"""What an expression of PromQL needs data for, so that a test can ask for it on a day without trouble.

The rules keep to one form, which is checked here: comparisons, each with a number on its right side, joined by `and`,
`or` and `unless` at the top of the expression. What such an expression needs data for stands left of its comparisons.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[A-Za-z_:][\w:]*|[<>=!]=|=~|!~|\S|\s+')
_SET_OPERATORS = {"and", "or", "unless"}
_COMPARISONS = {"==", "!=", "<", ">", "<=", ">="}
_MATCHING = {"on", "ignoring"}


def operands(expression: str) -> list[str]:
    """What stands left of each comparison. ValueError if the expression has another form."""
    found = []
    for part in _split(expression):
        *left, last = _split_comparison(part)
        if len(left) != 1:
            raise ValueError(f"{part!r} is not one comparison with a number on its right side")
        float(last)
        found.append(left[0])
    return found


def metrics(expression: str) -> set[str]:
    """The names of the metrics in an expression."""
    bare = re.sub(r'"(?:[^"\\]|\\.)*"', "", expression)
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]", "", bare)
    bare = re.sub(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)", "", bare)
    names = re.findall(r"(?<![\w.])[A-Za-z_:][\w:]*\b(?!\s*\()", bare)
    return set(names) - _SET_OPERATORS - {"bool", "offset"}


def _split(expression: str) -> Iterator[str]:
    """The parts between set operators that stand in no parentheses, without what these are matched on."""
    depth, part, in_matching = 0, "", False
    for token in _TOKEN.findall(expression):
        depth += (token in "([{") - (token in ")]}")
        if depth == 0 and token in _SET_OPERATORS:
            yield part.strip()
            part = ""
        elif depth == 0 and token in _MATCHING:
            in_matching = True
        elif in_matching:
            in_matching = not (depth == 0 and token == ")")
        else:
            part += token
    yield part.strip()


def _split_comparison(part: str) -> list[str]:
    """What stands between comparisons; ValueError for one inside of parentheses."""
    depth, parts = 0, [""]
    in_braces = 0
    for token in _TOKEN.findall(part):
        depth += (token in "([") - (token in ")]")
        in_braces += (token == "{") - (token == "}")
        if token in _COMPARISONS and not in_braces:
            if depth:
                raise ValueError(f"{part!r} compares inside of parentheses")
            parts.append("")
        else:
            parts[-1] += token
    return [part.strip() for part in parts]
