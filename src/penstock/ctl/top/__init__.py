"""The live view: what goes on, on one screen that keeps itself up to date.

`state` is all that is shown, as a value; `hearing` says what news make of it, `press` what keys do, `draw` what it
looks like. None of them knows a terminal or a daemon: `feed` talks with the daemon, `app` with the terminal.
"""
