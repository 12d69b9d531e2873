"""What kernels say about memory: arrays that nobody counts, and words that will be needed soon."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from llvmlite import ir  # type: ignore[import-untyped]  # it has none
from numba import njit
from numba.core import types
from numba.extending import intrinsic


def _borrowed(context: Any, array: Any) -> Any:
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


def _prefetch(context: Any, array: Any, index: Any) -> Any:
    """Let the cache line of array[index] be fetched meanwhile: the state of many series is in no cache when they come."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        made = context.make_array(signature.args[0])(context, builder, args[0])
        size = context.get_abi_sizeof(context.get_data_type(signature.args[0].dtype))
        pointer, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        first = builder.bitcast(made.data, pointer)
        where = builder.gep(first, [builder.mul(args[1], ir.Constant(args[1].type, size))])
        kind = ir.FunctionType(ir.VoidType(), [pointer, number, number, number])
        function = builder.module.declare_intrinsic("llvm.prefetch", [pointer], kind)
        builder.call(function, [where, number(1), number(3), number(1)])  # to write, into every cache, data
        return context.get_dummy_value()

    return types.void(array, types.int64), codegen


# numba calls them with fewer arguments than Python would.
borrowed: Any = intrinsic(_borrowed)
prefetch: Any = intrinsic(_prefetch)

Kernel = TypeVar("Kernel", bound=Callable[..., Any])
_BARE: dict[str, Any] = {"_nrt": False}
_WITH_ARRAYS: dict[str, Any] = {"_nrt": True}


def uncounted(kernel: Kernel) -> Kernel:
    """Compile a kernel that makes no arrays and that Python does not call: it does not count references to those that it is
    given, nor does what it calls.
    """
    return cast("Kernel", njit(cache=True, nogil=True, error_model="numpy", **_BARE)(kernel))


part = njit(nogil=True, error_model="numpy", inline="always")
"""What is compiled into the kernels that call it: a call hands over every word of every array's description."""


def counted(kernel: Kernel) -> Kernel:
    """Compile one that makes arrays and is called by such a one."""
    return cast("Kernel", njit(cache=True, nogil=True, error_model="numpy", **_WITH_ARRAYS)(kernel))
