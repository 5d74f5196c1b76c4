"""Sixteen uint32 side by side as one value inside kernels: bit-sliced histograms (`bitsliced`) in registers.

As `lanes`, and portable like it: LLVM's own vector type with generic operations (one AVX-512, two AVX2, four NEON
registers). Sums stay in registers from one point to the next. The exception is the sum of three words, of which
folding is made: LLVM finds three AVX-512 instructions for it where the processor has a pair of them, one for any logic
of three words (vpternlog). Where the code is compiled for a processor with AVX-512 that instruction is asked for by
name, elsewhere the same logic is spelled out; the results are the same bits.

Words are loaded from and stored to pointers, not arrays: numba counts references to arrays, and the call in which it
does so would empty all registers. A `pointer` is good as long as the function that made it holds the array::

    rows = pointer(array)
    a, carry = add3(a, load_words(rows, i), one_hot(phases, uint32(20)))
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, lower_builtin, models, register_model, type_callable

from scope_dask.periods.lanes import WIDTH, lanes

_WORD = ir.IntType(32)
_VECTOR = ir.VectorType(_WORD, WIDTH)
_TERNARY = ir.FunctionType(_VECTOR, [_VECTOR, _VECTOR, _VECTOR, _WORD])
_SUM, _MAJORITY = 0x96, 0xE8  # truth tables of three bits, for vpternlog


class Words(types.Type):
    """The numba type of sixteen uint32."""

    def __init__(self) -> None:
        super().__init__(name="uint32x16")


words = Words()
_address = types.CPointer(types.uint32)


@register_model(Words)
class _WordsModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Any) -> None:
        super().__init__(dmm, fe_type, _VECTOR)


def _type_arithmetic(context: Any) -> Callable[..., Any]:
    def typer(*operands: Any) -> Any:
        return words if all(isinstance(x, Words) for x in operands) else None

    return typer


def _define(operation: Callable[..., Any], instruction: str, operands: int) -> None:
    """Make an operator of Python, applied to words, an instruction of LLVM."""

    def lower(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return getattr(builder, instruction)(*args)

    type_callable(operation)(_type_arithmetic)
    lower_builtin(operation, *[Words] * operands)(lower)


_define(operator.add, "add", 2)
_define(operator.and_, "and_", 2)
_define(operator.or_, "or_", 2)
_define(operator.xor, "xor", 2)
_define(operator.invert, "not_", 1)


def _constant(x: int) -> Any:
    return ir.Constant(_VECTOR, [x] * WIDTH)


def _splat(builder: Any, x: Any) -> Any:
    one = builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), x, ir.Constant(_WORD, 0))
    return builder.shuffle_vector(one, ir.Constant(_VECTOR, ir.Undefined), _constant(0))


def _load(builder: Any, address: Any, index: Any) -> Any:
    value = builder.load(builder.bitcast(builder.gep(address, [index]), _VECTOR.as_pointer()))
    value.align = 4
    return value


def _store(builder: Any, value: Any, address: Any, index: Any) -> None:
    done = builder.store(value, builder.bitcast(builder.gep(address, [index]), _VECTOR.as_pointer()))
    done.align = 4


@intrinsic
def pointer(typingctx: Any, array: Any) -> Any:
    """The address of a contiguous array, to be indexed without a bounds check and without a reference count."""
    if not (isinstance(array, types.Array) and array.layout == "C"):
        raise TypeError(f"pointers are taken of contiguous arrays, not of {array}")

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return context.make_array(signature.args[0])(context, builder, args[0]).data

    return types.CPointer(array.dtype)(array), codegen


@intrinsic
def shifted(typingctx: Any, address: Any, n: Any) -> Any:
    """The pointer to ``address[n]``."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.gep(args[0], [args[1]])

    return address(address, types.intp), codegen


@intrinsic
def load_words(typingctx: Any, address: Any, index: Any) -> Any:
    """The sixteen uint32 from ``address[index]`` on."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _load(builder, *args)

    return words(_address, types.intp), codegen


@intrinsic
def store_words(typingctx: Any, address: Any, index: Any, value: Any) -> Any:
    """Write sixteen uint32 to ``address[index]`` and after."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        _store(builder, args[2], args[0], args[1])
        return context.get_dummy_value()

    return types.void(_address, types.intp, words), codegen


@intrinsic
def splat_word(typingctx: Any, x: Any) -> Any:
    """The uint32 `x` in all sixteen lanes."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _splat(builder, args[0])

    return words(types.uint32), codegen


@intrinsic
def multiples(typingctx: Any, x: Any) -> Any:
    """The uint32 `x` times 0, 1, … 15."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.mul(_splat(builder, args[0]), ir.Constant(_VECTOR, list(range(WIDTH))))

    return words(types.uint32), codegen


