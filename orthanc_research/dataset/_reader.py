"""One table of a recipe, read key by key: types, words, unknown keys; every refusal names its line."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NoReturn

from orthanc_research.errors import DatasetError, Error

__all__ = ["CREDENTIALS", "Problems", "Table"]

_NAME = re.compile(r"[A-Za-z0-9_.,-]{1,64}")
_REFERENCE = re.compile(r"env:[A-Za-z_][A-Za-z0-9_]{0,127}", re.ASCII)
# user:password in front of a host, wherever it stands
CREDENTIALS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/\s@]*@")


class Problems:
    """Makes the errors of one recipe: its name, and the line of each key."""

    def __init__(self, name: str, lines: Mapping[tuple[str, ...], int]) -> None:
        self._name = name
        self._lines = lines

    def error(self, path: Sequence[str], sentence: str) -> DatasetError:
        """`recipe.toml:12: …`, at the line of the key or of the nearest one above it."""
        steps = [tuple(path[:end]) for end in range(len(path), 0, -1)]
        line = next((self._lines[step] for step in steps if step in self._lines), 1)
        return DatasetError(f"{self._name}:{line}: {sentence}")


class Table:
    """The values of one table; each is taken once, and what nobody takes is refused by `close`."""

    def __init__(self, values: Any, path: Sequence[str], problems: Problems) -> None:
        self._path = tuple(path)
        self._problems = problems
        self._known: list[str] = []
        if not isinstance(values, Mapping):
            self.refuse(None, "this should be a table.")
        self._values: Mapping[str, Any] = values

    def refuse(self, key: str | None, sentence: str) -> NoReturn:
        """Raise the error of a key, or of the table."""
        raise self._problems.error((*self._path, key) if key else self._path, f"{self._title(key)}: {sentence}")

    def _title(self, key: str | None) -> str:
        named = ".".join(part for part in (*self._path, key or "") if part and not part.isdigit())
        return named if re.fullmatch(r"[\w.,-]*", named) else "this key"

    def get(self, key: str) -> Any:
        """The value as TOML has it, None when it is not there."""
        self._known.append(key)
        value = self._values.get(key)
        if isinstance(value, str) and CREDENTIALS.search(value):
            self.refuse(key, "a recipe holds no user, password or token; name an environment variable, as env:NAME.")
        return value

    def has(self, key: str) -> bool:
        """Whether the key is there."""
        return key in self._values

    def keys(self) -> tuple[str, ...]:
        """The keys that are there."""
        return tuple(self._values)

    def table(self, key: str) -> Table:
        """A table in this one, empty when it is not there."""
        value = self.get(key)
        return Table({} if value is None else value, (*self._path, key), self._problems)

    def text(self, key: str, default: str | None = None, *, longest: int = 200) -> str:
        """A text of one line; required without a default."""
        value = self.get(key)
        if value is None:
            if default is None:
                self.refuse(key, "it is missing.")
            return default
        if not isinstance(value, str) or not value.strip():
            self.refuse(key, "this should be a text in quotes.")
        if len(value) > longest or any(ord(each) < 32 or ord(each) == 127 for each in value):
            self.refuse(key, f"this should be one line of at most {longest} characters.")
        return value

    def word(self, key: str, words: Collection[str], default: str) -> str:
        """One of these words."""
        value = self.get(key)
        if value is None:
            return default
        if not isinstance(value, str) or value not in words:
            near = difflib.get_close_matches(value, list(words), n=1) if isinstance(value, str) else []
            self.refuse(key, f"choose from {', '.join(words)}{f'; did you mean {near[0]}?' if near else '.'}")
        return value

    def flag(self, key: str, *, default: bool) -> bool:
        """True or false."""
        value = self.get(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            self.refuse(key, "this should be true or false.")
        return value

    def whole(self, key: str, default: int | None, low: int, high: int) -> int | None:
        """A whole number between two others."""
        value = self.get(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            self.refuse(key, f"this should be a whole number from {low} to {high}.")
        return value

    def texts(self, key: str, words: Collection[str] | None = None) -> tuple[str, ...]:
        """A list of texts, none of them twice; of these words, where there are any."""
        value = self.get(key)
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(each, str) and each for each in value):
            self.refuse(key, "this should be a list of texts in quotes.")
        if len(set(value)) < len(value):
            self.refuse(key, "something stands in it twice.")
        if words is not None and not set(value) <= set(words):
            self.refuse(key, f"choose from {', '.join(words)}.")
        return tuple(value)

    def reference(self, key: str, *, required: bool = False) -> str | None:
        """`env:NAME`, never the value itself, which is not repeated."""
        value = self.get(key)
        if value is None and not required:
            return None
        if not isinstance(value, str) or not _REFERENCE.fullmatch(value):
            self.refuse(key, "a recipe holds references only: write env:NAME, and set that environment variable.")
        return value

    def checked(self, key: str, check: Callable[[], Any]) -> Any:
        """What `check` gives; its error becomes one of this key."""
        try:
            return check()
        except Error as error:
            sentence = str(error)
        return self.refuse(key, sentence)

    def close(self) -> None:
        """Refuse what nobody asked for, with the nearest key that there is."""
        for key in self._values:
            if key in self._known:
                continue
            near = difflib.get_close_matches(str(key), self._known, n=1, cutoff=0.6)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(self._known)}."
            named = f"there is no {key} here" if _NAME.fullmatch(str(key)) else "there is no such key"
            raise self._problems.error((*self._path, str(key)), f"{self._title(None) or 'a recipe'}: {named}; {hint}")
