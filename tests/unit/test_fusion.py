"""Fusion and lowering: what a software stack makes of a graph. The bytes that go are exactly the intermediates."""

import math
from pathlib import Path

import jsonschema
import pytest
import yaml

from simulator.core.errors import SpecError
from simulator.engine import profile as profile_module
from simulator.engine.fusion import fuse, fuse_block
from simulator.engine.lowering import lower
from simulator.engine.profile import Profile, load_profile, profile_names, profile_schema
from workloads.catalog import load_model
from workloads.graph import Block
from workloads.operators import Collective, Gather, Gemm, Role, Tensor, Transfer, Vector, role_bytes, total_bytes
from workloads.parallel import Parallelism
from workloads.precision import Precision
from workloads.step import Step
from workloads.transformer import build_graph

BF16 = Precision.of()
MODELS = ["llama-3-8b", "gpt2", "gemma-2-9b", "qwen3-8b", "mixtral-8x7b", "deepseek-v3", "gpt-oss-20b", "bert-base"]


def vector(name, reads, writes, **fields):
    """One kernel over 100 elements of 2 bytes; ``reads`` and ``writes`` name values."""
    operands = [Tensor(value, Role.INPUT, 200.0) for value in reads]
    operands += [Tensor(value, Role.OUTPUT, 200.0) for value in writes]
    return Vector(name=name, rows=1.0, columns=100.0, operands=tuple(operands), **fields)


def external(*operators, groups, carries=()):
    """Values read and written by a block after fusion, per operator."""
    block = fuse_block(Block("b", 1, operators, frozenset(carries)), groups)
    return [
        (
            op.name,
            {t.value for t in op.tensors if not t.role.is_write},
            {t.value for t in op.tensors if t.role.is_write},
        )
        for op in block.operators
    ]


def profile(**fields):
    return Profile.model_validate(
        {"schema": "ridgeline/profile/v1", "name": "test", "description": "test", "based_on": "test", **fields}
    )


def layer(name, step, precision=BF16, index=1):
    return build_graph(load_model(name), step, precision).blocks[index]


# --- what stays and what goes


def test_an_intermediate_nobody_else_reads_is_gone():
    a, b = vector("a", ["x"], ["t"]), vector("b", ["t"], ["y"])
    after = vector("c", ["y"], ["z"])
    assert external(a, b, after, groups=[["a", "b"]]) == [("a", {"x"}, {"y"}), ("c", {"y"}, {"z"})]


def test_an_intermediate_that_is_read_later_is_written_once():
    a, b = vector("a", ["x"], ["t"]), vector("b", ["t"], ["y"])
    after = vector("c", ["y", "t"], ["z"])
    assert external(a, b, after, groups=[["a", "b"]])[0] == ("a", {"x"}, {"t", "y"})


def test_a_value_that_outlives_the_block_is_written():
    a, b = vector("a", ["x"], ["x"]), vector("b", ["x"], ["y"])
    assert external(a, b, vector("c", ["y"], []), groups=[["a", "b"]], carries=["x"])[0] == ("a", {"x"}, {"x", "y"})


def test_a_value_written_anew_before_it_is_read_is_not_kept():
    a, b = vector("a", ["x"], ["h"]), vector("b", ["h"], ["q"])
    later = [vector("c", ["q"], ["h"]), vector("d", ["h"], ["z"])]
    assert external(a, b, *later, groups=[["a", "b"]])[0] == ("a", {"x"}, {"q"})
    # an operator that updates it in place reads the old one
    later = [vector("c", ["q", "h"], ["h"]), vector("d", ["h"], ["z"])]
    assert external(a, b, *later, groups=[["a", "b"]])[0] == ("a", {"x"}, {"h", "q"})


def test_a_value_two_members_read_is_read_once():
    a, b = vector("a", ["x"], ["t"]), vector("b", ["t", "x"], ["y"])
    assert external(a, b, groups=[["a", "b"]], carries=["y"]) == [("a", {"x"}, {"y"})]


