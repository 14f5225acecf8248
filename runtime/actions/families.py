"""Which families an operator means: exact names and globs, checked against what is known."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from runtime.common.text import few_names, one_line
from runtime.model import UnknownFamily

if TYPE_CHECKING:
    from runtime.lane.lane_file import Lane

_GLOB = frozenset("*?[")


def matching_families(
    targets: Sequence[str], lane: Lane, also: Collection[str] = (), *, globs_reach_all: bool = False
) -> list[str]:
    """Every family that a target names or matches, once, by name. ``*`` matches ``/`` too.

    ``also``: families that Redis has and the lane lacks; they are reached by their exact name only, unless
    ``globs_reach_all``, for what only looks.
    Raises `UnknownFamily` for each target that matches nothing.
    """
    found: set[str] = set()
    by_glob = {*lane.families, *also} if globs_reach_all else lane.families
    for target in targets:
        if target in also or target in lane.families:
            found.add(target)
        elif _GLOB.intersection(target):
            matched = [name for name in by_glob if fnmatchcase(name, target)]
            if not matched:
                raise UnknownFamily(
                    f"{one_line(target, 100)!r} matches no family of {lane.path}",
                    fix=f"declared are: {few_names(lane.families)}",
                )
            found.update(matched)
        else:
            lane.family(target)
    return sorted(found)
