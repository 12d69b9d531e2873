"""Arrays inside a kernel that nobody counts."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic


@intrinsic  # type: ignore[misc]  # numba has no type information
def borrowed(context: Any, array: Any) -> Any:
    """The same array without its owner: for use within the call that owns it.

    Every function that numba does not inline counts its arrays' references up and down, atomically, at each access to
    a record: several times the work of most of the kernels here. An array without an owner is not counted.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        made = context.make_array(signature.args[0])(context, builder, args[0])
        made.meminfo = ir.Constant(context.get_value_type(types.voidptr), None)
        made.parent = ir.Constant(context.get_value_type(types.pyobject), None)
        return made._getvalue()

    return array(array), codegen
