"""What tells several slices at one position apart: time, b-value, echo …; and the order that follows from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

from ._frames import EXTRA_AXES, Frame

__all__ = ["Axes", "axes_of"]

Places = Sequence[Sequence[Frame]]
Values = dict[str, tuple[float, ...]]
Facts = dict[str, float]


@dataclass(frozen=True, slots=True)
class Axes:
    """`names` tell the slices apart; `values` has, by name, one value for each index along the extra axis.

    `values` starts with `names`; further names are of what changes along with them (the b-values of numbered volumes).
    `order[e][s]` is the frame at extra index e and position s.
    """

    names: tuple[str, ...]
    values: Values
    order: tuple[tuple[Frame, ...], ...]


def axes_of(places: Places) -> Axes | None:
    """The axis of places that hold the same number of frames each; None when nothing in the headers names one.

    The first of `EXTRA_AXES` whose distinct values match the count, then of what else the frames say, then two of them
    together, then InstanceNumber where it counts volume by volume or position by position. Sorted by value.
    """
    table = [[_facts(frame) for frame in together] for together in places]
    names = list(dict.fromkeys((*EXTRA_AXES, *table[0][0])))
    for chosen in (*((name,) for name in names), *combinations(names, 2)):
        order = _sorted_by(places, table, chosen)
        if order:
            return Axes(chosen, _values(order, chosen), order)
    order = _ranked(places)
    return Axes(("instance_number",), _values(order, ("instance_number",)), order) if order else None


def _facts(frame: Frame) -> Facts:
    named = ((name, getattr(frame, name)) for name in EXTRA_AXES)
    found = {name: value for name, value in named if value is not None}
    return {**dict(reversed(frame.extra)), **found}


def _sorted_by(
    places: Places, table: Sequence[Sequence[Facts]], chosen: tuple[str, ...]
) -> tuple[tuple[Frame, ...], ...] | None:
    """The frames by the values under these names; None unless every place has each of the same values once."""
    expected: list[tuple[float, ...]] = []
    columns = []
    for together, facts in zip(places, table, strict=True):
        if not all(name in each for each in facts for name in chosen):
            return None
        keyed = {tuple(each[name] for name in chosen): frame for each, frame in zip(facts, together, strict=True)}
        values = sorted(keyed)
        expected = expected or values
        if len(keyed) != len(together) or values != expected:
            return None
        columns.append([keyed[value] for value in values])
    return tuple(zip(*columns, strict=True))


def _ranked(places: Places) -> tuple[tuple[Frame, ...], ...] | None:
    """The frames by their InstanceNumber within each place, when the numbers count in one of the two usual ways.

    Volume by volume: all numbers of one volume are below all of the next. Position by position: likewise, in any order.
    """
    columns = []
    for together in places:
        numbers = {frame.instance_number for frame in together}
        if None in numbers or len(numbers) != len(together):
            return None
        columns.append(sorted(together, key=_number))
    volumes = tuple(zip(*columns, strict=True))
    return volumes if _apart(volumes) or _apart(sorted(columns, key=lambda column: _number(column[0]))) else None


def _number(frame: Frame) -> int:
    return frame.instance_number or 0


def _apart(groups: Sequence[Sequence[Frame]]) -> bool:
    spans = [(min(map(_number, group)), max(map(_number, group))) for group in groups]
    return all(before[1] < after[0] for before, after in pairwise(spans))


def _values(order: Sequence[Sequence[Frame]], names: tuple[str, ...]) -> Values:
    """The values along the axis, those of `names` first; of others, what is one value a volume and not always one."""
    facts = [[_facts(frame) for frame in volume] for volume in order]
    found: Values = {}
    if names == ("instance_number",):
        found["instance_number"] = tuple(float(min(map(_number, volume))) for volume in order)
    for name in dict.fromkeys((*names, *EXTRA_AXES, *facts[0][0])):
        known = tuple(value for volume in facts if (value := _only(volume, name)) is not None)
        if len(known) == len(order) and (name in names or (len(set(known)) > 1 and _speaks(name))):
            found[name] = known
    return found


def _only(volume: Sequence[Facts], name: str) -> float | None:
    values = {facts.get(name) for facts in volume}
    return values.pop() if len(values) == 1 else None


def _speaks(name: str) -> bool:
    """Whether a name says something by itself; the index of a dimension does not."""
    return not name.endswith("_index") and "," not in name
