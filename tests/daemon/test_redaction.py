"""No secret is in a line, whatever it is wrapped in."""

from __future__ import annotations

import json
import string
import time
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.daemon.redaction import HIDDEN, Redactor, secrets_of

SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLE="
SECRETS = st.text(string.ascii_letters + string.digits + "+/=_.~%", min_size=8, max_size=60).filter(
    lambda text: len(set(text)) > 4
)
AROUND = st.text(max_size=40)
KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEA\nAAAAbm9uZQ==\n-----END OPENSSH PRIVATE KEY-----"
WRAPPED = (
    "s3://user:{}@bucket/path",
    "https://{}@host.example.org/x",
    "postgresql+psycopg://me:{}@db:5432/x",
    "AWS_SECRET_ACCESS_KEY={}",
    "AWS_SECRET_ACCESS_KEY='{}'",
    "{{'password': '{}', 'user': 'me'}}",
    '{{"api_key": "{}"}}',
    '{{\\"token\\": \\"{}\\"}}',
    "password: {}",
    "x-amz-signature={}&x=1",
    "Authorization: Bearer {}",
    "Authorization: Basic {}",
    "sent bearer {} to it",
    "session_cookie={}",
    "password=b'{}'",
    "sshpass --password {} ssh host",
    "['tool', '--api-key', '{}', 'x']",
    "https://me.blob.core.windows.net/c/x?sv=2022&sig={}&se=2026",
)


@pytest.mark.parametrize("wrapping", WRAPPED)
@given(secret=SECRETS, before=AROUND, after=AROUND)
def test_what_looks_like_a_secret_is_hidden_in_any_text(wrapping: str, secret: str, before: str, after: str) -> None:
    if wrapping.startswith("https://{}@"):  # alone it cannot be told from the path of a URL with an @ in it
        secret = secret.replace("/", "-")
    text = f"{before} {wrapping.format(secret)} {after}"
    shown = Redactor().text(text)
    left = Redactor().text(f"{before}  {after}")
    assert shown.count(secret) <= left.count(secret) + wrapping.count(secret)  # which may be one of its own words
    assert HIDDEN in shown


@given(secret=SECRETS, before=AROUND, after=AROUND)
def test_a_value_of_the_environment_is_hidden_wherever_it_stands(secret: str, before: str, after: str) -> None:
    redactor = Redactor(secrets_of({"SITE_PASSWORD": secret}))
    assert secret not in redactor.text(f"{before}{secret}{after}").replace(HIDDEN, "")


@given(before=AROUND, after=AROUND)
def test_private_keys_are_hidden_whole_or_cut_off(before: str, after: str) -> None:
    for key in (KEY, KEY[:70], repr(KEY), KEY.replace("OPENSSH ", ""), KEY.replace("OPENSSH", "RSA")):
        shown = Redactor().text(f"{before}{key}{after}")
        assert "b3BlbnNzaC1rZXk" not in shown


def test_a_password_in_a_url_may_hold_its_signs() -> None:
    for password in ("p@ss", "p@s:s@", "a/b@c", "@@"):
        assert Redactor().text(f"to postgres://me:{password}@db:5432/x") == f"to postgres://{HIDDEN}@db:5432/x"


@pytest.mark.parametrize(
    "token",
    [
        "ghp_" + "a1B2" * 9,
        "glpat-abcdefghij0123456789",
        "AKIAIOSFODNN7EXAMPLE",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dBjftJeZ4CVPmB92K27uhbUJU1p1r",
    ],
)
def test_tokens_that_are_known_by_their_looks(token: str) -> None:
    assert token not in Redactor().text(f"it said {token}, and left")


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=10), PLAIN, max_size=5), SECRETS)
def test_what_is_called_a_secret_is_hidden_as_a_whole_and_all_is_json(fields: dict[str, Any], secret: str) -> None:
    inner = {**fields, "db_password": {"a": [secret]}, "Authorization": secret.encode(), "nested": [{"token": secret}]}
    shown = json.dumps(Redactor().fields(inner))
    rest = json.dumps(Redactor().fields(fields))
    assert shown.count(secret) <= rest.count(secret)


class Odd(Enum):
    """What is no string."""

    ONE = "one"


