"""The process that does one job of one tool, as often as it is told to: `python -m benchmarks._worker MODULE:FUNCTION`.

A line of JSON in, a line of JSON out. The module is imported once, and each run calls the function with a server and
the job's arguments; so neither imports nor another tool's memory are in what is measured. With "check" the cells of the
table come, or what tells arrays apart, and nothing is timed.
"""

from __future__ import annotations

import gc
import hashlib
import importlib
import json
import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

__all__ = ["canonical", "checked"]


def main(job: str) -> None:
    """Serve until the input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a tool prints is no answer
    module, _, name = job.partition(":")
    function = getattr(importlib.import_module(module), name)
    before = _resident("VmRSS")
    for line in sys.stdin:
        told = json.loads(line)
        try:
            answer = (checked if told["check"] else _timed)(function, told["server"], told["arguments"])
            answer["before_mb"] = before
        except Exception as error:  # noqa: BLE001 - it is told to the process that asked
            answer = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _timed(function: Any, server: list[str], arguments: dict[str, Any]) -> dict[str, Any]:
    gc.collect()
    _forget_peak()
    start, used = time.perf_counter(), _cpu()
    result = function(*server, **arguments)
    seconds = time.perf_counter() - start
    return {
        "seconds": seconds,
        "cpu": _cpu() - used,
        "peak_mb": _resident("VmHWM"),
        "rows": result if isinstance(result, int) else len(result),
    }


def checked(function: Any, server: list[str], arguments: dict[str, Any]) -> dict[str, Any]:
    """What tells the job's result from another: "cells" of a table, shapes and hashes of arrays, None of a number."""
    result = function(*server, **arguments)
    if isinstance(result, int):
        return {"cells": None}
    return {"cells": _digests(result) if isinstance(result, dict) else _cells(result)}


def _digests(arrays: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Shape and hash of each array as int16; `ValueError` when it holds anything else."""
    import numpy as np

    found = {}
    for name, array in arrays.items():
        values = np.ascontiguousarray(array, dtype="<i2")
        if not np.array_equal(values, array):
            raise ValueError("An array has values that are not int16.")
        found[name] = {"shape": list(values.shape), "hash": hashlib.blake2b(values.data).hexdigest()}
    return found


def _cells(frame: Any) -> dict[str, dict[str, Any]]:
    names = [str(name) for name in frame.columns]
    rows = zip(*(frame[name] for name in frame.columns), strict=True) if names else ([] for _ in frame.index)
    return {
        str(identifier): dict(zip(names, map(canonical, row), strict=True))
        for identifier, row in zip(frame.index, rows, strict=True)
    }


def canonical(value: Any) -> Any:
    """One form for a value and for the DICOM text that it was read from: None, a number, a text, a list of these.

    >>> canonical("20240102") == canonical(pd.Timestamp("2024-01-02"))  # doctest: +SKIP
    True
    """
    if isinstance(value, str):
        parts = value.strip(" \0").split("\\")
        return canonical(parts) if len(parts) > 1 else _plain(parts[0])
    if isinstance(value, list | tuple) or type(value).__name__ == "ndarray":
        values = list(value)
        if any(isinstance(each, dict) for each in values):
            return None
        # What may have several values is a list in our tables, also when it has one.
        return canonical(values[0]) if len(values) == 1 else [canonical(each) for each in values]
    if value is None or type(value).__name__ == "NAType" or value != value:
        return None
    if hasattr(value, "strftime"):
        return _plain(value.strftime("%H%M%S.%f" if type(value).__name__ == "time" else "%Y%m%d"))
    return None if isinstance(value, dict) else _plain(str(value))


def _plain(text: str) -> float | str | None:
    with suppress(ValueError):
        return float(text)
    return text or None


def _cpu() -> float:
    """Seconds of processor time of this process and of its children that have ended."""
    return sum(os.times()[:4])


def _forget_peak() -> None:
    with suppress(OSError):  # Linux only; elsewhere the peak is that of the whole life
        Path("/proc/self/clear_refs").write_text("5")


def _resident(what: str) -> float:
    """MB (10⁶ bytes) of resident memory: "VmRSS" is now, "VmHWM" the peak; elsewhere than on Linux always the peak."""
    with suppress(OSError):
        status = Path("/proc/self/status").read_text()
        return int(status.partition(f"{what}:")[2].split()[0]) * 1024 / 1e6
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


if __name__ == "__main__":
    main(sys.argv[1])
