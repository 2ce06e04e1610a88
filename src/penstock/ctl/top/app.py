"""The terminal's side: keys and sizes in, lines out."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from typing import ClassVar, Final

from textual import events
from textual.app import App, ComposeResult
from textual.binding import BindingType
from textual.screen import Screen

from penstock.control.aio import AsyncClient
from penstock.ctl.top.canvas import Canvas
from penstock.ctl.top.draw import drawn
from penstock.ctl.top.feed import Feed
from penstock.ctl.top.hearing import heard, resized
from penstock.ctl.top.line import Line
from penstock.ctl.top.picture import Action, News
from penstock.ctl.top.press import QUIT, Effect, pasted, pressed
from penstock.ctl.top.state import State, focus_of

_NAMED: Final = frozenset({"space", "enter", "tab", "escape", "backspace"})
"""Keys with a character that are known by their name all the same."""


class TopScreen(Screen[None], inherit_bindings=False):
    """One canvas, and no keys of its own."""

    BINDINGS: ClassVar[list[BindingType]] = []
    DEFAULT_CSS = "TopScreen { background: ansi_default; color: ansi_default; }"

    def __init__(self, lines: Callable[[], list[Line]]) -> None:
        super().__init__()
        self._lines = lines

    def compose(self) -> ComposeResult:
        """All there is."""
        yield Canvas()

    def on_mount(self) -> None:
        """Draw for the first time."""
        self.draw()

    def draw(self) -> None:
        """Show what there is to show now."""
        for canvas in self.query(Canvas):
            canvas.show(self._lines())


class TopApp(App[None], inherit_bindings=False):
    """Shows a state, and keeps it up to date by what the daemon tells and what a person presses."""

    BINDINGS: ClassVar[list[BindingType]] = []
    ENABLE_COMMAND_PALETTE = False

    def __init__(self, state: State, make_feed: Callable[[Callable[[News], None]], Feed]) -> None:
        super().__init__(ansi_color=True)
        self.animation_level = "none"
        self.state = state
        self._feed = make_feed(self.hear)

    def get_default_screen(self) -> Screen[None]:
        """The one screen."""
        return TopScreen(lambda: drawn(self.state))

    def on_mount(self) -> None:
        """Begin to talk with the daemon."""
        self._feed.look_at(focus_of(self.state))
        self.run_worker(self._feed.run(), exit_on_error=True)
        if not self.is_headless:
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self.exit)

    def hear(self, news: News) -> None:
        """Take in what the daemon told."""
        self._turn(heard(self.state, news))

    def on_key(self, event: events.Key) -> None:
        """Take in what was pressed."""
        is_character = event.is_printable and event.key not in _NAMED
        state, effect = pressed(self.state, event.character or event.key if is_character else event.key)
        event.stop()
        event.prevent_default()
        self._turn(state)
        self._carry_out(effect)

    def on_paste(self, event: events.Paste) -> None:
        """Take in what was pasted."""
        event.stop()
        self._turn(pasted(self.state, event.text))

    def on_resize(self, event: events.Resize) -> None:
        """Draw for the new size."""
        self._turn(resized(self.state, event.size.width, event.size.height))

    def _carry_out(self, effect: Effect) -> None:
        if effect == QUIT:
            self.exit()
        elif isinstance(effect, Action):
            self.run_worker(self._feed.act(effect), exit_on_error=True)

    def _turn(self, state: State) -> None:
        self.state = state
        self._feed.look_at(focus_of(state))
        if isinstance(self.screen, TopScreen):
            self.screen.draw()


def make_app(client: AsyncClient, state: State, interval_s: float) -> TopApp:
    """The live view of the daemon that `client` knows."""
    return TopApp(state, lambda hear: Feed(client, hear, interval_s))
