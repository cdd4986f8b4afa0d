"""Batches in a process of their own, which a signal ends at some request: what it does, and when it is ended."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import sys
import threading
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import pandas as pd

import orthanc_research as ores
from faults.proxy import Exchange, Fault
from orthanc_research.batch import _archive

_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload(["orthanc_research", "pydicom"])  # a child is there in milliseconds then


def start(verb: str, url: str, auth: tuple[str, str] | None, folder: Path) -> BaseProcess:
    """A child that runs the batch; `folder` has what it reads and gets what it writes."""
    child = _forks.Process(target=_run, args=(verb, url, auth, str(folder)))
    child.start()
    return child


def _run(verb: str, url: str, auth: tuple[str, str] | None, folder: str) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
    with ores.Orthanc(url, auth=auth) as orthanc:
        act(orthanc, verb, Path(folder))


def act(orthanc: ores.Orthanc, verb: str, folder: Path) -> pd.DataFrame:
    """Do it, the same way each time."""
    if verb == "upload":
        return orthanc.upload(folder / "files", progress=False)
    if verb == "download":
        return orthanc.download(orthanc.series(), folder / "out", progress=False)
    if verb == "export":
        series = orthanc.series()
        forms = ("parquet", "npy", "npz")
        return pd.concat([orthanc.export(series, folder / "out", format=form, progress=False) for form in forms])
    if verb in ("archive", "archive-large"):
        _archive._LARGE = 100 if verb == "archive-large" else _archive._LARGE
        return orthanc.archive(orthanc.series(), folder / "out" / "all.zip", overwrite=True, progress=False)
    if verb == "retrieve":
        table, journal = folder / "table.csv", folder / "journal"
        return orthanc.retrieve(table, modality="odd", journal=journal, progress=False)
    if verb == "build":
        recipe = ores.Recipe.load(folder / "recipe.toml")
        return recipe.plan(orthanc, progress=False).build(folder / "out", progress=False).status
    studies = (folder / "studies").read_text().split()
    if verb == "anonymize":
        return orthanc.anonymize(studies, window=1, journal=folder / "journal", progress=False)
    return orthanc.modify(
        studies, {"StudyDescription": "changed"}, window=1, journal=folder / "journal", progress=False
    )


class Ending:
    """A script that ends a process with `number` at its n-th request: before it, after it, or soon after its answer."""

    def __init__(self, number: signal.Signals, at: int, draw: random.Random) -> None:
        self._number = number
        self._at = at
        self._kind = draw.choice(("before", "after", "then"))
        self._pause = draw.uniform(0, 0.03)
        self._guard = threading.Lock()
        self._count = 0
        self.child: BaseProcess | None = None
        self.ended = 0.0  # when
        self.over = False  # the process is done; what else is asked is not its business

    def __call__(self, request: bytes) -> Fault | None:
        with self._guard:
            self._count += 1
            if self._count != self._at or self.over:
                return None
        return self._fault

    def _fault(self, exchange: Exchange) -> None:
        if self._kind != "before":
            assert exchange.answer
        if self._kind == "then":
            exchange.peer.sendall(exchange.answer)
            time.sleep(self._pause)
        self._end()

    def _end(self) -> None:
        while self.child is None or self.child.pid is None:
            time.sleep(0.001)
        if self.child.is_alive():
            self.ended = time.monotonic()
            os.kill(self.child.pid, self._number)