class Unshowable:
    """Its repr fails."""

    def __repr__(self) -> str:
        raise RuntimeError("no")


def test_other_values_become_plain_ones_of_bounded_length() -> None:
    deep: dict[str, Any] = {"end": 1}
    for _ in range(20):
        deep = {"deeper": deep}
    plain = Redactor().fields(
        {
            "path": Path("/a/b"),
            "error": ValueError("so"),
            "odd": Odd.ONE,
            "set": {1},
            "huge": 10**5000,
            "bad": Unshowable(),
            "long": "x" * 3_000_000,
            "many": list(range(1000)),
            "deep": deep,
            "undecodable": "a\udc80b",
        }
    )
    assert (plain["path"], plain["error"], plain["odd"], plain["set"]) == ("/a/b", "so", "one", [1])
    assert plain["undecodable"] == "a\\udc80b"
    assert "cannot be shown" in plain["bad"]
    assert len(json.dumps(plain)) < 30_000


def test_what_is_innocent_stays_as_it_is() -> None:
    for text in (
        "s3://bucket/archives/g2.tar.zst",
        "ssh://login.example.org:22/x",
        "sbatch: error: Batch job submission failed: Invalid account",
        "basis set def2-SVP; SCF did not converge in 125 cycles",
        "unrecognized option --passive; sigma=0.01 in x?a=1",
        "/home/me/work/.penstock/g2: No such file or directory",
    ):
        assert Redactor().text(text) == text
    assert Redactor().fields({"job": 3, "password": "", "token": None}) == {"job": 3, "password": "", "token": None}


def test_a_key_that_names_a_file_hides_neither_its_path_nor_what_is_said_of_it() -> None:
    for text in (
        "daemon.metrics_token_file: the token's file /x is open to others (mode 0644); chmod 600 /x",
        "METRICS_TOKEN_FILE=/etc/penstock/token",
        '{"password_file": "/etc/p", "secret_path": "/etc/s"}',
    ):
        assert Redactor().text(text) == text
    fields = {"metrics_token_file": "/etc/penstock/token", "password_path": Path("/etc/p")}
    assert Redactor().fields(fields) == {"metrics_token_file": "/etc/penstock/token", "password_path": "/etc/p"}


@pytest.mark.parametrize(
    "text",
    [
        "token_file: token={}",
        "token_file=/x token={}",
        "token_file='/x', 'password': '{}'",
        "password_path: https://me:{}@host/x",
        "token_file: Authorization: Basic {}",
        "token_file: bearer {}",
        "token_file_text: {}",
        "token_files={}",
        "file_token={}",
        "profile_password: {}",
        "token.file: {}",
    ],
)
@given(secret=SECRETS)
def test_a_secret_beside_such_a_key_is_hidden(text: str, secret: str) -> None:
    secret = secret.replace("/", "-")  # of a URL
    shown = Redactor().text(text.format(secret))
    assert shown.count(secret) <= text.count(secret)
    assert HIDDEN in shown


def test_a_field_that_names_a_file_and_holds_more_is_hidden() -> None:
    assert Redactor().fields({"token_file": {"text": SECRET}, "token_path": [SECRET]}) == {
        "token_file": HIDDEN,
        "token_path": HIDDEN,
    }
    shown = Redactor({SECRET}).fields({"token_file": SECRET})
    assert SECRET not in str(shown)


def test_where_a_secret_is_kept_is_none() -> None:
    environ = {
        "METRICS_TOKEN_FILE": "/etc/penstock/token",
        "API_TOKEN": "abcdefgh12",
        "SITE_KEY": "abcdefgh34",
        "PASSWORD": "short",
        "HOME": "/x" * 9,
    }
    assert secrets_of(environ) == {"abcdefgh12", "abcdefgh34"}


@pytest.mark.parametrize(
    "piece", ["://", "://a:", "token", 'token="', "token='x ", "-----BEGIN PRIVATE KEY-----", "eyJ.", "password=\\"]
)
def test_a_hostile_text_takes_no_time_to_speak_of(piece: str) -> None:
    text = piece * (200_000 // len(piece))
    began = time.process_time()
    Redactor().text(text)
    assert time.process_time() - began < 5.0  # unbounded patterns would take hours
