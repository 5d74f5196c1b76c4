"""Sixteen float32 side by side as one value inside kernels: what the compiler turns into SIMD registers.

A loop over 16 lanes is left to the mercy of the loop vectoriser, which checks at run time whether its rows
overlap and needs longer loops to win. Here the sixteen lanes are one value of LLVM's own vector type,
portable to every processor that numba supports (one AVX-512, two AVX, four NEON registers)::

    a = load(rows, i)            # rows[i : i + 16]
    store(rows, i, a * splat(x) + load(rows, j))
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic, lower_builtin, models, register_model, type_callable

WIDTH = 16
_FLOAT = ir.FloatType()
_VECTOR = ir.VectorType(_FLOAT, WIDTH)
_CONTRACT = ("contract", "nsz")  # a product may be fused with a sum; nothing else is reordered


class Lanes(types.Type):
    """The numba type of sixteen float32."""

    def __init__(self) -> None:
        super().__init__(name="float32x16")


lanes = Lanes()


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Any) -> None:
        super().__init__(dmm, fe_type, _VECTOR)


def _type_arithmetic(context: Any) -> Callable[[Any, Any], Any]:
    def typer(a: Any, b: Any) -> Any:
        return lanes if isinstance(a, Lanes) and isinstance(b, Lanes) else None

    return typer


for _operator in (operator.add, operator.sub, operator.mul, operator.truediv):
    type_callable(_operator)(_type_arithmetic)


@lower_builtin(operator.add, Lanes, Lanes)
def _add(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    return builder.fadd(*args, flags=_CONTRACT)


@lower_builtin(operator.sub, Lanes, Lanes)
def _sub(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    return builder.fsub(*args, flags=_CONTRACT)


@lower_builtin(operator.mul, Lanes, Lanes)
def _mul(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    return builder.fmul(*args, flags=_CONTRACT)


@lower_builtin(operator.truediv, Lanes, Lanes)
def _div(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    return builder.fdiv(*args, flags=_CONTRACT)


def _pointer(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> Any:
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), _VECTOR.as_pointer())


def _check(array: Any) -> None:
    if not (isinstance(array, types.Array) and array.dtype == types.float32 and array.layout == "C"):
        raise TypeError(f"lanes are loaded from and stored to contiguous float32 arrays, not {array}")


@intrinsic
def load(typingctx: Any, array: Any, index: Any) -> Any:
    """``array[index : index + 16]`` of a flat float32 array (no bounds check)."""
    _check(array)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        value = builder.load(_pointer(context, builder, signature.args[0], args[0], args[1]))
        value.align = 4
        return value

    return lanes(array, types.intp), codegen


@intrinsic
def store(typingctx: Any, array: Any, index: Any, value: Any) -> Any:
    """``array[index : index + 16] = value`` of a flat float32 array (no bounds check)."""
    _check(array)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        done = builder.store(args[2], _pointer(context, builder, signature.args[0], args[0], args[1]))
        done.align = 4
        return context.get_dummy_value()

    return types.void(array, types.intp, lanes), codegen


@intrinsic
def splat(typingctx: Any, x: Any) -> Any:
    """The float32 `x` in all sixteen lanes."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        one = builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), args[0], ir.Constant(ir.IntType(32), 0))
        order = ir.Constant(ir.VectorType(ir.IntType(32), WIDTH), [0] * WIDTH)
        return builder.shuffle_vector(one, ir.Constant(_VECTOR, ir.Undefined), order)

    return lanes(types.float32), codegen


@intrinsic
def where_less(typingctx: Any, a: Any, b: Any, x: Any, y: Any) -> Any:
    """`x` in the lanes where ``a < b``, `y` in the others."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.select(builder.fcmp_ordered("<", args[0], args[1]), args[2], args[3])

    return lanes(lanes, lanes, lanes, lanes), codegen


@intrinsic
def transpose(typingctx: Any, source: Any, index: Any, target: Any, start: Any, stride: Any) -> Any:
    """``target[start + l * stride + i] = source[index + 16 * i + l]`` for all i, l < 16 (no bounds check)."""
    _check(source)
    _check(target)
    index_type = ir.VectorType(ir.IntType(32), WIDTH)
    low = ir.Constant(index_type, [k // 2 + (k % 2) * WIDTH for k in range(WIDTH)])
    high = ir.Constant(index_type, [k // 2 + (k % 2) * WIDTH + WIDTH // 2 for k in range(WIDTH)])

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array, index, target, start, stride = args
        rows = []
        for i in range(WIDTH):
            at = builder.add(index, ir.Constant(index.type, i * WIDTH))
            rows.append(builder.load(_pointer(context, builder, signature.args[0], array, at)))
            rows[-1].align = 4
        for _ in range(4):  # each round interleaves the first half of the rows with the second
            pairs = zip(rows[: WIDTH // 2], rows[WIDTH // 2 :], strict=True)
            rows = [builder.shuffle_vector(a, b, order) for a, b in pairs for order in (low, high)]
        for row in rows:
            done = builder.store(row, _pointer(context, builder, signature.args[2], target, start))
            done.align = 4
            start = builder.add(start, stride)
        return context.get_dummy_value()

    return types.void(source, types.intp, target, types.intp, types.intp), codegen
