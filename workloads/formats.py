"""Number formats: how many bytes a tensor takes, and on which units two operands are multiplied.

A format is a payload of ``bits`` per element plus, for each group of elements, a scale, a zero point or a lookup
table, plus optionally a few outliers kept apart as value and index. Bytes are linear in the number of elements: the
last, partly filled group or byte of a tensor counts as its share, and one scale per tensor or per channel (no group)
is not counted; both are below 0.1 % of any tensor that matters.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

from simulator.core.errors import InputError, UnknownNameError
from simulator.core.names import match_name, normalise, suggest

__all__ = ["ComputeFormat", "NumberFormat", "compute_format", "format_names", "load_format"]

Kind = Literal["float", "int", "codebook"]

# Instructions on the ordinary cores, per element, to turn one packed element into a 16-bit operand. Each is counted
# from the register sequences that current kernels use on pairs of elements (one 32-bit register holds two 16-bit
# values):
_SCALE_OP = 0.5  # one packed multiply applies the group's scale to two elements
# lop3 (mask and magic exponent) and a packed subtract or fma per pair, one shift per eight elements: Kim et al. 2022,
# "Who Says Elephants Can't Run"; with the scale it makes 1.6, what the H200 int4 rows show (n k 1.6 operations)
_PAIRED_INT_OP = 1.125
_BYTE_INT_OP = 1.0  # one byte permute and one packed subtract per pair: the same source
_ODD_INT_OP = 3.0  # widths that straddle words: funnel shift and lop3 per element, a permute and a subtract per pair
# per four elements 3 shifts, 2 ands, 2 lop3 and 2 packed multiplies (exponent bias): Marlin (Frantar et al. 2024)
_FP8_OP = 2.25
_FP4_OP = 2.0  # per pair: shift, and, lop3, packed multiply (bias and scale folded): the same scheme
_TABLE_OP = 3.5  # per element shift, mask and a table read; one permute per pair: lookup formats
_WIDEN_OP = 1.0  # 16-bit to fp32/tf32: one shift or convert per element

#: Tensor-core formats from narrow to wide; ``bf16`` stands for both 16-bit floating formats, which run at one rate.
_FLOAT_WIDTH = {"fp4": 4, "fp8": 8, "bf16": 16, "tf32": 19, "fp32": 32}


@dataclass(frozen=True, slots=True)
class NumberFormat:
    """A way to store numbers.

    Parameters
    ----------
    name : str
        As typed by a user, e.g. ``int4-g128``.
    bits : int
        Payload bits per element.
    kind : 'float', 'int' or 'codebook'
        Codebook elements are indices into a lookup table of 16-bit values.
    group_size : int or None
        Elements that share a scale (and zero point, and table); None: none is stored per group.
    scale_bits, zero_bits : float
        Bits of one scale and of one zero point; a fraction is an average (a scale that is itself quantised).
    outlier_fraction : float
        Share of elements also kept exactly, in ``outlier_value_bits`` plus ``outlier_index_bits`` each. The dense
        payload keeps their (zeroed) place. Source: SpQR (Dettmers et al. 2023, section 4.2): 16-bit value and 16-bit
        column.
    codebook_entries, codebook_entry_bits : int
        Size of one lookup table and of its entries; 0 bits: the table is a constant of the kernel (nf4).
    mma : str
        Format of the matrix units when both operands have this format: bf16 (any 16-bit float), fp8, int8, int4, fp4,
        tf32, fp32.
    unpack_op : float
        Operations per element on the ordinary cores that make a 16-bit operand of it.
    """

    name: str
    bits: int
    kind: Kind
    group_size: int | None = None
    scale_bits: float = 0.0
    zero_bits: float = 0.0
    outlier_fraction: float = 0.0
    outlier_value_bits: int = 16
    outlier_index_bits: int = 16
    codebook_entries: int = 0
    codebook_entry_bits: int = 0
    mma: str = "bf16"
    unpack_op: float = 0.0

    def payload_B(self, elements: float) -> float:
        """Bytes of the dense payload of ``elements`` elements."""
        return elements * self.bits / 8

    def scale_B(self, elements: float) -> float:
        """Bytes of scales, zero points and lookup tables: what is stored once per group."""
        if self.group_size is None:
            return 0.0
        per_group_bits = self.scale_bits + self.zero_bits + self.codebook_entries * self.codebook_entry_bits
        return elements / self.group_size * per_group_bits / 8

    def outlier_B(self, elements: float) -> float:
        """Bytes of the outliers kept apart."""
        return elements * self.outlier_fraction * (self.outlier_value_bits + self.outlier_index_bits) / 8

    def total_B(self, elements: float) -> float:
        """Bytes of a tensor of ``elements`` elements, everything included.

        Examples
        --------
        >>> load_format("int4-g128").total_B(4096 * 4096)  # 0.5 B each, and 2 B per 128
        8650752.0
        """
        return self.payload_B(elements) + self.scale_B(elements) + self.outlier_B(elements)

    @property
    def bits_per_element(self) -> float:
        """Average bits of one element, everything included."""
        return 8 * self.total_B(1.0)


@dataclass(frozen=True, slots=True)
class ComputeFormat:
    """How a product is computed: the matrix units' format, and the unpacking operations per element of each operand."""

    mma: str
    weight_unpack_op: float
    activation_unpack_op: float


