"""Private elements: which may stay, by their creator and number (PS3.15 E.3.10)."""

from __future__ import annotations

from pydicom.datadict import private_dictionary_VR

from ._profile import Profile
from ._rules import NUMBERS, TEXTS, Rule
from ._table import private_elements

__all__ = ["private_rule"]

_CHECKED = frozenset(("DS", "IS", "CS", "DA", "DT", "TM", "AS", "UI"))
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
    if vr is None or vr == "UN":
        vr = safe.vr if safe is not None else _private_vr(creator, group, number)
    if vr is None or vr == "PN" or (profile.dates == "remove" and vr in ("DA", "DT", "TM")):
        return None
    if safe is not None and vr not in NUMBERS and vr not in TEXTS and vr != "SQ":
        return None
    if safe is not None and vr in TEXTS - _CHECKED:
        return Rule(name, "CS", "keep", "remove", "a private text known to be a code")
    return Rule(name, vr, _ACTIONS.get(vr, "keep"), "remove", "a private element that is allowed")


def _private_vr(creator: str, group: int, number: int) -> str | None:
    try:
        vr = private_dictionary_VR(group << 16 | 0x1000 | number, creator)
    except KeyError:
        return None
    return vr if len(vr) == 2 and vr != "UN" else None
