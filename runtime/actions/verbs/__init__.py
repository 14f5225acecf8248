"""Every verb, one a file. A new file is found by itself: no other list of verbs is kept anywhere."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from pkgutil import iter_modules

from runtime.actions.verb import Verb
from runtime.common.text import few_names, one_line
from runtime.model import UsageError


@cache
def registry() -> Mapping[str, Verb]:
    """Every verb by its name."""
    verbs: dict[str, Verb] = {}
    for module in iter_modules(__path__):
        verb: Verb = import_module(f"{__name__}.{module.name}").VERB
        if verb.name in verbs:
            raise RuntimeError(f"two verbs are called {verb.name}")
        verbs[verb.name] = verb
    return verbs


def verb_of(name: str) -> Verb:
    """Raises `UsageError`: there is no such verb."""
    verb = registry().get(name)
    if verb is None:
        raise UsageError(
            f"{one_line(name, 60)!r} is nothing that can be done", fix=f"there are: {few_names(registry())}"
        )
    return verb
