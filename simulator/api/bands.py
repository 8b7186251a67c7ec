"""How sure a prediction is: the error of the same family where it was checked, and the inputs that are estimates."""

from __future__ import annotations

from typing import Any

from hwmodels.measured import load_bands, load_transfer_bands, load_unseen_bands
from hwmodels.spec import SystemSpec
from simulator.api.report import Band, Estimate
from workloads.model import ModelSpec
from workloads.parallel import Parallelism

__all__ = ["bands_for", "estimates_of"]

#: How the whole steps that were measured were run.
_PROFILE = "pytorch-sdpa"

#: Which validated families speak for which result: on one device, and those to add where it is spread over several.
_FAMILIES = {
    "ttft_s": ("e2e/prefill", "tp2/prefill"),
    "tpot_s": ("e2e/decode", "tp2/decode"),
    "energy_J": ("energy/step", None),
}

#: Which kernels speak for a result where no whole steps were measured; the worst of them gives the band.
_KERNELS = {"ttft_s": ("gemm/", "attention/prefill/"), "tpot_s": ("gemm/", "attention/decode/")}


def bands_for(model: ModelSpec, hardware: SystemSpec, parallel: Parallelism, level: str) -> tuple[Band, ...]:
    """Return how far off predictions were where they could be checked.

    Whole steps where they were measured on the device; else its kernels, as they come out with coefficients fitted
    without it; else, for a device of which nothing was measured, the worst kernels of any device so predicted. A run
    over several devices takes the worse of its steps' error on one and on two. No band: what is not GPUs alone;
    energy where it was not measured; the roofline level, which is a bound; the cycle level, at which no whole runs
    were compared.
    """
    if level != "analytic":
        return ()
    device = hardware.device.name
    if hardware.device.type != "gpu" or len(hardware.units) > 1:  # nothing else was measured
        return ()
    if load_bands(device):
        unlike = _unlike(model, hardware, parallel)
        return tuple(_steps_band(metric, device, parallel, unlike) for metric in _FAMILIES)
    kernels = (_kernels_band(metric, device) for metric in _KERNELS)
    return tuple(band for band in kernels if band is not None)


def _unlike(model: ModelSpec, hardware: SystemSpec, parallel: Parallelism) -> tuple[str, ...]:
    """Say in what a run differs from all that were measured."""
    unlike = []
    if any(entry.kind == "override" for entry in hardware.provenance.values()):
        unlike.append("not with what is overridden")
    if parallel.devices > 2:
        unlike.append("not on more than 2 devices")
    if any(group.layer.attention.mla is not None for group in model.layers):
        unlike.append("not with latent attention")
    return tuple(unlike)


def _steps_band(metric: str, device: str, parallel: Parallelism, unlike: tuple[str, ...]) -> Band:
    """Return the error of whole steps on a device, the worst of those that a run is like.

    Models that coefficients were fitted on, models that nothing was fitted on, and two devices where there are several.
    """
    measured, unseen = load_bands(device), load_unseen_bands(device)
    alone, spread = _FAMILIES[metric]
    found = [(alone, measured[alone], f"rows measured on {device} ({_PROFILE})")]
    if alone in unseen:
        found.append((alone, unseen[alone], f"rows of models that nothing was fitted on, {device}"))
    if spread and parallel.devices > 1:
        found.append((spread, measured[spread], f"rows measured on two {device} ({_PROFILE})"))
    family, entry, source = max(found, key=lambda item: float(item[1]["mape"]))
    caveat = "".join(f", {text}" for text in unlike) + (": expect more" if unlike else "")
    return _band(metric, family, entry, source + caveat)


def _kernels_band(metric: str, device: str) -> Band | None:
    """Return the error of the worst kernels of one phase, predicted without a measurement of their device."""
    found = [
        (name, family, entry)
        for name, families in load_transfer_bands().items()
        for family, entry in families.items()
        if family.startswith(_KERNELS[metric])
    ]
    own = [item for item in found if item[0] == device]
    if not found:
        return None
    name, family, entry = max(own or found, key=lambda item: float(item[2]["mape"]))
    caveat = "no whole steps" if own else f"the worst so predicted; none of {device} were"
    source = f"kernels of {name}, coefficients fitted without it ({entry['source']}); {caveat}"
    return _band(metric, family, entry, source)


def _band(metric: str, family: str, entry: dict[str, Any], source: str) -> Band:
    rows = int(entry["n"])
    return Band(
        metric=metric, family=family, rows=rows, mape=entry["mape"], p90=entry["p90"], source=f"{rows} {source}"
    )


def estimates_of(hardware: SystemSpec) -> tuple[Estimate, ...]:
    """List the inputs of a system that are neither from a datasheet nor measured."""
    return tuple(
        Estimate(path, entry.kind, entry.source)
        for path, entry in hardware.provenance.items()
        if entry.kind not in ("datasheet", "measured")
    )
