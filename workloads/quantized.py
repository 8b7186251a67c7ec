"""The number formats a checkpoint was published in, from ``torch_dtype`` and ``quantization_config``."""

from __future__ import annotations

from workloads.config import Fields

__all__ = ["published_formats"]

_DTYPES = {
    "float32": "fp32",
    "bfloat16": "bf16",
    "float16": "fp16",
    "half": "fp16",
    "float": "fp32",
    "float8_e4m3fn": "fp8-e4m3",
    "float8_e5m2": "fp8-e5m2",
}
_DEFAULT = "bf16"


def published_formats(top: Fields, fields: Fields, model_type: str) -> tuple[str, str | None, list[str]]:
    """Return the format of the linear layers, that of the routed experts where it differs, and warnings.

    Source: the quantisation documentation of the ``transformers`` library (gptq, awq, bitsandbytes, fp8, mxfp4,
    compressed-tensors) and of TensorRT Model Optimizer (modelopt).
    """
    dense, remarks = _dtype(top, fields)
    quantization = fields.child("quantization_config") or top.child("quantization_config")
    if quantization is None:
        return dense, None, remarks
    method = quantization.text("quant_method", default="").lower().replace("_", "-")
    if method == "mxfp4":
        # gpt-oss leaves attention, router and embeddings in 16 bits and quantises the experts only
        return dense, "mxfp4", remarks
    found = _weight_format(quantization, method)
    if found is None:
        scheme = repr(method) if method else "without quant_method"
        remarks.append(f"quantization_config {scheme} is not modelled: weights count as {dense}; see --weights")
        return dense, None, remarks
    ignored = quantization.items("ignore") or []
    if any("self_attn" in str(name) for name in ignored):  # Kimi K2.5: 4-bit experts, the rest as trained
        return dense, found, remarks
    return found, None, remarks


def _dtype(top: Fields, fields: Fields) -> tuple[str, list[str]]:
    name = fields.text("torch_dtype", "dtype", default="")
    name = name or (top.text("torch_dtype", "dtype", default="") if top is not fields else "")
    name = name.removeprefix("torch.")
    if name in _DTYPES:
        return _DTYPES[name], []
    if name in ("", "auto"):
        return _DEFAULT, []
    return _DEFAULT, [f"torch_dtype = {name} is not known: weights count as {_DEFAULT}; see --weights"]


def _weight_format(q: Fields, method: str) -> str | None:
    """Return the name of the weights' format, or None for a method that is not known."""
    if method in ("gptq", "awq", "auto-round", "intel/auto-round"):
        is_zero_point = q.flag("zero_point", default=method == "awq") or not q.flag("sym", default=True)
        return _grouped(
            q.integer("bits", "w_bit", high=8), q.optional("group_size", "q_group_size", low=-1), is_zero_point
        )
    if method == "bitsandbytes":
        if q.flag("load_in_4bit", "_load_in_4bit", default=False):
            return "nf4" if q.text("bnb_4bit_quant_type", default="fp4") == "nf4" else "fp4-g64-s32"
        return "int8"
    if method in ("fp8", "fbgemm-fp8"):
        block = q.items("weight_block_size")
        return "fp8-block" if block == [128, 128] else "fp8"
    if method == "modelopt":
        algorithm = q.text("quant_algo", default="").upper()
        return {"FP8": "fp8", "NVFP4": "nvfp4", "W4A16_AWQ": "int4-g128"}.get(algorithm)
    if method == "compressed-tensors":
        return _compressed(q)
    return None


def _grouped(bits: int, group: int | None, is_zero_point: bool) -> str:
    if group is None or group < 1:  # -1: one scale per channel
        return f"int{bits}"
    return f"int{bits}-g{group}" + (f"-z{bits}" if is_zero_point else "")


def _compressed(q: Fields) -> str | None:
    """Read the first group of a compressed-tensors configuration: one format for all linear layers is the rule."""
    groups = q.child("config_groups")
    first = groups.child(next(iter(groups.members))) if groups is not None and groups.members else None
    weights = first.child("weights") if first is not None else None
    if weights is None:
        return None
    bits = weights.integer("num_bits", high=16)
    group = weights.optional("group_size", low=-1)
    if weights.text("type", default="int") == "float":
        if bits == 8:
            return "fp8"
        return "nvfp4" if bits == 4 and group == 16 else "mxfp4" if bits == 4 else None
    return _grouped(bits, group, not weights.flag("symmetric", default=True))
