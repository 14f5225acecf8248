"""What those items have that a condition was put to and did not find: words, bounded and clean."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from runtime.common.payload import value_at
from runtime.common.text import one_line
from runtime.common.units import count
from runtime.model import FieldMatch, WorkItem

SHOWN = 3
"""The most frequent ones."""
_ERROR_LENGTH, _VALUE_LENGTH = 120, 60


def errors_of(items: Sequence[WorkItem], of: int) -> list[str]:
    """The last errors of ``items``, which were looked at for ``of``."""
    errors = Counter(one_line(item.failures[-1].message, _ERROR_LENGTH) for item in items if item.failures)
    looked = "" if len(items) == of else f" of {len(items):,} looked at"
    lines = [f"{many:,}{looked} failed last with: {why}" for why, many in errors.most_common(SHOWN)]
    rest = len(errors) - SHOWN
    return [*lines, f"and {count(rest, 'other error')}"] if rest > 0 else lines


def values_of(match: FieldMatch, items: Sequence[WorkItem], of: int) -> list[str]:
    """The values of that field in ``items``, which were looked at for ``of``."""
    found = [value_at(item.payload, match.path) for item in items]
    values = Counter("no such field" if value is None else one_line(value, _VALUE_LENGTH) for value in found)
    looked = "" if len(items) == of else " looked at"
    shown = [f"{value} ({many:,}{looked})" for value, many in values.most_common(SHOWN)]
    rest = len(values) - SHOWN
    shown += [count(rest, "other value")] if rest > 0 else []
    return [f"{one_line('.'.join(match.path), _VALUE_LENGTH)} is there: {', '.join(shown)}"] if shown else []
