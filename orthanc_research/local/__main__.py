"""`python -m orthanc_research.local [suite or version ...]`: have an Orthanc here, and say which."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from orthanc_research.errors import Error
from orthanc_research.local._find import default_suites, provide
from orthanc_research.progress import Silent

__all__ = ["main"]


class _Lines(Silent):
    """A line a step, for terminals and logs."""

    def note(self, text: str) -> None:
        sys.stderr.write(f"Orthanc: {text}\n")


def main(arguments: Sequence[str]) -> int:
    """Provide each of the suites or versions; `--all` means those that the tests want, nothing means any Orthanc."""
    wanted: Sequence[str | None] = arguments or [None]
    if list(arguments) == ["--all"]:
        wanted = default_suites() or [None]
    try:
        for version in wanted:
            binary = provide(version, progress=_Lines())
            sys.stdout.write(f"Orthanc {binary.version}" + (f" ({binary.suite})\n" if binary.suite else "\n"))
    except Error as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
