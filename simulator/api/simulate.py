"""Simulate a request: prefill, then decode over a growing context, with memory, energy, elasticities and error band."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from hwmodels.catalog import load_hardware
from hwmodels.spec import SystemSpec
from hwmodels.system import Level, System, build_system
from simulator.api.bands import bands_for, estimates_of
from simulator.api.elasticity import STEP, elasticities, memory_elasticity
from simulator.api.phases import Setup, run_phases
from simulator.api.report import Report
from simulator.api.request import Request, choose_parallelism
from simulator.core.errors import InputError
from simulator.core.provenance import provenance
from simulator.engine.memory import MemoryReport, check_memory, pools_of
from simulator.engine.profile import load_profile
from workloads.catalog import load_model
from workloads.model import ModelSpec
from workloads.moe import load_routing
from workloads.precision import Precision

__all__ = ["prepare", "simulate"]


def simulate(
    model: str | Path | ModelSpec,
    hardware: str | Path | SystemSpec,
    *,
    input_tokens: int = 2048,
    output_tokens: int | None = None,
    batch: int = 1,
    context: int = 0,
    weights: str | None = None,
    activations: str | None = None,
    kv: str | None = None,
    tp: int | None = None,
    pp: int | None = None,
    ep: int | None = None,
    dp: int | None = None,
    sequence_parallel: bool = False,
    micro_batches: int | None = None,
    profile: str = "ideal",
    level: Level = "analytic",
    routing: str = "uniform",
    overrides: Sequence[str] = (),
    command: Sequence[str] = (),
    elasticity: bool = True,
    tell: Callable[[str], None] = lambda line: None,
) -> Report:
    """Simulate a batch of requests on a system.

    Parameters
    ----------
    model : str, Path or ModelSpec
        Bundled name or path of a Hugging Face ``config.json``.
    hardware : str, Path or SystemSpec
        Bundled name (``h200``, ``h100x8``) or path of a YAML specification.
    input_tokens, output_tokens : int
        Prompt and output length of each sequence, tokens; by default 256 out of a decoder, none out of an encoder.
    batch : int
        Sequences, all starting together.
    context : int
        Tokens already cached for each sequence before its prompt.
    weights, activations, kv : str, optional
        Number formats; by default those of the published checkpoint, and a 16-bit cache.
    tp, pp, ep, dp : int, optional
        Degrees of parallelism; all devices of the system are used when none is given.
    sequence_parallel : bool
        Norms on a share of the tokens, all-gather and reduce-scatter instead of all-reduce.
    micro_batches : int, optional
        Parts a step is cut into for the pipeline; by default as many as stages.
    profile : str
        Execution profile, bundled name or path.
    level : {"analytic", "roofline", "cycle"}
        Detail of the device model.
    routing : str
        How tokens choose experts: ``uniform``, ``zipf:1.0``...
    overrides : sequence of str
        ``path=value`` replacements of any field: of the hardware, or after ``model.`` and ``profile.`` of those.
    command : sequence of str
        The command line, for provenance.
    elasticity : bool
        Also find out what more of each resource would buy; most of the time goes into that, so sweeps leave it out.
    tell : callable
        Called with a line before each step that is run.

    Returns
    -------
    Report

    Raises
    ------
    RidgelineError
        If a name, file, override or argument is wrong.

    Examples
    --------
    >>> from simulator import simulate
    >>> simulate("llama-3-8b", "h200", batch=16).memory.fits
    True
    """
    setup, spec = prepare(
        model,
        hardware,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        batch=batch,
        context=context,
        weights=weights,
        activations=activations,
        kv=kv,
        tp=tp,
        pp=pp,
        ep=ep,
        dp=dp,
        sequence_parallel=sequence_parallel,
        micro_batches=micro_batches,
        profile=profile,
        routing=routing,
        overrides=overrides,
    )
    return _report(setup, build_system(spec, level), level, command, elasticity, tell)


def prepare(
    model: str | Path | ModelSpec,
    hardware: str | Path | SystemSpec,
    *,
    input_tokens: int = 2048,
    output_tokens: int | None = None,
    batch: int = 1,
    context: int = 0,
    weights: str | None = None,
    activations: str | None = None,
    kv: str | None = None,
    tp: int | None = None,
    pp: int | None = None,
    ep: int | None = None,
    dp: int | None = None,
    sequence_parallel: bool = False,
    micro_batches: int | None = None,
    profile: str = "ideal",
    routing: str = "uniform",
    overrides: Sequence[str] = (),
) -> tuple[Setup, SystemSpec]:
    """Read and check what :func:`simulate` was asked, whose parameters these are, and run nothing yet."""
    of_model, of_profile, of_hardware = _split_overrides(overrides)
    for given, changes, what in ((model, of_model, ModelSpec), (hardware, of_hardware, SystemSpec)):
        if isinstance(given, what) and changes:
            raise InputError(f"{changes[0]!r} cannot override a {what.__name__} that is already loaded")
    spec = model if isinstance(model, ModelSpec) else load_model(model, of_model)
    system_spec = hardware if isinstance(hardware, SystemSpec) else load_hardware(hardware, of_hardware)
    setup = Setup(
        model=spec,
        request=_request(spec, input_tokens, output_tokens, batch, context),
        precision=Precision.of(
            weights or spec.weight_format,
            activations or _published_activations(spec, weights),
            kv,
            None if weights else spec.expert_format,
        ),
        parallel=choose_parallelism(
            spec, system_spec, tp, pp, ep, dp, sequence_parallel=sequence_parallel, micro_batches=micro_batches
        ),
        profile=load_profile(profile, of_profile),
        routing=load_routing(routing),
    )
    return setup, system_spec


def _report(
    setup: Setup,
    system: System,
    level: Level,
    command: Sequence[str],
    elasticity: bool,
    tell: Callable[[str], None],
) -> Report:
    """Run the request and put together what is to be said of it."""
    model, precision, parallel = setup.model, setup.precision, setup.parallel
    prefill, decode = run_phases(setup, system, tell=tell)
    memory = _memory(setup, system)
    return Report(
        model=model.name,
        system=system.spec,
        profile=setup.profile.name,
        level=level,
        request=setup.request,
        parallel=parallel,
        formats={
            "weights": precision.weights.name,
            "activations": precision.activations.name,
            "kv": precision.kv.name,
            "experts": precision.expert_weights.name,
        },
        memory=memory,
        prefill=prefill,
        decode=decode,
        elasticities=_elasticities(setup, system, memory, tell) if elasticity else {},
        bands=bands_for(model, system.spec, parallel, level),
        estimates=estimates_of(system.spec),
        warnings=model.warnings + _warnings(setup, system.spec, level),
        provenance=provenance({"model": model, "hardware": system.spec, "profile": setup.profile}, command),
    )


def _memory(setup: Setup, system: System, capacity_factor: float = 1.0) -> MemoryReport:
    residents = setup.request.residents(setup.parallel, not setup.model.is_decoder)
    pools = [replace(pool, capacity_B=pool.capacity_B * capacity_factor) for pool in pools_of(system)]
    return check_memory(setup.model, setup.precision, setup.parallel, residents, pools, setup.profile)


def _elasticities(
    setup: Setup, system: System, memory: MemoryReport, tell: Callable[[str], None]
) -> dict[str, Mapping[str, float]]:
    roomier = _memory(setup, system, 1.0 + STEP)
    return {**elasticities(setup, system, tell), "memory": memory_elasticity(memory, roomier)}


def _split_overrides(overrides: Sequence[str]) -> tuple[list[str], list[str], list[str]]:
    """Send ``model.*`` to the model, ``profile.*`` to the profile and the rest to the hardware."""
    of_model = [text.removeprefix("model.") for text in overrides if text.startswith("model.")]
    of_profile = [text.removeprefix("profile.") for text in overrides if text.startswith("profile.")]
    return of_model, of_profile, [text for text in overrides if not text.startswith(("model.", "profile."))]


def _request(model: ModelSpec, input_tokens: int, output_tokens: int | None, batch: int, context: int) -> Request:
    """Return the request, refusing what an encoder cannot do."""
    encoder = not model.is_decoder
    if output_tokens is None:
        output_tokens = 0 if encoder else 256
    if encoder and (output_tokens or context):
        raise InputError(
            f"{model.name} is an encoder: it generates nothing and caches nothing; use --out 0 --context 0"
        )
    return Request(input_tokens=input_tokens, output_tokens=output_tokens, batch=batch, context=context)


def _published_activations(model: ModelSpec, weights: str | None) -> str:
    """Checkpoints published in 8-bit floats run with activations quantised on the fly (DeepSeek-V3, section 3.3)."""
    return "fp8" if weights is None and model.weight_format.startswith("fp8") else "bf16"


def _warnings(setup: Setup, spec: SystemSpec, level: Level) -> tuple[str, ...]:
    warnings = []
    model, tokens = setup.model, setup.request.final_tokens
    if model.max_context is not None and tokens > model.max_context:
        warnings.append(f"{tokens} tokens exceed the {model.max_context} that {model.name} was trained for")
    if level == "cycle" and any(unit.device.type == "gpu" for unit in spec.units):
        warnings.append(
            "level cycle of a GPU simulates dense products, and attention over one kind of sequence; the rest is "
            "analytic"
        )
    return tuple(warnings)
