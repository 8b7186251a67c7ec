"""Several units in a system: who runs what, what splitting buys, the schedule, energy by unit."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from hwmodels.catalog import load_hardware
from hwmodels.system import System, build_system
from simulator.core.errors import InputError, SpecError, UnknownNameError, UnsupportedError
from simulator.engine.execution import execute
from simulator.engine.placement import Choices, Pieces, place
from simulator.engine.profile import load_profile
from simulator.engine.run import StepResult, plan_step, run_step
from workloads.catalog import load_model
from workloads.operators import Attention, GroupedGemm, Operator
from workloads.precision import Precision
from workloads.step import Step
from workloads.transformer import build_graph

#: Four times the bandwidth and an eighth of the matrix rate of an H100, on the same memory: a stand-in for PIM.
NEAR: dict[str, Any] = {
    "base": "h100",
    "name": "Near memory",
    "hbm": {"bandwidth": "13.4 TB/s"},
    "tensor": {"bf16": "123.7 TFLOP/s"},
}
MIXED_STEP = Step.of((2, 512, 0), (62, 1, 2000))
DECODE = Step.of((64, 1, 2000))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "system.yaml"


def shared(file: Path, **placement: object) -> System:
    """An H100 and a unit near its memory."""
    runs = ["gemm", "grouped_gemm", "attention"]
    return built(
        file,
        units=[{"name": "xpu", "device": "h100"}, {"name": "near", "device": NEAR, "memory": "xpu", "runs": runs}],
        placement={"policy": "co-processing", "sections": 4, "kv_sections": 3, **placement},
    )


def offload(file: Path, devices: int = 2, **placement: object) -> System:
    """An H100 whose attention over cached tokens runs on other GPUs, over a network."""
    return built(
        file,
        units=[
            {"name": "compute", "device": "h100", "holds": ["weights"]},
            {"name": "memory", "device": "h20", "count": devices, "holds": ["kv"], "joined": "network"},
        ],
        network="infiniband-ndr",
        placement={"policy": "fixed", "kinds": {"attention": "memory", "attention/prompt": "compute"}, **placement},
    )


def built(file: Path, **document: object) -> System:
    file.write_text(json.dumps({"name": "Test system", **document}), encoding="utf-8")
    return build_system(load_hardware(file))


def run(system: System, model: str = "mixtral-8x7b", step: Step = DECODE) -> StepResult:
    return run_step(load_model(model), step, Precision.of(), system, load_profile("ideal"))


def operator(kind: type, model: str = "mixtral-8x7b", step: Step = DECODE) -> Operator:
    return next(op for op, _ in build_graph(load_model(model), step, Precision.of()) if isinstance(op, kind))


def choices(system: System) -> Choices:
    assert system.spec.placement is not None
    return Choices(system.units, system.spec.placement)


def names(system: System, pieces: Pieces) -> list[str]:
    return [system.units[piece.unit].name for piece in pieces]


def test_fixed_places_by_kind_and_prompts_apart(file: Path) -> None:
    system = offload(file)
    attention = operator(Attention, step=MIXED_STEP)
    assert isinstance(attention, Attention)
    pieces = place(attention, choices(system))
    assert names(system, pieces) == ["compute", "memory"]
    assert [p.operator.groups[0].q_len for p in pieces if isinstance(p.operator, Attention)] == [512, 1]
    assert names(system, place(operator(GroupedGemm), choices(system))) == ["compute"]


def test_work_goes_to_a_memory_only_for_what_it_holds(file: Path) -> None:
    system = offload(file, policy="fastest")
    assert choices(system).able(operator(Attention)) == [1]
    assert choices(system).able(operator(GroupedGemm)) == [0]
    chunk = operator(Attention, step=Step.of((2, 512, 64)))
    assert choices(system).able(chunk) == [1]  # what is cached lies there
    fresh = operator(Attention, step=Step.of((2, 512, 0)))
    assert choices(system).able(fresh) == [0]


def test_fastest_and_intensity(file: Path) -> None:
    system = shared(file, policy="fastest")
    assert names(system, place(operator(Attention), choices(system))) == ["near"]
    assert names(system, place(operator(Attention, step=Step.of((2, 4096, 0))), choices(system))) == ["xpu"]
    system = shared(file, policy="intensity", intensity=8)
    assert names(system, place(operator(Attention), choices(system))) == ["near"]
    assert names(system, place(operator(GroupedGemm), choices(system))) == ["xpu"]  # 16 tokens per expert
    system = shared(file, policy="intensity", intensity=64)
    assert names(system, place(operator(GroupedGemm), choices(system))) == ["near"]
    with pytest.raises(InputError, match="needs intensity"):
        run(shared(file, policy="intensity"))


def test_co_processing_splits_experts_until_both_finish_together(file: Path) -> None:
    system = shared(file)
    chosen = choices(system)
    whole = operator(GroupedGemm, step=Step.of((256, 1, 100)))
    pieces = place(whole, chosen)
    assert names(system, pieces) == ["xpu", "near"]
    times = [chosen.time_s(piece.unit, piece.operator) for piece in pieces]
    assert chosen.together_s(pieces) == max(times)
    alone_s = min(chosen.time_s(unit, whole) for unit in (0, 1))
    assert max(times) < 0.85 * alone_s
    busy, idle = (piece.operator for piece in pieces)
    assert isinstance(busy, GroupedGemm)
    assert isinstance(idle, GroupedGemm)
    assert idle.load.rows / idle.load.active < busy.load.rows / busy.load.active


def test_one_section_leaves_nothing_to_win(file: Path) -> None:
    alone = run(shared(file, policy="fastest", sections=1, kv_sections=1), step=MIXED_STEP)
    together = run(shared(file, sections=1, kv_sections=1), step=MIXED_STEP)
    assert together.time_s == pytest.approx(alone.time_s, rel=1e-9)
    assert run(shared(file), step=MIXED_STEP).time_s < 0.97 * alone.time_s
    spans = [span for span in together.timelines[0] if span.resource in ("xpu", "near")]
    assert all(a.end_s <= b.start_s + 1e-15 for a, b in pairwise(spans))


def test_a_section_that_both_need_is_served_in_turns(file: Path) -> None:
    mixed = operator(Attention, step=Step.of((8, 1024, 0), (56, 1, 2000)))
    apart, crowded = choices(shared(file)), choices(shared(file, sections=2, kv_sections=2))
    pieces = place(mixed, apart)
    assert len(pieces) == 2
    times = [apart.time_s(piece.unit, piece.operator) for piece in pieces]
    assert apart.together_s(pieces) == max(times)
    assert crowded.together_s(pieces) == pytest.approx(max(*times, sum(times) / 2))
    many = choices(shared(file, sections=1_000_000, kv_sections=999_999))
    assert many.together_s(pieces) == max(times)  # without looking at each


@pytest.mark.parametrize("model", ["mixtral-8x7b", "llama-3-8b"])
@pytest.mark.parametrize("step", [DECODE, MIXED_STEP, Step.of((1, 1, 100))])
def test_energy_of_units_adds_up_and_each_is_no_busier_than_the_step(file: Path, model: str, step: Step) -> None:
    result = run(shared(file), model, step)
    assert sum(sum(use.energy_J.values()) for use in result.units) == pytest.approx(result.total_energy_J)
    assert [use.name for use in result.units] == ["xpu", "near"]
    assert all(use.busy_s <= result.time_s * (1 + 1e-9) for use in result.units)
    assert max(use.busy_s for use in result.units) > 0.5 * result.time_s


def test_operands_are_there_before_they_are_used(file: Path) -> None:
    result = run(offload(file, interleave=2), "llama-3-8b", MIXED_STEP)
    spans = result.timelines[0]
    layer = [span for span in spans if span.block == "layer0[3]" and span.part == 0]
    when = {(span.resource, span.name): span for span in layer}
    attention = when["memory", "attention"]
    sent = [span for span in layer if span.resource == "compute to memory"]
    assert {span.name for span in sent} == {"q", "kv_cache"}
    assert all(span.end_s <= attention.start_s + 1e-15 for span in sent)
    back = when["memory to compute", "attention_out"]
    assert attention.end_s <= back.start_s + 1e-15
    assert back.end_s <= when["compute", "out"].start_s + 1e-15
    for name in ("compute", "memory"):
        own = sorted((span for span in spans if span.resource == name), key=lambda span: span.start_s)
        assert all(a.end_s <= b.start_s + 1e-15 for a, b in pairwise(own))


def test_offloaded_bytes_are_those_of_the_layer(file: Path) -> None:
    model = load_model("llama-3-8b")
    result = run(offload(file), "llama-3-8b", DECODE)
    sent_B = sum(span.cost.link_B for span in result.timelines[0] if span.kind == "transfer")
    heads, kv_heads, dim, layers = 32, 8, 128, 32
    assert len(model.layers) == 1
    # Queries there, keys and values there, the result back: (2 + 2 / G) e d B L of Lamina's section 4.
    assert sent_B == pytest.approx(64 * 2 * dim * (2 * heads + 2 * kv_heads) * layers)


def test_turns_hide_the_network_but_read_weights_again(file: Path) -> None:
    one, two = (run(offload(file, interleave=parts), "llama-3-8b", Step.of((256, 1, 4000))) for parts in (1, 2))

    def waited(result: StepResult) -> float:
        return result.time_s - result.units[0].busy_s

    assert waited(two) < 0.6 * waited(one)
    assert two.units[0].busy_s > 1.1 * one.units[0].busy_s


@pytest.mark.parametrize("batch", [8, 64, 256])
def test_turns_are_staggered_so_that_the_busiest_unit_never_waits(file: Path, batch: int) -> None:
    """A step of n batches takes as long as the busiest unit is busy with all, or as one batch takes by itself."""
    step = Step.of((batch, 1, 4000))
    result = run(offload(file, interleave=2), "llama-3-8b", step)
    alone_s = run(offload(file), "llama-3-8b", step.split(2)).time_s
    bound_s = max(*(use.busy_s for use in result.units), alone_s)
    assert bound_s * (1 - 1e-9) <= result.time_s < 1.12 * bound_s


def test_groups_of_heads_overlap_projections_with_attention(file: Path) -> None:
    whole, apart = (run(offload(file, head_groups=n), "llama-3-8b", Step.of((64, 1, 8000))) for n in (1, 8))
    assert apart.time_s < 0.97 * whole.time_s
    assert apart.units[0].busy_s == pytest.approx(whole.units[0].busy_s)
    assert apart.units[1].busy_s == pytest.approx(whole.units[1].busy_s)
    sent_B = [sum(s.cost.link_B for s in r.timelines[0] if s.kind == "transfer") for r in (whole, apart)]
    assert sent_B[0] == pytest.approx(sent_B[1])
    layer = [span for span in apart.timelines[0] if span.block == "layer0[2]"]
    attention = [span for span in layer if span.name == "attention"]
    assert len(attention) == 8
    assert sum(span.share for span in attention) == pytest.approx(1.0)
    outs = sorted((span for span in layer if span.name == "out"), key=lambda span: span.start_s)
    # The n-th group is put out after the n-th has attended and come back.
    assert all(out.start_s >= done.end_s for out, done in zip(outs, attention, strict=True))
    many = run(offload(file, head_groups=1000), "llama-3-8b", Step.of((64, 1, 8000)))
    assert many.time_s == pytest.approx(apart.time_s)  # no more groups than KV heads


def test_more_memory_devices_are_not_slower(file: Path) -> None:
    times = [run(offload(file, devices), "llama-3-8b").time_s for devices in (1, 2, 4, 8)]
    assert times == sorted(times, reverse=True)
    assert times[0] > times[2]


def test_one_device_for_several_ranks_serves_them_in_turn(file: Path) -> None:
    lone = offload(file, 1)
    units = [{"name": "compute", "device": "h100", "count": 4, "holds": ["weights"]}]
    units.append({"name": "memory", "device": "h20", "count": 2, "holds": ["kv"], "joined": "network"})
    placement = {"policy": "fixed", "kinds": {"attention": "memory"}}
    crowded = built(file, units=units, network="infiniband-ndr", placement=placement)
    attention = operator(Attention)
    assert choices(crowded).time_s(1, attention) == pytest.approx(2 * choices(lone).time_s(1, attention))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"units": [{"device": "h100"}, {"device": "h100", "memory": "near"}]}, "in the memory of 'near'"),
        ({"units": [{"name": "a", "device": "h100"}, {"name": "a", "device": "h100"}]}, "names of their own"),
        ({"placement": {"policy": "fixed", "kinds": {"attention": "pim"}}}, "'pim', but the units are gpu"),
        ({"placement": {"policy": "fixed", "sections": 2, "kv_sections": 3}}, "more than the 2 sections"),
        ({"placement": {"policy": "fixed", "kinds": {"attnetion": "gpu"}}}, r"kinds\.attnetion: expected 'gemm'"),
        ({"units": [{"device": "h100", "runs": ["softmax"]}]}, r"runs\.0: expected 'gemm'"),
    ],
)
def test_wrong_systems(file: Path, change: dict[str, object], says: str) -> None:
    with pytest.raises(SpecError, match=says):
        built(file, **{"units": [{"device": "h100"}], "placement": {"policy": "fastest"}, **change})


def test_what_cannot_run(file: Path) -> None:
    with pytest.raises(UnknownNameError, match="co-processing"):
        run(shared(file, policy="coprocessing"))
    units = [
        {"name": "a", "device": "h100", "holds": ["weights"]},
        {"name": "b", "device": "h20", "holds": ["weights"]},
    ]
    with pytest.raises(InputError, match="no unit can run attention"):
        run(built(file, units=units, placement={"policy": "fastest"}))
    with pytest.raises(UnsupportedError, match="placement"):
        built(file, units=units)


def test_the_first_unit_alone_takes_what_it_took_before(file: Path) -> None:
    alone = run(build_system(load_hardware("h100")), "llama-3-8b")
    mixed = run(shared(file, policy="fixed"), "llama-3-8b")
    assert mixed.time_s == pytest.approx(alone.time_s, rel=1e-6)  # the clock settles within a step of its search
    assert sum(mixed.units[0].energy_J.values()) == pytest.approx(alone.total_energy_J, rel=1e-6)


@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("kind", [shared, offload])
def test_layers_that_are_only_counted_are_those_that_would_have_run(
    file: Path, kind: Callable[..., System], groups: int
) -> None:
    """The same layers under different names are alike to nobody, so each of them is run."""
    system = kind(file, head_groups=groups)
    rules = system.spec.placement
    assert rules is not None
    model, profile = load_model("mixtral-8x7b"), load_profile("ideal")
    (kernels,) = plan_step(model, MIXED_STEP, Precision.of(), profile).stages
    layers = [[k for k in kernels if k.block == block] for block in ("embedding", "layer0", "head")]
    apart = [replace(k, kernel=replace(k.kernel, repeat=1)) for k in layers[0]]
    for index in range(layers[1][0].kernel.repeat):
        apart += [replace(k, block=f"layer{index}", kernel=replace(k.kernel, repeat=1)) for k in layers[1]]
    counted, run_all = execute(system, kernels), execute(system, [*apart, *layers[2]])
    assert counted.timeline.kept < 0.4 * run_all.timeline.kept
    assert counted.time_s == pytest.approx(run_all.time_s, rel=1e-9)
    assert len(counted.timeline) == len(run_all.timeline) == len(list(counted.timeline))
    for one, other in zip(counted.timeline, run_all.timeline, strict=True):
        assert (one.resource, one.name) == (other.resource, other.name)
        assert one.start_s == pytest.approx(other.start_s, rel=1e-7, abs=1e-12)
    for one, other in zip(counted.units, run_all.units, strict=True):
        assert (one.name, one.busy_s) == (other.name, pytest.approx(other.busy_s))
        assert sum(one.energy_J.values()) == pytest.approx(sum(other.energy_J.values()))
