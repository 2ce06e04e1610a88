"""Archives elsewhere: any place that fsspec knows, such as S3, beside files here. Credentials are fsspec's business."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from penstock.domain.errors import SpecError, StoreError
from penstock.domain.life_cycle import is_url
from penstock.store.archive_reader import Source, read_head

_PIECE: Final = 4 << 20
_WHOLE_AT_ONCE: Final = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "memory"})
"""Object stores: an object is there as a whole or not at all, so it needs no other name before."""
_SECRET_NAMES: Final = ("SECRET", "TOKEN", "PASSWORD", "KEY")
_SECRET_LEAST: Final = 6
_PIECE_LEAST: Final = 4


@contextlib.contextmanager
def opened(place: str) -> Iterator[Source]:
    """An archive for reading, from its path or URL. FileNotFoundError when it is not there, SpecError otherwise."""
    if not is_url(place):
        try:
            file = Path(place).open("rb")  # noqa: SIM115 - closed below
        except FileNotFoundError:
            raise
        except OSError as error:
            raise SpecError(f"{place} cannot be read: {error.strerror}", key="source") from error
        with file:
            yield file
        return
    with _remote_errors(place, "read"):
        system, path = _system(place)
        with system.open(path, "rb", block_size=_PIECE) as source:
            yield source


def upload(partial: Path, url: str, token: str, size: int, sha256: str) -> None:
    """Puts a file at `url` and reads it back. SpecError when the name is another's, or it cannot be put there."""
    with _remote_errors(url, "written"):
        system, path = _system(url)
        if system.exists(path):
            if not _is_ours(system, path, token):
                raise SpecError(f"{url} exists; choose another destination", key="destination")
        elif urlsplit(url).scheme in _WHOLE_AT_ONCE:
            system.put_file(str(partial), path)
        else:
            system.put_file(str(partial), f"{path}.{token}.partial")
            system.mv(f"{path}.{token}.partial", path)
        system.invalidate_cache()
        found = _digest(system, path)
    if found != (size, sha256):
        raise StoreError(f"{url} does not hold what was put there; nothing was removed here", healable=False)


def _is_ours(system: Any, path: str, token: str) -> bool:
    with contextlib.suppress(StoreError), system.open(path, "rb") as source:
        return read_head(source, path).token == token
    return False


def _digest(system: Any, path: str) -> tuple[int, str]:
    digest, size = hashlib.sha256(), 0
    with system.open(path, "rb", block_size=_PIECE) as source:
        while data := source.read(_PIECE):
            digest.update(data)
            size += len(data)
    return size, digest.hexdigest()


def _system(url: str) -> tuple[Any, str]:
    try:
        import fsspec
    except ImportError:
        message = "archives at URLs need fsspec: pip install 'penstock[remote]' where penstockd is installed"
        raise SpecError(message, key="destination") from None
    try:
        return fsspec.core.url_to_fs(url)  # type: ignore[no-any-return]
    except ImportError as error:
        raise SpecError(f"{url} cannot be used yet: {error} (where penstockd is installed)") from None
    except ValueError:
        scheme = urlsplit(url).scheme
        known = "give a path, or a URL that fsspec knows, such as s3://bucket/folder/"
        raise SpecError(f"{url}: no storage is known for {scheme}://; {known}") from None


@contextlib.contextmanager
def _remote_errors(url: str, done: str) -> Iterator[None]:
    """Whatever a store says goes no further than this, and without what must stay secret."""
    try:
        yield
    except (SpecError, StoreError):
        raise
    except FileNotFoundError as error:
        if done == "read":
            raise
        raise SpecError(f"{url} cannot be {done}: {error}; create what holds it first", key="destination") from None
    except Exception as error:  # noqa: BLE001 - every store has errors of its own
        reason = without_secrets(f"{type(error).__name__}: {error}", os.environ, url)
        raise SpecError(f"{url} cannot be {done}: {reason[:500]}") from None


def without_secrets(text: str, environ: Mapping[str, str], url: str = "") -> str:
    """`text` without the values of variables whose names say that they are secret, and without a password of `url`.

    A store may take a part of the password for something else, and cite that: so the pieces between slashes count, too.
    """
    before_host, at, _ = url.partition("://")[2].rpartition("@")
    password = before_host.partition(":")[2] if at else ""
    for piece in sorted({password, *password.split("/")}, key=len, reverse=True):
        if len(piece) >= _PIECE_LEAST:
            text = text.replace(piece, "***")
    for name, value in environ.items():
        if len(value) >= _SECRET_LEAST and any(word in name.upper() for word in _SECRET_NAMES):
            text = text.replace(value, "***")
    return text
