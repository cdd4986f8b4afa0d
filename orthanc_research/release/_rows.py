"""What a project remembers, as rows: patients, runs, the series of a plan, and the instances of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["Line", "Named", "RunRow", "State", "Unit"]

# An instance is planned; running: what will be stored is on the disk; stored and verified: the target has it, by its
# digest; done: and all copies were held together.
State = Literal["planned", "running", "stored", "verified", "done", "failed", "conflict", "rolled-back", "deleted"]


@dataclass(frozen=True, slots=True)
class Named:
    """A patient and what stands for them; `first` is the first study date that was seen (yyyymmdd). PHI."""

    identity: str
    issuer: str
    original: str
    pseudonym: str
    days: int
    first: str

    def __repr__(self) -> str:
        return f"<Named {self.pseudonym}>"


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run; `state` is "open", "done", "partial" or "unverified": see `Run.state`."""

    id: int
    started: float
    state: str
    source: Mapping[str, str]
    target: Mapping[str, str]
    profile: str
    profile_hash: str
    options: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Line:
    """A series of a plan; `identity` is the patient's, "" where nobody knows whose it is."""

    row: str
    status: str
    reason: str
    notice: str
    modality: str
    identity: str
    instances: int
    bytes: int
    series: str

    def __repr__(self) -> str:
        return f"<Line {self.status}>"


@dataclass(frozen=True, slots=True)
class Unit:
    """An instance of a run: where it is read, what it becomes, and how far that is."""

    key: str
    row: str
    identity: str
    digest: str
    size: int
    sop: str
    series: str
    study: str
    new_sop: str
    new_series: str
    new_study: str
    absent: bool
    state: State = "planned"
    target_digest: str = ""
    error: str = ""

    def __repr__(self) -> str:
        return f"<Unit {self.new_sop} {self.state}>"
