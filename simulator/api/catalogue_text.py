"""The catalogue for people: tables, and one model, device, format or profile on a screen."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from textwrap import wrap
from typing import Any

from simulator.api.bindings import binding_text
from simulator.api.cascades import cascade_text
from simulator.api.catalogue import billions, detail, overview
from simulator.core.units import format_quantity

__all__ = ["detail_text", "overview_text"]

_WIDTH = 100
_HINTS = {
    "models": "Any Hugging Face config.json is a model, too: give its path.",
    "hardware": "Any device may be followed by a count (h100x4); or give the path of a YAML file.",
    "formats": "Also int<bits> and lut<bits>, with -g<group> -s<scale bits> -z<zero bits> -o<outliers>%: int3-g64-o1%.",
    "profiles": "Or give the path of a YAML file.",
    "cascades": "Or give the path of a YAML file with einsums of your own.",
    "bindings": "Or give the path of a YAML file; a spatial array names its binding under attention.",
}


def overview_text(what: str) -> str:
    """Return everything bundled of one sort as a table."""
    rows = overview(what)
    columns = list(rows[0])
    cells = [columns, *([str(row[column]) for column in columns] for row in rows)]
    # A last column of prose may run on: nothing stands behind it.
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns) - 1)] + [0]
    lines = ["  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in cells]
    return "\n".join([*lines, "", _HINTS[what]])


def detail_text(what: str, name: str) -> str:
    """Return everything about one of them, with the source of its numbers."""
    return "\n".join(_DETAILS[what](detail(what, name)))


def _model(model: Mapping[str, Any]) -> Iterator[str]:
    total, active = model["parameters"], model["active_parameters"]
    yield f"{model['name']} ({model['family']}): {billions(total)} parameters ({total:,})"
    if active != total:
        yield f"active per token    {billions(active)} ({active:,})"
    yield f"width               {model['hidden']}, vocabulary {model['vocab']}" + (
        ", embeddings tied" if model["tied_embeddings"] else ""
    )
    for group in model["layers"]:
        yield from _paragraph(f"{group['count']} layers", "; ".join(_layer(group["layer"])))
    kv_B = model["kv_bf16_B_per_token"]
    yield "KV cache            " + (f"{format_quantity(kv_B, 'B')} per token in bf16" if kv_B else "none (encoder)")
    if model["max_context"]:
        yield f"trained for         {model['max_context']} tokens"
    experts = f", experts in {model['expert_format']}" if model["expert_format"] else ""
    yield f"published in        {model['weight_format']}{experts}"
    yield from _paragraph("source", model["source"])
    for warning in model["warnings"]:
        yield from _paragraph("warning", warning)


def _layer(layer: Mapping[str, Any]) -> Iterator[str]:
    attention = layer["attention"]
    text = f"attention {attention['heads']} heads of {attention['head_dim']}"
    if attention["mla"]:
        text += f", latent of {attention['mla']['kv_lora_rank']} + {attention['mla']['rope_head_dim']}"
    else:
        text += f", {attention['kv_heads']} KV heads"
    text += f", window {attention['window']}" if attention["window"] else ""
    yield text + ("" if attention["causal"] else ", not causal")
    dense, moe = layer["feed_forward"], layer["moe"]
    if dense:
        yield f"feed-forward {dense['width']}, {'gated ' if dense['gated'] else ''}{dense['activation']}"
    if moe:
        shared = f", {moe['shared']} shared of {moe['shared_width']}" if moe["shared"] else ""
        yield (
            f"experts {moe['top_k']} of {moe['experts']}, width {moe['expert_width']}, "
            f"{'gated ' if moe['gated'] else ''}{moe['activation']}{shared}"
        )


def _hardware(hardware: Mapping[str, Any]) -> Iterator[str]:
    units = " + ".join(f"{unit['count']} x {unit['device']}" for unit in hardware["units"])
    yield f"{hardware['name']}: {units} ({hardware['vendor']}, {hardware['family']})"
    yield ""
    rows: Sequence[Mapping[str, Any]] = hardware["fields"]
    sources = {source: number for number, source in enumerate(dict.fromkeys(row["source"] for row in rows), start=1)}
    width = max(len(row["path"]) for row in rows)
    for row in rows:
        yield f"{row['path']:<{width}}  {row['shown']:<34}  {row['kind']:<10}  [{sources[row['source']]}]".rstrip()
    if hardware["area_mm2"]:
        parts = ", ".join(f"{name} {size:.4g} mm2" for name, size in hardware["area_mm2"].items())
        yield ""
        yield f"area of what is modelled: {parts}; {sum(hardware['area_mm2'].values()):.4g} mm2 in all"
    yield ""
    for source, number in sources.items():
        yield from wrap(
            source or "(no source stated)", _WIDTH, initial_indent=f"[{number}]".ljust(5), subsequent_indent=" " * 5
        )


def _format(fmt: Mapping[str, Any]) -> Iterator[str]:
    yield f"{fmt['name']}: {fmt['kind']}, {fmt['bits']} bits, {fmt['bits_per_element']:.5g} with what is stored beside"
    if fmt["group_size"]:
        yield f"group               {fmt['group_size']} elements share a scale of {fmt['scale_bits']:g} bits" + (
            f" and a zero point of {fmt['zero_bits']:g}" if fmt["zero_bits"] else ""
        )
    if fmt["codebook_entries"]:
        yield f"lookup table        {fmt['codebook_entries']} entries of {fmt['codebook_entry_bits']} bits stored"
    if fmt["outlier_fraction"]:
        bits = fmt["outlier_value_bits"] + fmt["outlier_index_bits"]
        yield f"outliers            {fmt['outlier_fraction']:.2%} kept apart in {bits} bits each"
    yield f"computed in         {fmt['computed_in']}, where both operands have this format"
    yield f"unpacking           {fmt['unpack_op']:.3g} operations per element to 16 bits"


def _profile(profile: Mapping[str, Any]) -> Iterator[str]:
    yield from wrap(f"{profile['name']}: {profile['description']}", _WIDTH)
    yield from _paragraph("based on", profile["based_on"])
    yield from _settings({k: v for k, v in profile.items() if k not in ("schema", "name", "description", "based_on")})


def _settings(settings: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield what is set, by the path that ``--set profile.`` takes."""
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from _settings(value, f"{prefix}{key}.")
        elif isinstance(value, list) and value and isinstance(value[0], list | Mapping):
            for number, item in enumerate(value):
                yield from _paragraph(prefix + key if number == 0 else "", _plain(item))
        elif value not in (None, [], {}):
            yield from _paragraph(prefix + key, _plain(value))


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_plain(item)}" for key, item in value.items() if item is not None)
    if isinstance(value, list):
        return ", ".join(map(_plain, value))
    return str(value)


def _paragraph(label: str, text: str) -> Iterator[str]:
    indent = max(len(label) + 2, 20)
    yield from wrap(
        text, _WIDTH, initial_indent=label.ljust(indent), subsequent_indent=" " * 20, break_on_hyphens=False
    ) or [label]


_DETAILS: dict[str, Callable[[Mapping[str, Any]], Iterator[str]]] = {
    "models": _model,
    "hardware": _hardware,
    "formats": _format,
    "profiles": _profile,
    "cascades": cascade_text,
    "bindings": binding_text,
}
