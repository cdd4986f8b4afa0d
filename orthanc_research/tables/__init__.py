"""TEMPORARY stub until the real surface is in place (helper for tables: overwrite this file)."""
from typing import Any
FindPlan = TagsPlan = Any
def _todo(*a: Any, **k: Any) -> Any: raise RuntimeError("tables not there yet")
find_frame = parse_criteria = plan_find = plan_tags = tags_frame = too_long = from_arrow = to_arrow = issues = _todo
