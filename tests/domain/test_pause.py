"""What a pause's reason tells a program is what was put into it, whatever the scheduler says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.domain.pause import PAUSED_BY_REQUEST, PauseKind, kind_of_pause, refused_reason
from penstock.store.adoption import OFFLINE


@given(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,30}", fullmatch=True), st.text())
def test_a_refusal_is_known_by_its_reason(cluster: str, said: str) -> None:
    reason = refused_reason(cluster, "w", said)
    assert kind_of_pause(reason) is PauseKind.REFUSED
    assert said in reason


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        (PAUSED_BY_REQUEST, PauseKind.REQUEST),
        (OFFLINE, PauseKind.OTHER),
        ("restored from an archive", PauseKind.OTHER),
        ("a person says: the scheduler of cluster hpc refuses its jobs: no", PauseKind.OTHER),
        (None, PauseKind.OTHER),
    ],
)
def test_others(reason: str | None, kind: PauseKind) -> None:
    assert kind_of_pause(reason) is kind
