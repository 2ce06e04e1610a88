"""Two workflows that share a licence, through the daemon: one at a time, also over kills of the daemon."""

from __future__ import annotations

import json
import signal

import pytest
from tests.system.conftest import Gate, Penstockd, eventually

from penstock.domain.errors import ConflictError, SpecError

LICENCE = '[resources.orca-licence]\ncount = 1\ndescription = "of the group"\n[clusters.local]\ncores = 8\n'
NEEDS = {"resources": {"orca-licence": 1}}


def test_two_workflows_share_one_licence_whatever_happens_to_the_daemon(stopped_daemon: Penstockd, gate: Gate) -> None:
    daemon = stopped_daemon
    daemon.config.write_text(LICENCE)
    daemon.start()
    tell = f'echo "$PENSTOCK_LOCK_TOKEN_ORCA_LICENCE" >> {daemon.home}/tokens; {gate.script}'
    daemon.submit_command("first", tell, *gate.paths, jobs=2, slots=2, locks=NEEDS)
    daemon.submit_command("second", tell, *gate.paths, jobs=2, slots=2, locks=NEEDS)
    gate.next_started()
    (lock,) = daemon.client.locks().locks
    assert (lock.name, lock.count, lock.used, lock.description) == ("orca-licence", 1, 1, "of the group")
    (holder,) = lock.holders
    assert holder.workflow is not None
    waits = "second" if holder.workflow == "first" else "first"
    eventually(lambda: waits in {w.workflow for w in daemon.client.locks().locks[0].waiting}, "the other waits")
    why = daemon.client.why(waits, 1)
    assert why.verdict == "It waits for a lock or a shared resource."
    assert any(f"held by workflow {holder.workflow}" in reason for reason in why.reasons)
    with pytest.raises(ConflictError, match="may still run"):
        daemon.client.release_lock("orca-licence", holder.holder)
    daemon.kill()
    daemon.start()
    (lock,) = daemon.client.locks().locks
    assert lock.holders == (holder,)
    assert not gate.starts_pending()
    for _ in range(3):
        gate.release()
        gate.next_started()
        assert not gate.starts_pending()
        (lock,) = daemon.client.locks().locks
        assert lock.used == 1
    gate.release()
    for name in ("first", "second"):
        assert daemon.wait(name).workflow.statuses == {"completed": 2}
    eventually(lambda: not daemon.client.locks().locks[0].holders, "it is given back")
    tokens = [int(line) for line in (daemon.home / "tokens").read_text().split()]
    assert tokens == sorted(set(tokens))
    assert len(tokens) == 4
    shown = daemon.ctl("locks")
    assert shown.stdout.splitlines()[1].split()[:4] == ["orca-licence", "-", "1", "0"]
    assert json.loads(daemon.ctl("locks", "first", "--json").stdout) == {"locks": []}
    refused = daemon.ctl("locks", "release", "orca-licence", "--holder", "nobody")
    assert refused.returncode == 2
    assert "does not hold" in refused.stderr


def test_resources_are_checked_at_submit_and_reloaded(stopped_daemon: Penstockd, gate: Gate) -> None:
    daemon = stopped_daemon
    daemon.config.write_text(LICENCE)
    daemon.start()
    daemon.write_table("w.csv", [("a", "H 0 0 0")])
    with pytest.raises(SpecError, match="did you mean 'orca-licence'") as refused:
        daemon.submit_command("w", "true", locks={"resources": {"orca-license": 1}})
    assert refused.value.line is not None
    with pytest.raises(SpecError, match="only 1 of it, not 2"):
        daemon.submit_command("w", "true", locks={"resources": {"orca-licence": 2}})
    daemon.submit_command("w", gate.script, *gate.paths, jobs=3, slots=3, locks=NEEDS)
    gate.next_started()
    daemon.config.write_text(LICENCE.replace("count = 1", "count = 3"))
    assert daemon.process is not None
    daemon.process.send_signal(signal.SIGHUP)
    gate.next_started()
    gate.next_started()
    assert daemon.client.locks("w").locks[0].used == 3
    gate.release(3)
    assert daemon.wait("w").workflow.statuses == {"completed": 3}
