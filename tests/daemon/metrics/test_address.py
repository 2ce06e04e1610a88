"""Where metrics are served, and what a token's file must be."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from penstock.daemon.config import Config, DaemonTable, parse_config
from penstock.daemon.metrics.address import MetricsAddress, Token, check_privacy, parse_address, read_token
from penstock.domain.errors import SpecError

WORD = "0123456789abcdef"


@pytest.mark.parametrize(
    ("text", "address", "private"),
    [
        ("127.0.0.1:9464", MetricsAddress("127.0.0.1", 9464), True),
        ("127.8.0.1:1", MetricsAddress("127.8.0.1", 1), True),
        ("localhost:1", MetricsAddress("localhost", 1), True),
        ("[::1]:80", MetricsAddress("::1", 80), True),
        ("unix:/run/p/m.sock", MetricsAddress(path="/run/p/m.sock"), True),
        ("0.0.0.0:9464", MetricsAddress("0.0.0.0", 9464), False),
        ("[::]:80", MetricsAddress("::", 80), False),
        ("10.0.0.7:9464", MetricsAddress("10.0.0.7", 9464), False),
        ("head.example.org:9464", MetricsAddress("head.example.org", 9464), False),
    ],
)
def test_addresses(text: str, address: MetricsAddress, private: bool) -> None:
    assert (parse_address(text), str(address), address.is_private) == (address, text, private)
    check_privacy(address, has_token=True)
    if not private:
        with pytest.raises(SpecError, match=r"can be reached from other machines.*127\.0\.0\.1.*metrics_token_file"):
            check_privacy(address, has_token=False)


@pytest.mark.parametrize(
    "text", ["9464", ":9464", "here:http", "::1:80", "[::1]80", "a:99999", "a:²", "unix:run/m.sock", "unix:", "[]:1"]
)
def test_no_addresses(text: str) -> None:
    with pytest.raises(SpecError, match=r"is not an (address|absolute path); write it like"):
        parse_address(text)


def test_an_open_address_is_refused_with_the_place_in_the_file() -> None:
    with pytest.raises(SpecError, match=r"c\.toml:2: daemon\.metrics: 0\.0\.0\.0:1 can be reached"):
        parse_config("[daemon]\nmetrics = '0.0.0.0:1'\n", "c.toml")
    parse_config("[daemon]\nmetrics = '0.0.0.0:1'\nmetrics_token_file = '/t'\n", "c.toml")
    with pytest.raises(SpecError, match=r"c\.toml:2: daemon\.metrics_workflows: must be between 0 and 10000"):
        parse_config("[daemon]\nmetrics_workflows = -1\n", "c.toml")


def test_a_token_fits_or_not(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text(f"{WORD}\n")
    path.chmod(0o640)
    token = read_token(path)
    assert token.fits(f"Bearer {WORD}")
    for wrong in (None, "", WORD, f"bearer {WORD}", f"Bearer {WORD}0", f"Basic {WORD}", "Bearer é", "Bearer \udcff"):
        assert not token.fits(wrong)
    assert WORD not in repr(token)
    assert isinstance(Config(DaemonTable(metrics_token_file=str(path))).metrics_token(), Token)
    assert Config().metrics_token() is None


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o606, 0o620, 0o666])
def test_a_token_that_others_can_read_is_none(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "token"
    path.write_text(WORD)
    path.chmod(mode)
    with pytest.raises(SpecError, match=rf"is open to others \(mode {mode:04o}\); chmod 600") as caught:
        read_token(path)
    assert WORD not in str(caught.value)


@pytest.mark.parametrize("content", ["", "zu-kurz", "two words of it here", "a" * 5000, "ümläüte-sind-keine-zeichen"])
def test_what_is_no_token(tmp_path: Path, content: str) -> None:
    path = tmp_path / "token"
    path.write_text(content)
    path.chmod(0o600)
    with pytest.raises(SpecError, match=r"openssl rand") as caught:
        Config(DaemonTable(metrics_token_file=str(path))).metrics_token()
    assert caught.value.key == "daemon.metrics_token_file"
    assert not content or content not in str(caught.value)


def test_a_token_that_is_not_there_or_no_file(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="No such file"):
        read_token(tmp_path / "none")
    with pytest.raises(SpecError, match="is no file"):
        read_token(tmp_path)
    os.mkfifo(tmp_path / "fifo", 0o600)
    with pytest.raises(SpecError, match="is no file"):
        read_token(tmp_path / "fifo")


@pytest.mark.parametrize("path", ["~nosuch-user/token", "/t\0oken"])
def test_what_is_no_path_for_a_token(path: str) -> None:
    with pytest.raises(SpecError, match="is no path") as caught:
        Config(DaemonTable(metrics_token_file=path)).metrics_token()
    assert caught.value.key == "daemon.metrics_token_file"


def test_a_token_that_root_has_made_for_the_daemon_s_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new one would not help."""

    def refuse(*_: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(SpecError, match=rf"cannot be read by .*; chown {os.geteuid()} {tmp_path}/token$"):
        read_token(tmp_path / "token")
