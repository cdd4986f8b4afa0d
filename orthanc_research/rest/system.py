"""Routes that describe the server."""

from __future__ import annotations

from typing import Any

from orthanc_research.rest._call import Area, Call, M, json_list, json_object, route

__all__ = ["System"]

Json = dict[str, Any]


def system() -> Call[Json]:
    """GET /system: version, name, AET, what it can do. Fields that a version does not report are features it lacks."""
    return Call("GET", ("system",), json_object)


def statistics() -> Call[Json]:
    """GET /statistics: how many patients, studies, series and instances, and their size.

    Sizes in bytes are text ("TotalDiskSize": "39206"), those in MB are whole numbers.
    """
    return Call("GET", ("statistics",), json_object)


def plugins() -> Call[list[str]]:
    """GET /plugins: the names of the plugins that are loaded; "explorer.js" is always among them and is none."""
    return Call("GET", ("plugins",), json_list)


def plugin(name: str) -> Call[Json]:
    """GET /plugins/{name}: {"ID", "Version", "Description", …}; `NotFoundError` when it is not loaded."""
    return Call("GET", ("plugins", name), json_object)


class System(Area[M]):
    """`rest.system`."""

    read = route(system)
    statistics = route(statistics)
    plugins = route(plugins)
    plugin = route(plugin)
