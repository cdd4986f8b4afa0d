"""Where a project's key comes from: an environment variable, a file of its owner's, or the keyring of the system."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

from orthanc_research.deid import Key
from orthanc_research.errors import DeidError, QueryError

__all__ = ["key_of", "make_key_file"]

_SERVICE = "orthanc-research"
_FORMS = 'A key is "env:NAME", "file:/path" or "keyring:name", or a Key; never the key itself.'


def key_of(given: str | Key, folder: Path) -> Key:
    """The key; `QueryError` for what names none, `DeidError` for what is there and is none, or is not kept safely."""
    if isinstance(given, Key):
        return given
    if not isinstance(given, str):
        raise QueryError(_FORMS)
    where, _, name = given.partition(":")
    if where == "env" and name:
        text = os.environ.get(name)
        if not text:
            raise QueryError(f"The environment variable {name} is not set: it holds the key.")
    elif where == "file" and name:
        text = _from_file(Path(name).expanduser(), folder)
    elif where == "keyring" and name:
        text = _from_keyring(name)
    else:
        raise QueryError(_FORMS)  # not what was given: it may be the key
    return Key.parse(text)


def make_key_file(path: Path, folder: Path) -> None:
    """A new key in a new file, 0600, outside the project's folder; `QueryError` when the file is there."""
    _check_outside(path, folder)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as stream:
            stream.write(secrets.token_hex(32) + "\n")
            stream.flush()
            os.fsync(stream.fileno())
    except FileExistsError:
        raise QueryError("That key file is there already; a project's key is made once.") from None


def _from_file(path: Path, folder: Path) -> str:
    _check_outside(path, folder)
    try:
        about = path.stat()
        text = path.read_text(encoding="ascii")
    except FileNotFoundError:
        raise QueryError("There is no key file at that path.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DeidError(f"The key file cannot be read ({type(error).__name__}).") from None
    if os.name == "posix" and stat.S_IMODE(about.st_mode) & 0o077:
        raise DeidError("The key file can be read by others: chmod 600 it, and ask whether it is still a secret.")
    return text


def _check_outside(path: Path, folder: Path) -> None:
    if path.resolve().is_relative_to(folder.resolve()):
        raise DeidError("The key file is inside the project's folder: who gets the mapping would get the key with it.")


def _from_keyring(name: str) -> str:
    try:
        import keyring
    except ImportError:
        raise QueryError(
            "Keys from the system's keyring need keyring, which is not installed: pip install keyring."
        ) from None
    try:
        text = keyring.get_password(_SERVICE, name)
    except Exception as error:  # noqa: BLE001 - each backend has its own; none of their words may show
        raise DeidError(f"The keyring of this system does not answer ({type(error).__name__}).") from None
    if not text:
        raise QueryError(f"The keyring has no key of that name under the service {_SERVICE!r}.")
    return str(text)