def _bundled() -> dict[str, NumberFormat]:
    formats = [
        NumberFormat("fp32", 32, "float", mma="fp32"),
        NumberFormat("tf32", 32, "float", mma="tf32"),  # 19 bits are used, 32 are stored
        NumberFormat("bf16", 16, "float"),
        NumberFormat("fp16", 16, "float"),
        NumberFormat("fp8-e4m3", 8, "float", mma="fp8", unpack_op=_FP8_OP),
        NumberFormat("fp8-e5m2", 8, "float", mma="fp8", unpack_op=_FP8_OP),
        NumberFormat("fp8", 8, "float", mma="fp8", unpack_op=_FP8_OP),
        # DeepSeek-V3 (arXiv 2412.19437, section 3.3.2): one fp32 scale per 128 x 128 block of a weight
        NumberFormat("fp8-block", 8, "float", 128 * 128, 32.0, mma="fp8", unpack_op=_FP8_OP + _SCALE_OP),
        NumberFormat("fp4", 4, "float", mma="fp4", unpack_op=_FP4_OP),
        # NVFP4: e2m1 with one e4m3 scale per 16 elements (NVIDIA Blackwell; a further scale per tensor is not counted)
        NumberFormat("nvfp4", 4, "float", 16, 8.0, mma="fp4", unpack_op=_FP4_OP + _SCALE_OP),
        # OCP Microscaling Formats v1.0: one e8m0 scale per 32 elements
        NumberFormat("mxfp4", 4, "float", 32, 8.0, mma="fp4", unpack_op=_FP4_OP + _SCALE_OP),
        NumberFormat("mxfp8", 8, "float", 32, 8.0, mma="fp8", unpack_op=_FP8_OP + _SCALE_OP),
        # QLoRA (Dettmers et al. 2023, section 3): a fixed table of 16 values, one fp32 scale per 64 elements
        NumberFormat("nf4", 4, "codebook", 64, 32.0, codebook_entries=16, unpack_op=_TABLE_OP + _SCALE_OP),
        _integer("int8", 8),
        _integer("int4", 4),
    ]
    return {f.name: f for f in formats}


def _integer(name: str, bits: int) -> NumberFormat:
    if bits in (1, 2, 4):
        unpack = _PAIRED_INT_OP
    elif bits == 8:
        unpack = _BYTE_INT_OP
    else:
        unpack = _ODD_INT_OP
    mma = "int4" if bits <= 4 else "int8" if bits <= 8 else "bf16"
    return NumberFormat(name, bits, "int", mma=mma, unpack_op=unpack)


def _codebook(name: str, bits: int) -> NumberFormat:
    # fp16 entries, one table per group; without a group one table per channel (SqueezeLLM, Kim et al. 2023), not
    # counted
    return NumberFormat(name, bits, "codebook", codebook_entries=2**bits, codebook_entry_bits=16, unpack_op=_TABLE_OP)


_FORMATS = _bundled()
_OPTION = re.compile(r"(?P<key>[gszo])(?P<number>\d+(?:\.\d+)?)(?P<percent>%?)")
_GRAMMAR = (
    "write a bundled name, int<b> or lut<b>, then options: -g<elements per group> -s<scale bits> -z<zero-point bits> "
    "-o<outliers>%, e.g. int4-g128-z4-o0.5%"
)


def format_names() -> list[str]:
    """Names of the bundled formats; any ``int<b>`` and ``lut<b>`` with options exists besides."""
    return list(_FORMATS)


@lru_cache(256)
def load_format(name: str) -> NumberFormat:
    """Return the format called ``name``: a bundled one, or one composed as ``base[-g64][-s16][-z4][-o0.5%]``.

    ``base`` is a bundled name, ``int<b>`` (1 to 16 bits) or ``lut<b>`` (1 to 8 bits, a lookup table; also
    ``int4-lut``). A group without ``-s`` has 16-bit scales (a table has none).

    Raises
    ------
    UnknownNameError
        If the base is not known.
    InputError
        If an option is malformed, repeated or out of range.

    Examples
    --------
    >>> load_format("int4-g128-z4").bits_per_element
    4.15625
    """
    text = name.strip().lower()
    for bundled in _FORMATS:
        if normalise(bundled) == normalise(text):
            return _FORMATS[bundled]
    base, options = _split(name, text)
    return replace(_apply(name, _base(name, base), options), name=text)


def _split(name: str, text: str) -> tuple[str, dict[str, float]]:
    parts = text.split("-")
    base_parts: list[str] = []
    options: dict[str, float] = {}
    for part in parts:
        found = _OPTION.fullmatch(part)
        if found is None:
            if options:
                raise InputError(f"number format {name!r}: cannot read option {part!r}; {_GRAMMAR}")
            base_parts.append(part)
            continue
        key = found["key"]
        if key in options:
            raise InputError(f"number format {name!r}: option -{key} is given twice")
        if bool(found["percent"]) != (key == "o"):
            raise InputError(f"number format {name!r}: {part!r}: outliers, and only they, are a percentage: -o0.5%")
        options[key] = float(found["number"])
    return "-".join(base_parts), options


