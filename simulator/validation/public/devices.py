"""Which bundled device a public table means, which project a row comes from, and what its method of timing adds."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from hwmodels.catalog import bundled, load_gpu
from simulator.core.names import normalise
from simulator.validation.table import Row

__all__ = ["HOST_TIMED_S", "PUBLIC_TABLES", "bundled_device", "host_bound", "is_device", "source_of"]

#: Tables of other projects that are compared where the user has them.
PUBLIC_TABLES = (
    *(f"aiconfigurator_{name}.csv" for name in ("attention", "collectives", "gemm", "gemm_quant_a100", "mla", "moe")),
    *("apex_comm.csv", "apex_gemm_v100.csv"),
    *(f"infersim_{name}.csv" for name in ("attention", "gemm", "grouped_gemm")),
    *(
        f"llmcompass_{name}.csv"
        for name in ("allreduce", "gelu", "layernorm", "matmul", "softmax", "transformer_layer")
    ),
    *(f"llmservingsim_{name}.csv" for name in ("attention", "dense", "moe", "v0_layers")),
    *(f"neusight_{name}.csv" for name in ("bmm", "linear", "vector")),
    *(
        f"vidur_{name}.csv"
        for name in ("all_reduce", "attn_decode", "attn_prefill", "elementwise", "gemm", "send_recv")
    ),
)

#: Names of devices in public tables that are not those of bundled specifications.
_SPECS = {
    "a100_sxm": "a100",
    "h100_sxm": "h100",
    "h200_sxm": "h200",
    "b200_sxm": "b200",
    "b300_sxm": "b300",
    "v100_pcie": "v100-pcie",
    "rtx_pro_6000": "rtx-pro-6000",
    "A100-SXM-80GB": "a100",
    "AMD Instinct MI210": "mi210",
    "NVIDIA A100 80GB PCIe": "a100-pcie",
    "NVIDIA H100 80GB HBM3": "h100",
    "Tesla T4": "t4",
    "Tesla V100-PCIE-32GB": "v100-pcie",
}
_BY_KEY = {normalise(name): spec for name, spec in _SPECS.items()}

#: Projects that time launches from the host, so that every row holds 5 to 45 us of launch and framework (APEX: no row
#: below 11 us; LLMCompass: 10 to 45 us by its README; NeuSight: 12 us for vectors, 51 us for products). Rows shorter
#: than these say more of the host than of the GPU.
HOST_TIMED_S = {"apex": 100e-6, "llmcompass": 200e-6, "neusight": 200e-6}


def source_of(row: Row) -> str:
    """Return the project a row comes from: the first part of its file's name."""
    return Path(row.file).stem.partition("_")[0].lower()


def host_bound(row: Row) -> bool:
    """Tell rows whose time is more the host's than the kernel's, by the project's method."""
    return row.number("time_us") * 1e-6 < HOST_TIMED_S.get(source_of(row), 0.0)


def bundled_device(name: str) -> str | None:
    """Return the bundled specification that a table's device means, or None.

    Examples
    --------
    >>> bundled_device("h100_sxm"), bundled_device("H20"), bundled_device("tpu-v6e-1")
    ('h100', 'h20', None)
    """
    key = normalise(name)
    specs = {normalise(spec): spec for spec in bundled("gpu")}
    return _BY_KEY.get(key) or specs.get(key)


@cache
def is_device(name: str, hardware: str) -> bool:
    """Tell whether rows of device ``name`` were measured on the hardware under test, given by its full name."""
    if normalise(name) == normalise(hardware):
        return True
    spec = bundled_device(name)
    return spec is not None and load_gpu(spec).name == hardware