def test_parts_of_a_value_are_told_apart():
    norm = vector("norm", ["w#q"], ["w#q"])
    rope = vector("rope", ["w#q", "w#k"], ["q"])
    write = vector("write", ["w#v"], ["v"])
    use = vector("use", ["q", "v"], ["y"])
    # w#k and w#v were not made inside, though w#q was
    assert external(norm, rope, write, use, groups=[["norm", "rope", "write"]])[0] == (
        "norm",
        {"w#q", "w#k", "w#v"},
        {"q", "v"},
    )
    # a part is needed while the whole is
    whole = vector("whole", ["w"], ["y"])
    assert external(norm, rope, whole, groups=[["norm", "rope"]])[0][2] == {"w#q"}


def test_the_last_value_stays_even_if_nobody_reads_it():
    a, b = vector("a", ["x"], ["t"]), vector("b", ["t"], ["y"])
    assert external(a, b, groups=[["a", "b"]]) == [("a", {"x"}, {"y"})]


def test_work_is_added_and_members_are_named():
    a, b = vector("a", ["x"], ["t"], ops_per_element=2.0), vector("b", ["t"], ["y"], special_per_element=1.5)
    (fused,) = fuse([a, b], [], frozenset())
    assert fused.vector_ops == a.vector_ops + b.vector_ops
    assert (fused.name, fused.parts) == ("a", ("b",))
    (again,) = fuse([fused, vector("c", ["y"], ["z"])], [], frozenset())
    assert again.parts == ("b", "c")


def test_products_become_the_kernel_and_take_the_rest_in():
    act = vector("act", ["y"], ["z"], ops_per_element=3.0)
    product = Gemm(name="up", m=10, n=10, k=20, activations=BF16.stream, weights=BF16.weights, output=BF16.stream)
    norm = vector("norm", ["r"], ["x"], reduction="row")
    (fused,) = fuse([norm, product, act], [], frozenset({"z"}))
    assert fused.kind == "gemm" and fused.flops == product.flops
    assert fused.vector_ops == norm.vector_ops + act.vector_ops
    assert {t.value: t.size_B for t in fused.tensors} == {"r": 200.0, "up.weight": 400.0, "z": 200.0}


def test_communication_is_never_swallowed():
    reduce = Collective(name="reduce", op="all_reduce", message_B=200.0, world=2, value="t")
    a, b = vector("a", ["x"], ["t"]), vector("b", ["t"], ["y"])
    names = [row[0] for row in external(a, reduce, b, groups=[["a", "reduce", "b"]])]
    assert names == ["a", "reduce", "b"]
    send = Transfer(name="send", size_B=200.0, value="y")
    assert [row[0] for row in external(b, send, groups=[["b", "send"]])] == ["b", "send"]


def test_a_run_without_a_kernel_to_join_stays_whole():
    moves = [
        Gather(name=name, rows=1.0, columns=1.0, operands=(Tensor(name, Role.OUTPUT, 8.0),)) for name in ("one", "two")
    ]
    assert fuse(moves, [], frozenset()) == moves


# --- bundled profiles on real models


@pytest.mark.parametrize("stack", profile_names())
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("formats", [("bf16", "bf16"), ("fp8", "fp8")])
def test_fusion_keeps_the_work_and_never_adds_bytes(name, stack, formats):
    step = Step.of((2, 64, 0))
    graph = build_graph(load_model(name), step, Precision.of(*formats))
    for block in graph.blocks:
        fused = fuse_block(block, load_profile(stack).fusion)
        before, after = role_bytes(block.operators), role_bytes(fused.operators)
        assert math.isclose(sum(op.flops for op in fused.operators), sum(op.flops for op in block.operators))
        assert math.isclose(sum(op.vector_ops for op in fused.operators), sum(op.vector_ops for op in block.operators))
        for role in (Role.WEIGHT, Role.SCALES, Role.KV_READ, Role.KV_WRITE):
            assert math.isclose(after[role], before[role])
        assert all(after[role] <= before[role] for role in Role)
        # the residual stream is read, and what the next block needs of it written
        if block.name.startswith("layer"):
            assert sum(t.size_B for op in fused.operators for t in op.tensors if t.value == "x" and t.role.is_write) > 0
            assert fused.operators[-1].tensors[-1].value == "branch"


