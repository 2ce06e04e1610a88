"""Commands about locks: locks, locks release."""

from __future__ import annotations

import sys
from typing import Final

import click

from penstock.ctl.options import command, complete_id, id_argument
from penstock.ctl.output import Ctl
from penstock.ctl.text import local_time
from penstock.domain.views import LockHolder, LockInfo, LockWaiter

_NOT_CONFIRMED: Final = 2
_SHOW: Final = "show"


class _Locks(click.Group):
    """What is no command names a workflow."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        words = [arg for arg in args if arg in self.commands or arg in ctx.help_option_names]
        return super().parse_args(ctx, args if words else [_SHOW, *args])


@click.group("locks", cls=_Locks, context_settings={"help_option_names": ["-h", "--help"]})
def locks() -> None:
    """Show locks and shared resources, who holds them and who waits: `locks`, `locks ID`, `locks release NAME`."""


@command(_SHOW)
@id_argument(required=False)
def show(ctl: Ctl, id: str | None) -> None:
    """Show all of them, or what one workflow holds and waits for."""
    reply = ctl.client.locks(id)
    if ctl.json:
        ctl.emit(reply)
        return
    if not reply.locks:
        ctl.note("there are no locks; shared resources are made with [resources.NAME] in the daemon's config.toml")
        return
    columns = ("name", "namespace", ">count", ">used", "holder", ">held", "since", "expires")
    ctl.table(columns, (row for lock in reply.locks for row in _rows(lock)))
    for lock in reply.locks:
        for place, waiter in enumerate(lock.waiting, 1):
            ctl.line(_waits(lock, waiter, place))


@command("release")
@click.argument("name")
@click.option("--holder", required=True, help="Who holds it, as 'penstockctl locks' shows it.")
@click.option("--workflow", "id_", shell_complete=complete_id, help="In whose namespace; default: a shared resource.")
@click.option("--force", is_flag=True, help="Even if attempts that hold it may still run.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
def release(ctl: Ctl, name: str, holder: str, id_: str | None, force: bool, yes: bool) -> int | None:
    """Take a lock from a holder that does not give it back. Whoever waits gets it at once."""
    if not yes and not ctl.json and sys.stdin.isatty() and sys.stdout.isatty():
        ctl.line(f"If {holder} still uses {name}, two use it from now on.")
        if not click.confirm(f"Take {name} from it?"):
            ctl.note("nothing was released")
            return _NOT_CONFIRMED
    reply = ctl.client.release_lock(name, holder, id_, force)
    if ctl.json:
        ctl.emit(reply)
    else:
        ctl.line(f"{name}: {reply.count} taken from {holder}")
    return None


locks.add_command(show)
locks.add_command(release)


def _rows(lock: LockInfo) -> list[tuple[str, ...]]:
    head = (lock.name, lock.namespace or "-", str(lock.count), str(lock.used))
    return [(*head, *_held(holder)) for holder in lock.holders] or [(*head, "-", "-", "-", "-")]


def _held(holder: LockHolder) -> tuple[str, ...]:
    ends = "when its jobs end" if holder.expires_at is None else local_time(holder.expires_at)
    return holder.holder, str(holder.count), local_time(holder.since), ends


def _waits(lock: LockInfo, waiter: LockWaiter, place: int) -> str:
    priority = f", priority {waiter.priority}" if waiter.priority else ""
    return f"{lock.name}: {place}. in line: {waiter.name} for {waiter.count} since {local_time(waiter.since)}{priority}"


COMMANDS: Final = {"locks": locks}
