"""The way to a cluster's SSH server: who it is, by which hops it is reached, and what to do when it is not.

Strict throughout: a host key must be known beforehand, on every hop, and no password is ever asked for or sent.
"""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import anyio
import asyncssh
import msgspec

from penstock.domain.errors import ClusterError

_SYSTEM_KNOWN_HOSTS: Final = "/etc/ssh/ssh_known_hosts"
_SSH_PORT: Final = 22
_CLOSE_S: Final = 2.0
_REFUSALS: Final = (asyncssh.PermissionDenied, asyncssh.KeyExchangeFailed, asyncssh.ProtocolNotSupported)


class SshTarget(msgspec.Struct, frozen=True):
    """How to reach a host. What is not given is as ~/.ssh/config says for `host`, as `ssh HOST` would do it."""

    host: str
    """A name, an address or an alias of the SSH configuration."""
    port: int | None = None
    user: str | None = None
    identity_files: tuple[str, ...] = ()
    known_hosts: str | None = None
    """None: what the configuration says, else ~/.ssh/known_hosts; and the system's."""
    ssh_config: str | None = None
    """None: ~/.ssh/config where there is one."""
    proxy_jump: str | None = None
    """[USER@]HOST[:PORT] to go through; several with commas between, the nearest first."""
    proxy_command: str | None = None
    """A command whose input and output are the connection; %h, %p and %r stand for host, port and user."""
    agent: bool = True
    sessions: int = 8
    """Operations at once; less than the server's MaxSessions (10 by default)."""
    keepalive_s: float = 15.0
    connect_timeout_s: float = 20.0


async def dial(target: SshTarget, lost: Callable[[Exception | None], None]) -> list[asyncssh.SSHClientConnection]:
    """Connections to the hops and, last, to the host; `lost` is called when that one ends, for whatever reason.

    ClusterError: transient when nobody answers, lasting when a person has to do something.
    """
    opened: list[asyncssh.SSHClientConnection] = []
    try:
        await _open(target, opened, lost, ())
    except BaseException:
        await hang_up(opened)
        raise
    return opened


async def hang_up(connections: list[asyncssh.SSHClientConnection]) -> None:
    """Closes connections, the farthest first; one that does not say good-bye in time is dropped."""
    for connection in reversed(connections):
        connection.close()
        with anyio.move_on_after(_CLOSE_S, shield=True):
            await connection.wait_closed()
            continue
        connection.abort()


class _Client(asyncssh.SSHClient):
    """What the connection asks and tells; it remembers the host key that nobody knew."""

    def __init__(self, lost: Callable[[Exception | None], None]) -> None:
        self._lost = lost
        self.unknown: asyncssh.SSHKey | None = None

    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:  # noqa: ARG002
        """Called for a key that is not among the known ones."""
        self.unknown = key
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost(exc)


async def _open(
    target: SshTarget,
    opened: list[asyncssh.SSHClientConnection],
    lost: Callable[[Exception | None], None],
    through: tuple[str, ...],
) -> None:
    """Opens the connection to `target` by the last of `opened`, or else by the hops it names."""
    settings = _settings(target)
    with _configuration_errors(target):
        options = await asyncssh.SSHClientConnectionOptions.construct(**settings)
        known_hosts = await anyio.to_thread.run_sync(_known_hosts, target, options.known_hosts)
    if not opened:
        for hop in _hops(target, options.tunnel):
            if hop.host not in {*through, target.host}:  # `Host *` with a ProxyJump means the jump host, too
                await _open(hop, opened, _nobody, (*through, target.host))
    client = _Client(lost)
    settings |= {
        "client_factory": lambda: client,
        "known_hosts": known_hosts,
        "tunnel": opened[-1] if opened else None,
        "proxy_command": None if opened else _proxy_argv(target, options),
    }
    try:
        opened.append(await asyncssh.connect(**settings))
    except (OSError, TimeoutError, asyncssh.Error, ValueError) as error:
        raise _why_not(target, options, client, known_hosts, error) from error


def _settings(target: SshTarget) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "host": target.host,
        "password": None,
        "password_auth": False,
        "kbdint_auth": False,
        "host_based_auth": False,
        "agent_forwarding": False,
        "keepalive_interval": target.keepalive_s,
        "connect_timeout": target.connect_timeout_s,
    }
    given = {
        "port": target.port,
        "username": target.user,
        "client_keys": [str(Path(file).expanduser()) for file in target.identity_files] or None,
        "config": [str(Path(target.ssh_config).expanduser())] if target.ssh_config else None,
    }
    settings |= {key: value for key, value in given.items() if value is not None}
    return settings if target.agent else settings | {"agent_path": None}


def _known_hosts(target: SshTarget, configured: object) -> bytes:
    """The content of all files of known hosts. asyncssh would take none at all as leave to trust anybody."""
    if target.known_hosts is not None:
        return Path(target.known_hosts).expanduser().read_bytes()
    files = [str(file) for file in configured] if isinstance(configured, list | tuple) else []
    files = [*(files or ["~/.ssh/known_hosts", "~/.ssh/known_hosts2"]), _SYSTEM_KNOWN_HOSTS]
    paths = [Path(file).expanduser() for file in files]
    return b"\n".join([path.read_bytes() for path in paths if path.is_file()]) + b"\n"