def test_ideal_fusion_of_a_llama_layer_by_hand():
    T, d, q, kv, f = 32, 4096, 4096, 1024, 14336
    block = layer("llama-3-8b", Step.of((32, 1, 1000)))
    fused = fuse_block(block, load_profile("ideal").fusion)
    assert [op.name for op in fused.operators] == [
        "attention_norm", "qkv", "rope_q", "attention", "out", "feed_forward_norm", "up", "down",
    ]  # fmt: skip
    gone = {Role.INPUT: 0, Role.OUTPUT: 0}
    # the sum between add and norm is not read back (written it is: the next add needs it), twice
    gone[Role.INPUT] += 2 * T * d
    # rotated keys go straight to the cache
    gone[Role.INPUT] += T * kv
    gone[Role.OUTPUT] += T * kv
    # gate and up never leave the chip
    gone[Role.INPUT] += T * 2 * f
    gone[Role.OUTPUT] += T * 2 * f
    before, after = role_bytes(block.operators), role_bytes(fused.operators)
    for role, elements in gone.items():
        assert before[role] - after[role] == 2 * elements
    assert next(op for op in fused.operators if op.name == "rope_q").tensors[-1].role is Role.KV_WRITE
    assert q == 32 * 128


def test_norms_of_queries_do_not_hide_keys_and_values():
    T, q, kv = 8, 32 * 128, 8 * 128
    fused = fuse_block(layer("qwen3-8b", Step.of((8, 1, 100))), load_profile("ideal").fusion)
    kernel = next(op for op in fused.operators if "kv_write" in getattr(op, "parts", ()))
    sizes = role_bytes([kernel])
    assert sizes[Role.INPUT] == 2 * T * (q + 2 * kv)  # queries, keys, values
    assert sizes[Role.OUTPUT] == 2 * T * q  # rotated queries
    assert sizes[Role.KV_WRITE] == 2 * T * 2 * kv


def test_a_quantised_norm_writes_only_what_is_read():
    fused = fuse_block(
        layer("llama-3-8b", Step.of((8, 1, 100)), Precision.of("fp8", "fp8")), load_profile("ideal").fusion
    )
    written = {t.value for t in fused.operators[0].tensors if t.role.is_write}
    assert fused.operators[0].parts == ("attention_add", "quantize_h") and written == {"x", "h_q"}


# --- profiles


def launches(kernels):
    return [(k.block, k.kernel.operator.name, k.kernel.repeat) for k in kernels]


def lowered(stack, step, name="gpt2", **options):
    return lower(build_graph(load_model(name), step, BF16, **options), step, stack)


def test_without_fusion_every_operator_is_a_launch():
    step = Step.of((4, 1, 100))
    graph = build_graph(load_model("gpt2"), step, BF16)
    kernels = lower(graph, step, profile())
    assert launches(kernels) == [(b.name, op.name, b.repeat) for b in graph.blocks for op in b.operators]
    assert {k.kernel.host_s for k in kernels} == {0.0}


def test_an_eager_stack_pays_the_host_for_every_launch():
    eager = profile(launch={"mode": "eager", "host_interval": "5 us"})
    assert {k.kernel.host_s for k in lowered(eager, Step.of((4, 1, 100)))} == {5e-6}


def test_operators_omitted_where_nothing_is_cached():
    stack = profile(omit_uncached=["kv_write"])
    for step, there in (
        (Step.of((4, 64, 0)), False),
        (Step.of((4, 1, 9)), True),
        (Step.of((1, 8, 0), (1, 1, 8)), True),
    ):
        assert ("kv_write" in [row[1] for row in launches(lowered(stack, step))]) is there


