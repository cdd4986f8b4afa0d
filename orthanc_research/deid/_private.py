"""Private elements: which may stay, by their creator and number (PS3.15 E.3.10)."""

from __future__ import annotations

from pydicom.datadict import private_dictionary_VR

from ._profile import Profile
from ._rules import NUMBERS, Rule
from ._table import Safe, private_elements

__all__ = ["private_rule"]

_NUMERIC = frozenset(("DS", "IS"))
_ACTIONS = {"SQ": "items", "DA": "date", "DT": "date", "TM": "time", "UI": "uid", "AS": "age"}


def private_rule(profile: Profile, creator: str, group: int, number: int, vr: str | None) -> Rule | None:
    """The rule for a private element that is allowed; None for one that goes. `number` is its last byte.

    A VR that the file does not say is the allow-list's or, for what a profile allows, that of pydicom's dictionary.
    """
    name = f"{group:04x},xx{number:02x}"
    safe = private_elements().get((creator, name)) if "retain_safe_private" in profile.options else None
    if safe is None and ((creator, name) not in profile.private or not creator.isascii()):
        return None
    if safe is not None and safe.why.startswith("reduced"):
        return Rule(name, "OB", "csa", "remove", safe.why)
    if safe is not None:
        return _safe(profile, name, safe, vr)
    if vr is None or vr == "UN":
        vr = _private_vr(creator, group, number)
    if vr is None or vr == "PN" or (profile.dates == "remove" and vr in ("DA", "DT", "TM")):
        return None
    return Rule(name, vr, _ACTIONS.get(vr, "keep"), "remove", "a private element that the profile allows")


def _safe(profile: Profile, name: str, safe: Safe, vr: str | None) -> Rule | None:
    """A known element must be of its known kind: a number stays a number, whatever a file calls it."""
    numeric = safe.vr in NUMBERS or safe.vr in _NUMERIC
    found = safe.vr if vr is None or vr == "UN" else vr
    if found != safe.vr and not (numeric and (found in NUMBERS or found in _NUMERIC)):
        return None
    if found == "DT" and profile.dates == "remove":
        return None
    if found in ("CS", "SH"):
        return Rule(name, found, "term", "remove", safe.why)
    if found in ("SQ", "DT"):
        return Rule(name, found, _ACTIONS[found], "remove", safe.why)
    return Rule(name, found, "numbers", "remove", str(safe.vm))


def _private_vr(creator: str, group: int, number: int) -> str | None:
    try:
        vr = private_dictionary_VR(group << 16 | 0x1000 | number, creator)
    except KeyError:
        return None
    return vr if len(vr) == 2 and vr != "UN" else None
