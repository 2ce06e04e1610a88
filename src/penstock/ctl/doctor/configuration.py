"""The configuration file: which one it is, whether it can be read, who may change it, what the daemon has of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from penstock.control.messages import Pong
from penstock.ctl.doctor.file_facts import FileFacts, look_at, readers, user_name, writers
from penstock.ctl.doctor.finding import note, problem, warning, well
from penstock.ctl.text import local_time
from penstock.daemon.config import Config, load_config
from penstock.domain.errors import SpecError
from penstock.domain.settings import BUILT_IN, find_config
from penstock.domain.views import Finding

_USUAL: Final = "~/.config/penstock/config.toml"
_ROOT: Final = 0


class Configuration(msgspec.Struct, frozen=True):
    """The file that counts (None: there is none), and what it says; `origin` is why it is that one.

    `config` holds the defaults where the file cannot be used; then `error` says why.
    """

    path: str | None
    origin: str
    config: Config
    error: SpecError | None = None
    facts: FileFacts | None = None
    token: str = ""
    token_facts: FileFacts | None = None


def choose_file(option: Path | None, pong: Pong | None, environ: Mapping[str, str]) -> tuple[Path | None, str]:
    """The file to look at and why: the one asked for, else the running daemon's, else the one a daemon would find."""
    if option is not None:
        return option.expanduser().absolute(), "as --config says"
    if pong is not None and pong.config:
        path = None if pong.config == BUILT_IN else Path(pong.config)
        return path, "the running daemon's"
    return find_config(environ), "PENSTOCK_CONFIG" if environ.get("PENSTOCK_CONFIG") else "the usual place"


def read_configuration(path: Path | None, origin: str) -> Configuration:
    """What the file says, or what is wrong with it. OSError where it does not let itself be looked at."""
    if path is None:
        return Configuration(None, origin, load_config(None))
    facts = look_at(path)
    try:
        config = load_config(path)
        config.group_gid()
    except SpecError as error:
        return Configuration(str(path), origin, load_config(None), error, facts)
    token = token_file(config)
    return Configuration(str(path), origin, config, None, facts, token, look_at(Path(token)) if token else None)


def token_file(config: Config) -> str:
    """The file with the word that Prometheus has to say; empty where there is none."""
    given: Any = getattr(config.daemon, "metrics_token_file", "")
    return str(Path(given).expanduser()) if given else ""


def judge_configuration(seen: Configuration, uid: int) -> list[Finding]:
    """What is said of the file itself; `uid` is the daemon's account."""
    if seen.path is None:
        where = (
            f"none ({seen.origin}): every setting is built-in; {_USUAL} would be read, or what PENSTOCK_CONFIG names"
        )
        return [note("file", where)]
    findings = [_contents(seen)]
    if seen.facts is not None:
        findings += _permissions("permissions", seen.facts, uid, "it says which commands are run before every job")
    if seen.token:
        findings += _token(seen, uid)
    return findings


def _contents(seen: Configuration) -> Finding:
    if seen.error is None:
        return well("file", f"{seen.path} ({seen.origin})")
    remedy = "mend it; until then no daemon starts with it, and a running one keeps what it has"
    return problem("file", str(seen.error), remedy)


def _permissions(what: str, facts: FileFacts, uid: int, why: str) -> list[Finding]:
    if facts.uid not in {uid, _ROOT}:
        detail = f"{facts.path} belongs to {user_name(facts.uid)}, not to {user_name(uid)}, and {why}"
        return [problem(what, detail, f"chown {user_name(uid)} {facts.path}")]
    if who := writers(facts):
        detail = f"{who} may change {facts.path} ({facts.permissions}), and {why}"
        mend = "chmod go-w" if who == "everybody" else "unless that is meant: chmod g-w"
        return [(problem if who == "everybody" else warning)(what, detail, f"{mend} {facts.path}")]
    return [well(what, f"{facts.permissions}, {user_name(facts.uid)}'s")]


def _token(seen: Configuration, uid: int) -> list[Finding]:
    what = "metrics token"
    if seen.token_facts is None:
        remedy = "write the word into it (chmod 600), or remove metrics_token_file"
        return [problem(what, f"{seen.token} is not there", remedy)]
    if who := readers(seen.token_facts):
        detail = f"{who} may read {seen.token} ({seen.token_facts.permissions})"
        return [(problem if who == "everybody" else warning)(what, detail, f"chmod go-rwx {seen.token}")]
    return _permissions(what, seen.token_facts, uid, "whoever may change it gets at the metrics")


# ---- beside a running daemon ----------------------------------------------------------------------------------------


def judge_taken_over(seen: Configuration, pong: Pong, clusters: Collection[str]) -> list[Finding]:
    """What the running daemon, which has `clusters`, has of the file."""
    findings = []
    reload = f"kill -HUP {pong.pid} (or systemctl reload); what changes with a restart only, its log says"
    if not pong.config:
        findings.append(note("taken over", "this daemon is too old to say which file it has read"))
    elif seen.path != (None if pong.config == BUILT_IN else pong.config):
        theirs = "none" if pong.config == BUILT_IN else pong.config
        findings.append(note("taken over", f"the running daemon has read another: {theirs}"))
    elif seen.facts is not None and pong.config_read_at is not None and seen.facts.changed_at > pong.config_read_at:
        changed, read = local_time(seen.facts.changed_at), local_time(pong.config_read_at)
        findings.append(warning("taken over", f"changed at {changed}; the daemon has read it at {read}", reload))
    elif seen.path is not None:
        findings.append(well("taken over", f"the daemon has read it at {local_time(pong.config_read_at)}"))
    if seen.error is None and clusters and set(seen.config.clusters) != set(clusters):
        more = _names(set(seen.config.clusters) - set(clusters))
        less = _names(set(clusters) - set(seen.config.clusters))
        said = [f"the daemon does not have {more}"] * bool(more) + [f"it has {less} still"] * bool(less)
        findings.append(warning("clusters", "; ".join(said), "restart the daemon: clusters come and go with it"))
    return findings


def _names(names: Collection[str]) -> str:
    return ", ".join(sorted(names))