@intrinsic
def shift_right(typingctx: Any, x: Any, k: Any) -> Any:
    """``x >> k`` in all sixteen lanes; the uint32 `k` is below 32."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.lshr(args[0], _splat(builder, args[1]))

    return words(words, types.uint32), codegen


@intrinsic
def one_hot(typingctx: Any, phase: Any, n_bins: Any) -> Any:
    """``1 << bitsliced.phase_bin(phase, n_bins)`` in all sixteen lanes."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        product = builder.mul(builder.lshr(args[0], _constant(5)), _splat(builder, args[1]))
        return builder.shl(_constant(1), builder.lshr(product, _constant(27)))

    return words(words, types.uint32), codegen


def _has_ternary_logic(context: Any) -> bool:
    """Tell whether the processor that code is compiled for (a part of numba's cache key) has AVX-512."""
    return "+avx512f" in context.codegen().magic_tuple()[2].split(",")


@intrinsic
def add3(typingctx: Any, a: Any, b: Any, c: Any) -> Any:
    """Add three words bit by bit: (sum, carry)."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        if _has_ternary_logic(context):
            logic = cgutils.get_or_insert_function(builder.module, _TERNARY, "llvm.x86.avx512.pternlog.d.512")
            both = [builder.call(logic, [*args, ir.Constant(_WORD, table)]) for table in (_SUM, _MAJORITY)]
            return cgutils.pack_array(builder, both)
        a, b, c = args
        odd = builder.xor(a, b)
        carry = builder.xor(a, builder.and_(odd, builder.xor(a, c)))
        return cgutils.pack_array(builder, [builder.xor(odd, c), carry])

    return types.UniTuple(words, 2)(words, words, words), codegen


@intrinsic
def add2(typingctx: Any, a: Any, b: Any) -> Any:
    """Add two words bit by bit: (sum, carry)."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return cgutils.pack_array(builder, [builder.xor(*args), builder.and_(*args)])

    return types.UniTuple(words, 2)(words, words), codegen


@intrinsic
def some(typingctx: Any, x: Any) -> Any:
    """Tell whether any bit of any lane is set."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        filled = builder.bitcast(builder.icmp_unsigned("!=", args[0], _constant(0)), ir.IntType(WIDTH))
        return builder.icmp_unsigned("!=", filled, ir.Constant(filled.type, 0))

    return types.boolean(words), codegen


@intrinsic
def ones(typingctx: Any, x: Any) -> Any:
    """The number of bits set in every lane, as float32 lanes."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = ir.FunctionType(_VECTOR, [_VECTOR])
        count = cgutils.get_or_insert_function(builder.module, kind, f"llvm.ctpop.v{WIDTH}i32")
        return builder.sitofp(builder.call(count, args), ir.VectorType(ir.FloatType(), WIDTH))

    return lanes(words), codegen


@intrinsic
def as_float(typingctx: Any, x: Any) -> Any:
    """Words, understood as int32, as float32 lanes."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.sitofp(args[0], ir.VectorType(ir.FloatType(), WIDTH))

    return lanes(words), codegen


@intrinsic(prefer_literal=True)
def transpose_bits(typingctx: Any, source: Any, target: Any, n: Any) -> Any:
    """Bit k of ``target[16 b + l]`` is bit b of ``source[16 k + l]``, for all k < 32, b < n (a constant), lanes l."""
    if not isinstance(n, types.IntegerLiteral):
        return None

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        rows = [_load(builder, args[0], ir.IntType(64)(WIDTH * k)) for k in range(32)]
        for step in (1, 2, 4, 8, 16):  # exchange the upper half of the one with the lower half of the other
            low = sum(1 << k for k in range(32) if not k & step)
            lower, upper, by = _constant(low), _constant(low << step), _constant(step)
            for k in range(32):
                if not k & step:
                    x, y = rows[k], rows[k + step]
                    up, down = builder.shl(y, by), builder.lshr(x, by)
                    rows[k] = builder.or_(builder.and_(x, lower), builder.and_(up, upper))
                    rows[k + step] = builder.or_(builder.and_(down, lower), builder.and_(y, upper))
        for b in range(n.literal_value):
            _store(builder, rows[b], args[1], ir.IntType(64)(WIDTH * b))
        return context.get_dummy_value()

    return types.void(_address, _address, n), codegen
