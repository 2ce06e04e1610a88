"""How the suite is shared out between processes that run at the same time (`pytest --numprocesses`).

A file is one process's, so that what it sets up for its tests is set up once. All tests of the real Slurms are one
process's too: each Slurm stands once, and what these tests wait for leaves a core to the other process. They take
longest, so they begin; then come the tests of whole daemons, and the many short ones even it out at the end.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from xdist.remote import Producer
    from xdist.scheduler import LoadFileScheduling

SLURMS: Final = "the real Slurms"
_NEEDS_SLURM: Final = re.compile(
    r"tests/services/test_(slurm|fixtures)\.py|tests/system/(test_slurm_\w+\.py|.*\[(.*-)?(slurm|harsh)[-\]])"
)
_LONG: Final = ("tests/daemon/test_day.py", "tests/system/", "tests/examples/", "tests/actors/")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What takes long comes first, where it is shared out; else the order stays."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: _turn(share(item.nodeid)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadFileScheduling:
    """Hands out a share at a time, in the order of the tests."""
    from xdist.scheduler import LoadFileScheduling

    class Shares(LoadFileScheduling):  # type: ignore[misc]  # it ships no types
        def _split_scope(self, nodeid: str) -> str:
            return share(nodeid)

    config.option.loadscopereorder = False
    return Shares(config, log)


def share(nodeid: str) -> str:
    """What a test belongs to that one process runs from its first to its last test: the file, as a rule."""
    return SLURMS if _NEEDS_SLURM.match(nodeid) else nodeid.partition("::")[0]


def _turn(share: str) -> int:
    if share == SLURMS:
        return 0
    return next((turn for turn, folder in enumerate(_LONG, 1) if share.startswith(folder)), len(_LONG) + 1)