def _base(name: str, base: str) -> NumberFormat:
    found = re.fullmatch(r"(?:u?int(?P<int>\d{1,3})|lut(?P<lut>\d{1,3})|int(?P<intlut>\d{1,3})-lut)", base)
    if found is None:
        try:
            return _FORMATS[match_name(base, _FORMATS, "number format")]
        except UnknownNameError:
            known = format_names()
            raise UnknownNameError("number format", name, suggest(base, known), [*known, "int<b>", "lut<b>"]) from None
    if found["int"] is not None:
        bits, most = int(found["int"]), 16
    else:
        bits, most = int(found["lut"] or found["intlut"]), 8
    if not 1 <= bits <= most:
        raise InputError(f"number format {name!r}: {bits} bits, but {base.rstrip('0123456789')} takes 1 to {most}")
    return _integer(name, bits) if found["int"] is not None else _codebook(name, bits)


def _whole(name: str, options: dict[str, float], key: str, least: int, most: int) -> int | None:
    if key not in options:
        return None
    value = options[key]
    if value != math.floor(value) or not least <= value <= most:
        raise InputError(f"number format {name!r}: -{key}{value:g} must be a whole number from {least} to {most}")
    return int(value)


def _apply(name: str, base: NumberFormat, options: dict[str, float]) -> NumberFormat:
    group = _whole(name, options, "g", 1, 2**20)
    scale = _whole(name, options, "s", 0, 32)
    zero = _whole(name, options, "z", 0, 32)
    outlier = options.get("o", 0.0) / 100
    if outlier > 1:
        raise InputError(f"number format {name!r}: {100 * outlier:g}% outliers is more than all elements")
    size = group if group is not None else base.group_size
    if size is None and (scale or zero):
        raise InputError(f"number format {name!r}: -s and -z need a group size, e.g. {name}-g128")
    if zero and base.kind == "float":
        raise InputError(f"number format {name!r}: a floating-point format has no zero point")
    scale_bits: float = base.scale_bits
    if scale is not None:
        scale_bits = scale
    elif group is not None and base.group_size is None and base.kind != "codebook":
        scale_bits = 16
    unpack = base.unpack_op
    if base.scale_bits == 0 and scale_bits > 0:
        unpack += _SCALE_OP  # a zero point costs nothing more: packed fma instead of multiply
    return replace(
        base,
        group_size=size,
        scale_bits=scale_bits,
        zero_bits=float(zero) if zero is not None else base.zero_bits,
        outlier_fraction=outlier,
        unpack_op=unpack,
    )


def compute_format(activations: NumberFormat, weights: NumberFormat) -> ComputeFormat:
    """Return how ``activations x weights`` is computed: in the narrowest matrix-unit format that holds both exactly.

    Equal tensor formats multiply as they are (fp8 x fp8, nvfp4 x mxfp4, int8 x int8). Two integers use the wider of
    int4 and int8; fp8 holds a 4-bit integer or float exactly (e4m3 counts to 16); everything else meets in the wider
    floating format, 16 bits at least. An operand that is not stored in the common format is unpacked on the ordinary
    cores.

    Examples
    --------
    >>> compute_format(load_format("bf16"), load_format("int4-g128"))
    ComputeFormat(mma='bf16', weight_unpack_op=1.625, activation_unpack_op=0.0)
    >>> compute_format(load_format("int8"), load_format("int8")).mma
    'int8'
    """
    mma = _common(activations, weights)
    return ComputeFormat(mma, _unpack(weights, mma), _unpack(activations, mma))


def _common(a: NumberFormat, b: NumberFormat) -> str:
    if "codebook" in (a.kind, b.kind):
        return max(("bf16", *(f.mma for f in (a, b) if f.kind == "float")), key=_FLOAT_WIDTH.__getitem__)
    if a.kind == "int" and b.kind == "int":
        bits = max(a.bits, b.bits)
        return "int4" if bits <= 4 else "int8" if bits <= 8 else "bf16"
    if a.kind == "float" and b.kind == "float":
        return max(a.mma, b.mma, key=_FLOAT_WIDTH.__getitem__)
    real, integer = (a, b) if a.kind == "float" else (b, a)
    least = "fp8" if integer.bits <= 4 else "bf16"  # e4m3 has four significant bits: every integer up to 16 is exact
    return max(real.mma, least, key=_FLOAT_WIDTH.__getitem__)


def _unpack(f: NumberFormat, mma: str) -> float:
    if mma in ("int4", "int8"):
        native = (f.kind == "int") and f.bits == (4 if mma == "int4" else 8)
    else:
        native = f.kind == "float" and f.mma == mma
    if native:
        return 0.0
    return f.unpack_op + (_WIDEN_OP if mma in ("tf32", "fp32") else 0.0)