def test_insertions_copy_what_an_operator_wrote():
    stack = profile(insert=[{"after": "attention", "name": "transpose", "implementation": "copy"}])
    kernels = [k.kernel for k in lowered(stack, Step.of((4, 1, 100)))]
    position = next(i for i, k in enumerate(kernels) if k.operator.name == "transpose")
    assert kernels[position - 1].operator.name == "attention"
    copy = kernels[position].operator
    assert (copy.implementation, total_bytes(copy), copy.elements) == ("copy", 2 * 4 * 768 * 2, 4 * 768)
    assert kernels[position].repeat == 12


def test_an_insertion_after_a_transfer_has_nothing_to_copy():
    stack = profile(insert=[{"after": "to_next_stage", "name": "extra"}])
    kernels = lowered(stack, Step.of((4, 1, 100)), parallel=Parallelism(pp=2))
    assert [row[1] for row in launches(kernels)][-1] == "to_next_stage"


def test_small_kernels_are_counted_per_layer_and_step():
    stack = profile(small_kernels={"layer": 3, "moe_layer": 5, "step": 2})
    step = Step.of((4, 1, 100))
    small = [(block, n) for block, name, n in launches(lowered(stack, step)) if name == "small_kernels"]
    assert small == [("layer0", 12 * 3), ("head", 2)]
    small = [(b, n) for b, name, n in launches(lowered(stack, step, "deepseek-v3")) if name == "small_kernels"]
    assert small == [("layer0", 3 * 3), ("layer1", 58 * 8), ("head", 2)]


def test_kernels_are_dressed_by_the_profile():
    stack = profile(
        attention=[{"backend": "cudnn", "max_queries": 1}, {"backend": "flash2"}],
        implementations={"attention_norm": "layernorm"},
        direct_all_reduce=True,
    )
    for step, backend in ((Step.of((4, 1, 100)), "cudnn"), (Step.of((1, 9, 0), (4, 1, 100)), "flash2")):
        kernels = {k.kernel.operator.name: k.kernel.operator for k in lowered(stack, step, parallel=Parallelism(tp=2))}
        assert kernels["attention"].backend == backend
        assert kernels["attention_norm"].implementation == "layernorm"
        assert kernels["feed_forward_norm"].implementation == "ideal"
        assert kernels["attention_reduce"].direct


def test_padding_adds_sequences_up_to_a_captured_size():
    stack = profile(pad_sequences=[1, 4, 8])
    padded = stack.pad(Step.of((3, 1, 100), (2, 1, 50)))
    assert padded.sequences == 8 and padded.logits == 8 and padded.tokens == 8
    assert sum(g.count * g.cached for g in padded.groups) == 3 * 100 + 2 * 50  # the added ones see nothing
    for step in (Step.of((4, 1, 100)), Step.of((9, 1, 100)), Step.of((3, 2, 100)), Step.of((3, 1, 9), (1, 50, 0))):
        assert stack.pad(step) == step