def _hops(target: SshTarget, configured: object) -> Iterator[SshTarget]:
    if target.proxy_command is not None:
        return
    hops = target.proxy_jump if target.proxy_jump is not None else configured
    if not isinstance(hops, str) or not hops:
        return
    for hop in hops.split(","):
        user, _, place = hop.strip().rpartition("@")
        host, port = place, ""
        if not place.endswith("]") and place.count(":") != 2 and ":" in place:
            host, _, port = place.rpartition(":")
        if port and not port.isdecimal():
            raise ClusterError(f"{target.host}: the jump host {hop!r} is not [USER@]HOST[:PORT]", transient=False)
        yield msgspec.structs.replace(
            target, host=host.strip("[]"), port=int(port) if port else None, user=user or None, proxy_jump=None
        )


def _proxy_argv(target: SshTarget, options: asyncssh.SSHClientConnectionOptions) -> list[str] | None:
    """The proxy command as asyncssh runs it.

    asyncssh takes its stderr for the server's words and the end of that for the end of the connection. So the command
    gets another stderr, and a shell keeps the first one open as long as it runs.
    """
    if target.proxy_command is not None:
        words = {"%h": options.host, "%p": str(options.port), "%r": options.username, "%%": "%"}
        argv = [_replaced(word, words) for word in shlex.split(target.proxy_command)]
    else:
        argv = [str(word) for word in options.proxy_command or ()]
    return ["/bin/sh", "-c", '"$@" 2>/dev/null; exit', "sh", *argv] if argv else None


def _replaced(word: str, by: dict[str, str]) -> str:
    head, sign, rest = word.partition("%")
    if not sign:
        return head
    return head + by.get(sign + rest[:1], sign + rest[:1]) + _replaced(rest[1:], by)


def _nobody(_: Exception | None) -> None:
    """A hop that is lost takes the last connection with it, which tells."""


@contextlib.contextmanager
def _configuration_errors(target: SshTarget) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, asyncssh.Error) as error:
        where = target.ssh_config or "~/.ssh/config"
        raise ClusterError(
            f"{target.host}: the settings for SSH cannot be used: {error}. Look at this cluster's settings and at"
            f" {where}; a key with a passphrase belongs into ssh-agent (`ssh-add FILE`)",
            transient=False,
        ) from error


def _why_not(
    target: SshTarget,
    options: asyncssh.SSHClientConnectionOptions,
    client: _Client,
    known_hosts: bytes,
    error: Exception,
) -> ClusterError:
    place = f"{target.host} ({options.username}@{options.host} port {options.port})"
    command = _ssh_command(target)
    if isinstance(error, asyncssh.HostKeyNotVerifiable):
        advice = _host_key_advice(target, options, client, known_hosts, error)
        return ClusterError(f"{place}: {advice}", transient=False)
    if isinstance(error, asyncssh.PermissionDenied):
        text = (
            f"{place} accepts no key it was offered. Make `{command}` work without a password: put the public key into"
            f" ~/.ssh/authorized_keys there, add the key to ssh-agent or name it as identity file; a second factor"
            f" needs a proxy command"
        )
    elif isinstance(error, TimeoutError):
        text = f"{place} did not answer within {target.connect_timeout_s:g} s"
    else:
        text = f"{place} cannot be connected to: {str(error) or type(error).__name__}"
    lasting = isinstance(error, (*_REFUSALS, ValueError)) and not isinstance(error, OSError)
    return ClusterError(text, transient=not lasting)


def _host_key_advice(
    target: SshTarget,
    options: asyncssh.SSHClientConnectionOptions,
    client: _Client,
    known_hosts: bytes,
    error: Exception,
) -> str:
    key, command = client.unknown, _ssh_command(target)
    if key is None:  # a certificate, or a key that was revoked
        return f"its host key is refused: {error}. Ask its administrators, then make `{command}` work by hand"
    name = options.host_key_alias or options.host
    entry = name if options.port == _SSH_PORT else f"[{name}]:{options.port}"
    public = key.export_public_key().decode().strip()
    line = " ".join([entry, *public.split()[:2]])
    file = target.known_hosts or "~/.ssh/known_hosts"
    port = None if options.port == _SSH_PORT else options.port
    if any(asyncssh.match_known_hosts(known_hosts, name, "", port)[:2]):
        return (
            f"its host key has CHANGED; it now shows {key.get_fingerprint()}. Somebody may be in between: ask its"
            f" administrators for the fingerprint. If it is right, remove the old key with"
            f" `ssh-keygen -f {shlex.quote(file)} -R {shlex.quote(entry)}` and run `{command}` once by hand"
        )
    return (
        f"its host key {key.get_fingerprint()} is not known. Compare the fingerprint with the one its administrators"
        f" give, then run `{command}` once by hand, or add this line to {file}: {line}"
    )


def _ssh_command(target: SshTarget) -> str:
    """What a person types to get there the same way."""
    argv = ["ssh"]
    argv += ["-F", target.ssh_config] if target.ssh_config else []
    argv += ["-p", str(target.port)] if target.port else []
    argv += ["-J", target.proxy_jump] if target.proxy_jump else []
    argv += ["-o", f"UserKnownHostsFile={target.known_hosts}"] if target.known_hosts else []
    argv += ["-o", f"ProxyCommand={target.proxy_command}"] if target.proxy_command else []
    return shlex.join([*argv, f"{target.user}@{target.host}" if target.user else target.host])
