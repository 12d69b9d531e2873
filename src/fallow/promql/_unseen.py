"""After a gap: how elements that have not been seen again may change what is made of those that have."""

# numba compiles what it infers; the stubs of numpy know neither the fields of records nor scalars out of arrays.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportOperatorIssue=false
# pyright: reportReturnType=false, reportUnnecessaryComparison=false, reportOptionalOperand=false

from __future__ import annotations

from fallow.batch import Int32Array
from fallow.promql import ops
from fallow.promql.ops import PRESENT, UNKNOWN, WARMING
from fallow.series._memory import uncounted
from fallow.series.layout import Records


@uncounted
def _known_in(group: int, slots: Records, groups: Records, members: Int32Array) -> bool:
    """Whether an element of the group is known to be there."""
    for k in range(groups[group].start, groups[group].stop):
        if slots[members[k]].flags & (PRESENT | UNKNOWN) == PRESENT:
            return True
    return False


@uncounted
def allow_for_unseen(i: int, op: int, slots: Records, groups: Records, members: Int32Array) -> None:
    """Make slot i, as just evaluated, unknown where an element that was not seen could change it."""
    a = slots[i].a
    if op == ops.OR:
        if a < 0 or slots[a].flags & (PRESENT | UNKNOWN) != PRESENT:
            slots[i].flags |= UNKNOWN | WARMING
    elif op == ops.ABSENT:
        if slots[i].flags != 0:  # else one is there
            slots[i].flags |= UNKNOWN | WARMING
    elif op == ops.UNLESS:
        if slots[i].flags != 0:  # else there is nothing on the left, or something on the right
            slots[i].flags |= UNKNOWN | WARMING
    elif op == ops.AND or op == ops.WITH_VECTOR:
        if slots[a].flags != 0 and not _known_in(slots[i].b, slots, groups, members):
            slots[i].flags |= UNKNOWN | WARMING
    else:
        slots[i].flags |= UNKNOWN | WARMING