@pytest.mark.parametrize("budget", [None, 100, 512, 8192])
@pytest.mark.parametrize(
    ("count", "new", "cached"), [(1, 1, 0), (7, 100, 0), (3, 1000, 5), (16, 2048, 64), (1, 8193, 0)]
)
def test_prefill_within_a_budget_conserves_tokens_and_pairs(budget, count, new, cached):
    stack = profile() if budget is None else profile(step_tokens=budget)
    steps = stack.prefill_steps(count, new, cached)
    assert sum(step.tokens * times for step, times in steps) == count * new
    assert sum(step.logits * times for step, times in steps) == count
    assert all(budget is None or step.tokens <= budget for step, _ in steps)

    def causal_pairs(g):
        return g.count * (g.new * g.cached + g.new * (g.new + 1) // 2)

    total = sum(times * sum(causal_pairs(g) for g in step.groups) for step, times in steps)
    assert total == count * (new * cached + new * (new + 1) // 2)


# --- products merged, launches of steps with prompts


def test_products_of_one_input_become_one() -> None:
    step = Step.of((4, 1, 100))
    apart = lower(build_graph(load_model("deepseek-v3"), step, BF16), step, profile())
    together = lower(build_graph(load_model("deepseek-v3"), step, BF16), step, profile(merge=[["q_down", "kv_down"]]))
    products = {k.kernel.operator.name: k.kernel.operator for k in apart if k.block == "layer1"}
    merged = next(k.kernel.operator for k in together if k.block == "layer1" and k.kernel.operator.name == "q_down")
    assert not any(k.kernel.operator.name == "kv_down" for k in together)
    assert merged.n == products["q_down"].n + products["kv_down"].n
    assert merged.flops == products["q_down"].flops + products["kv_down"].flops
    # The input is read once.
    assert sum(t.size_B for t in merged.tensors) == pytest.approx(
        sum(t.size_B for name in ("q_down", "kv_down") for t in products[name].tensors)
        - sum(t.size_B for t in products["kv_down"].tensors if t.role is Role.INPUT)
    )


def test_products_of_other_inputs_stay_apart() -> None:
    step = Step.of((4, 1, 100))
    stack = profile(merge=[["q_up", "kv_down"]])
    names = [k.kernel.operator.name for k in lower(build_graph(load_model("deepseek-v3"), step, BF16), step, stack)]
    assert "q_up" in names and "kv_down" in names


@pytest.mark.parametrize(
    ("groups", "paid"),
    [
        (((8, 1, 500),), False),  # captured
        (((1, 400, 0),), False),  # no more tokens than are captured, too
        (((1, 600, 0),), True),
        (((1, 600, 0), (8, 1, 500)), True),
        (((300, 5, 500, 5),), False),  # drafted tokens, not prompts
    ],
)
def test_steps_with_prompts_are_launched_by_the_host(groups, paid) -> None:
    step = Step.of(*groups)
    stack = profile(launch={"prompt_interval": "50 us", "captured_tokens": 512})
    kernels = lower(build_graph(load_model("llama-3-8b"), step, BF16), step, stack)
    assert {k.kernel.host_s for k in kernels} == ({50e-6} if paid else {0.0})


@pytest.mark.parametrize("name", profile_names())
def test_editors_accept_the_bundled_profiles_and_mark_what_loading_refuses(name: str) -> None:
    validator = jsonschema.Draft202012Validator(profile_schema())
    text = (Path(profile_module.__file__).parent / "profiles" / f"{name}.yaml").read_text(encoding="utf-8")
    assert not list(validator.iter_errors(yaml.safe_load(text)))
    for wrong in ({"serving": {"look_evry": 5}}, {"launch": {"prompt_interval": 5}}, {"inherits": "nobody"}):
        assert not validator.is_valid(yaml.safe_load(text) | wrong)


def test_a_profile_inherits_what_it_does_not_name(tmp_path) -> None:
    base, heir = load_profile("vllm"), load_profile("vllm-0.19")
    assert heir.fusion == base.fusion and heir.serving != base.serving
    namesake = tmp_path / "vllm.yaml"
    namesake.write_text("schema: ridgeline/profile/v1\nname: mine\ninherits: vllm-0.19\n", "utf-8")
    assert load_profile(str(namesake)).serving == heir.serving
    for text, expected in (("inherits: nobody", "bundled profile"), ("inherits: [vllm]", "bundled profile")):
        file = tmp_path / "mine.yaml"
        file.write_text(f"schema: ridgeline/profile/v1\nname: mine\ndescription: d\nbased_on: b\n{text}\n", "utf-8")
        with pytest.raises(SpecError, match=expected):
            load_profile(str(file))
