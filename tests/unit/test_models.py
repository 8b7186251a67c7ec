"""Every bundled model against numbers derived without it: parameters, bytes of KV cache per token, FLOPs per token.

``exact`` counts are those of the published checkpoint's tensor list (Hugging Face safetensors metadata; for Grok-1 the
inventory of its own checkpoint); ``rounded`` ones are figures of the paper, met to half a unit of their last digit;
``loose`` ones are figures the paper's own table of dimensions does not meet to the last digit, with the relative gap.
"""

from __future__ import annotations

from typing import NamedTuple

import pytest

from simulator.core.errors import UnknownNameError
from workloads.catalog import load_model, model_names
from workloads.formats import load_format
from workloads.kvcache import kv_bytes_per_token
from workloads.parameters import (
    active_parameters,
    flops_per_token,
    parameters,
    parameters_by_part,
    weight_B,
    weight_tensors,
)


class Facts(NamedTuple):
    """Published count and its kind; layers, width, heads, KV heads, head width; feed-forward elements; vocabulary."""

    count: float
    kind: str
    gap: float  # half a unit of the last published digit, or the relative gap of a loose one
    layers: int
    width: int
    heads: int
    kv_heads: int
    head: int
    block: float  # elements of the feed-forward matrices one token meets in an average layer, router included
    vocab: int


def exact(count, *rest):
    return Facts(count, "exact", 0, *rest)


def rounded(count, half_unit, *rest):
    return Facts(count, "rounded", half_unit, *rest)


def loose(count, gap, *rest):
    return Facts(count, "loose", gap, *rest)


FACTS = {
    "gpt2": exact(124439808, 12, 768, 12, 12, 64, 8 * 768**2, 50257),
    "gpt2-medium": exact(354823168, 24, 1024, 16, 16, 64, 8 * 1024**2, 50257),
    "gpt2-large": exact(774030080, 36, 1280, 20, 20, 64, 8 * 1280**2, 50257),
    "gpt2-xl": exact(1557611200, 48, 1600, 25, 25, 64, 8 * 1600**2, 50257),
    "gpt3-125m": rounded(125e6, 0.5e6, 12, 768, 12, 12, 64, 8 * 768**2, 50257),
    "gpt3-350m": loose(350e6, 0.017, 24, 1024, 16, 16, 64, 8 * 1024**2, 50257),
    "gpt3-760m": rounded(760e6, 0.5e6, 24, 1536, 16, 16, 96, 8 * 1536**2, 50257),
    "gpt3-1.3b": rounded(1.3e9, 0.05e9, 24, 2048, 16, 16, 128, 8 * 2048**2, 50257),
    "gpt3-2.7b": rounded(2.7e9, 0.05e9, 32, 2560, 32, 32, 80, 8 * 2560**2, 50257),
    "gpt3-6.7b": rounded(6.7e9, 0.05e9, 32, 4096, 32, 32, 128, 8 * 4096**2, 50257),
    "gpt3-13b": loose(13.0e9, 0.006, 40, 5140, 40, 40, 128, 8 * 5140**2, 50257),
    "gpt3-175b": rounded(175e9, 0.5e9, 96, 12288, 96, 96, 128, 8 * 12288**2, 50257),
    "opt-125m": exact(125239296, 12, 768, 12, 12, 64, 8 * 768**2, 50272),
    "opt-350m": exact(331196416, 24, 1024, 16, 16, 64, 8 * 1024**2, 50272),
    "opt-1.3b": exact(1315758080, 24, 2048, 32, 32, 64, 8 * 2048**2, 50272),
    "opt-2.7b": exact(2651596800, 32, 2560, 32, 32, 80, 8 * 2560**2, 50272),
    "opt-6.7b": exact(6658473984, 32, 4096, 32, 32, 128, 8 * 4096**2, 50272),
    "opt-13b": exact(12853473280, 40, 5120, 40, 40, 128, 8 * 5120**2, 50272),
    "opt-30b": exact(29974540288, 48, 7168, 56, 56, 128, 8 * 7168**2, 50272),
    "opt-66b": rounded(66e9, 0.5e9, 64, 9216, 72, 72, 128, 8 * 9216**2, 50272),
    "bloom-176b": exact(176247271424, 70, 14336, 112, 112, 128, 8 * 14336**2, 250880),
    "opt-175b": rounded(175e9, 0.5e9, 96, 12288, 96, 96, 128, 8 * 12288**2, 50272),
    "llama-2-7b": exact(6738415616, 32, 4096, 32, 32, 128, 3 * 4096 * 11008, 32000),
    "llama-2-13b": exact(13015864320, 40, 5120, 40, 40, 128, 3 * 5120 * 13824, 32000),
    "llama-2-70b": exact(68976648192, 80, 8192, 64, 8, 128, 3 * 8192 * 28672, 32000),
    "llama-3-8b": exact(8030261248, 32, 4096, 32, 8, 128, 3 * 4096 * 14336, 128256),
    "llama-3-70b": exact(70553706496, 80, 8192, 64, 8, 128, 3 * 8192 * 28672, 128256),
    "llama-3.1-8b": exact(8030261248, 32, 4096, 32, 8, 128, 3 * 4096 * 14336, 128256),
    "llama-3.1-70b": exact(70553706496, 80, 8192, 64, 8, 128, 3 * 8192 * 28672, 128256),
    "llama-3.1-405b": exact(405853388800, 126, 16384, 128, 8, 128, 3 * 16384 * 53248, 128256),
    "llama-3.2-1b": exact(1235814400, 16, 2048, 32, 8, 64, 3 * 2048 * 8192, 128256),
    "llama-3.2-3b": exact(3212749824, 28, 3072, 24, 8, 128, 3 * 3072 * 8192, 128256),
    "mistral-7b": exact(7241732096, 32, 4096, 32, 8, 128, 3 * 4096 * 14336, 32000),
    "mixtral-8x7b": exact(46702792704, 32, 4096, 32, 8, 128, 2 * 3 * 4096 * 14336 + 8 * 4096, 32000),
    "mixtral-8x22b": exact(140620634112, 56, 6144, 48, 8, 128, 2 * 3 * 6144 * 16384 + 8 * 6144, 32000),
    "qwen2.5-0.5b": exact(494032768, 24, 896, 14, 2, 64, 3 * 896 * 4864, 151936),
    "qwen2.5-1.5b": exact(1543714304, 28, 1536, 12, 2, 128, 3 * 1536 * 8960, 151936),
    "qwen2.5-3b": exact(3085938688, 36, 2048, 16, 2, 128, 3 * 2048 * 11008, 151936),
    "qwen2.5-7b": exact(7615616512, 28, 3584, 28, 4, 128, 3 * 3584 * 18944, 152064),
    "qwen2.5-14b": exact(14770033664, 48, 5120, 40, 8, 128, 3 * 5120 * 13824, 152064),
    "qwen2.5-32b": exact(32763876352, 64, 5120, 40, 8, 128, 3 * 5120 * 27648, 152064),
    "qwen2.5-72b": exact(72706203648, 80, 8192, 64, 8, 128, 3 * 8192 * 29568, 152064),
    "qwen1.5-moe-a2.7b": exact(
        14315784192, 24, 2048, 16, 16, 128, 3 * 2048 * (4 * 1408 + 5632) + (60 + 1) * 2048, 151936
    ),
    "qwen3-0.6b": exact(596049920, 28, 1024, 16, 8, 128, 3 * 1024 * 3072, 151936),
    "qwen3-1.7b": exact(1720574976, 28, 2048, 16, 8, 128, 3 * 2048 * 6144, 151936),
    "qwen3-4b": exact(4022468096, 36, 2560, 32, 8, 128, 3 * 2560 * 9728, 151936),
    "qwen3-8b": exact(8190735360, 36, 4096, 32, 8, 128, 3 * 4096 * 12288, 151936),
    "qwen3-14b": exact(14768307200, 40, 5120, 40, 8, 128, 3 * 5120 * 17408, 151936),
    "qwen3-32b": exact(32762123264, 64, 5120, 64, 8, 128, 3 * 5120 * 25600, 151936),
    "qwen3-30b-a3b": exact(30532122624, 48, 2048, 32, 4, 128, 8 * 3 * 2048 * 768 + 128 * 2048, 151936),
    "qwen3-235b-a22b": exact(235093634560, 94, 4096, 64, 4, 128, 8 * 3 * 4096 * 1536 + 128 * 4096, 151936),
    "phi-3-mini": exact(3821079552, 32, 3072, 32, 32, 96, 3 * 3072 * 8192, 32064),
    "phi-3-medium": exact(13960238080, 40, 5120, 40, 10, 128, 3 * 5120 * 17920, 32064),
    "gemma-2-2b": exact(2614341888, 26, 2304, 8, 4, 256, 3 * 2304 * 9216, 256000),
    "gemma-2-9b": exact(9241705984, 42, 3584, 16, 8, 256, 3 * 3584 * 14336, 256000),
    "gemma-2-27b": exact(27227128320, 46, 4608, 32, 16, 128, 3 * 4608 * 36864, 256000),
    "bert-base": exact(109482240, 12, 768, 12, 12, 64, 8 * 768**2, 30522),
    "bert-large": exact(335141888, 24, 1024, 16, 16, 64, 8 * 1024**2, 30522),
    "t5-small-encoder": exact(35330816, 6, 512, 8, 8, 64, 2 * 512 * 2048, 32128),
    "xlm-mlm-en-2048": exact(667088896, 12, 2048, 16, 16, 128, 8 * 2048**2, 30145),
    # 1.14 GB in fp32; attention has a fifth matrix, for distances.
    "transformer-xl": exact(285205322, 18, 1024, 16, 16, 64, 8 * 1024**2, 267735),
    "deepseek-v2-lite": exact(
        15706484224, 27, 2048, 16, 16, 192, (3 * 2048 * 10944 + 26 * (3 * 2048 * 1408 * 8 + 64 * 2048)) / 27, 102400
    ),
    "deepseek-v2": exact(
        235741434880, 60, 5120, 128, 128, 192, (3 * 5120 * 12288 + 59 * (3 * 5120 * 1536 * 8 + 160 * 5120)) / 60, 102400
    ),
    "deepseek-v3": exact(
        671026419200,
        61,
        7168,
        128,
        128,
        192,
        (3 * 3 * 7168 * 18432 + 58 * (3 * 7168 * 2048 * 9 + 256 * 7168)) / 61,
        129280,
    ),
    # 229B by the model card, without the multi-token prediction layers
    "minimax-m2.5": rounded(229e9, 0.6e9, 62, 3072, 48, 8, 128, 8 * 3 * 3072 * 1536 + 256 * 3072, 200064),
    # 1T by the model card; 32B active
    "kimi-k2.5": rounded(
        1.03e12,
        0.02e12,
        61,
        7168,
        64,
        64,
        192,
        (3 * 7168 * 18432 + 60 * (3 * 7168 * 2048 * 9 + 384 * 7168)) / 61,
        163840,
    ),
    "grok-1": exact(315684820992, 64, 6144, 48, 8, 128, 2 * 3 * 6144 * 32768 + 8 * 6144, 131072),
    "glam-64b-64e": rounded(
        1.2e12, 0.05e12, 64, 8192, 128, 128, 128, (3 * 8192 * 32768 + 2 * 2 * 8192 * 32768 + 64 * 8192) / 2, 256000
    ),
    "gpt-oss-20b": exact(20914757184, 24, 2880, 64, 8, 64, 4 * 3 * 2880 * 2880 + 32 * 2880, 201088),
    "gpt-oss-120b": exact(116829156672, 36, 2880, 64, 8, 64, 4 * 3 * 2880 * 2880 + 128 * 2880, 201088),
}

#: Latent attention: query rank (None: one step), KV rank, widths of the parts of a query head, and of a value head.
LATENT = {
    "deepseek-v2-lite": (None, 512, 128, 64, 128),
    "deepseek-v2": (1536, 512, 128, 64, 128),
    "deepseek-v3": (1536, 512, 128, 64, 128),
    "kimi-k2.5": (1536, 512, 128, 64, 128),
}

#: KV bytes per token at 16 bits, from papers and from multiplying out by hand.
KV_B = {
    "llama-3-8b": 131072,  # 32 x 2 x 8 x 128 x 2
    "llama-2-7b": 524288,  # 32 x 2 x 4096 x 2
    "opt-13b": 819200,  # 800 KB: Kwon et al. 2023, section 3
    "minimax-m2.5": 253952,  # 62 x 2 x 8 x 128 x 2; the model card says 240 GB for a million tokens
    "deepseek-v3": 70272,  # 61 x (512 + 64) x 2
    "deepseek-v2": 69120,
    "qwen2.5-7b": 57344,
    "gpt-oss-20b": 49152,
    "gemma-2-9b": 344064,
    "mixtral-8x7b": 131072,
    "llama-3.1-405b": 516096,
    "gpt3-175b": 4718592,
}

#: Published active parameters, half a unit of the last digit, and whether the embedding table is left out of them.
ACTIVE = {
    "mixtral-8x7b": (12.9e9, 0.05e9, False),  # arXiv 2401.04088: 13B, the model card 12.9B
    "mixtral-8x22b": (39e9, 0.5e9, False),  # Mistral AI, "Cheaper, better, faster, stronger"
    "qwen3-30b-a3b": (3353032704, 0, False),  # the checkpoint's tensor list
    "qwen3-235b-a22b": (22e9, 0.5e9, False),
    "qwen1.5-moe-a2.7b": (2.7e9, 0.05e9, False),
    "deepseek-v2": (21e9, 0.5e9, False),  # arXiv 2405.04434
    "deepseek-v3": (37552282624, 14848, False),  # the tensor list; the correction biases may or may not be counted
    "minimax-m2.5": (10.5e9, 0.6e9, False),  # the model card: 10B
    "kimi-k2.5": (32.5e9, 0.6e9, False),  # the model card: 32B
    "gpt-oss-20b": (3.61e9, 0.005e9, True),  # arXiv 2508.10925, table 1: unembedding counted, embedding not
    "gpt-oss-120b": (5.13e9, 0.005e9, True),
    "glam-64b-64e": (96.6e9, 0.05e9, False),  # arXiv 2112.06905, table 4
}


ENCODERS = ("bert-base", "bert-large", "t5-small-encoder", "xlm-mlm-en-2048")

#: Rows and widths of an adaptive embedding (arXiv 1809.10853): a quarter of the width from cutoff to cutoff.
CLUSTERS = {"transformer-xl": ((20000, 1024), (20000, 256), (160000, 64), (67735, 16))}


def attention_elements(name: str, f: Facts) -> int:
    """Elements of one layer's attention matrices, in closed form."""
    if name in CLUSTERS:
        return f.width * f.head * 5 * f.heads
    if name not in LATENT:
        return f.width * f.head * (2 * f.heads + 2 * f.kv_heads)
    q_rank, kv_rank, nope, rope, value = LATENT[name]
    query = f.width * f.heads * f.head if q_rank is None else q_rank * (f.width + f.heads * f.head)
    down, up = f.width * (kv_rank + rope), kv_rank * f.heads * (nope + value)
    return query + down + up + f.width * f.heads * value


def test_every_bundled_model_is_checked():
    assert sorted(FACTS) == model_names()


@pytest.mark.parametrize("name", FACTS)
def test_parameters(name):
    facts = FACTS[name]
    count = parameters(load_model(name))
    if facts.kind == "exact":
        assert count == facts.count
    elif facts.kind == "rounded":
        assert abs(count - facts.count) <= facts.gap
    else:
        assert facts.gap / 2 < abs(count / facts.count - 1) <= facts.gap  # no looser than it must be


@pytest.mark.parametrize("name", FACTS)
def test_flops_per_token(name):
    facts = FACTS[name]
    model = load_model(name)
    head = 0 if name in ENCODERS else facts.vocab * (512 if name == "opt-350m" else facts.width)
    project = 2 * 512 * 1024 if name == "opt-350m" else 0
    if name in CLUSTERS:
        head = sum(rows * width for rows, width in CLUSTERS[name])
        project = 1024 * (1024 + sum(width for _, width in CLUSTERS[name]))
    matrices = facts.layers * (attention_elements(name, facts) + facts.block) + head + project
    assert flops_per_token(model) == pytest.approx(2 * matrices, rel=1e-12)
    # The attention term: a query and a value product per visible key.
    value = LATENT[name][4] if name in LATENT else facts.head
    query = 2 * facts.head if name in CLUSTERS else facts.head  # distances are second keys
    per_key = 2 * facts.layers * facts.heads * (query + value)
    assert flops_per_token(model, 100) - flops_per_token(model) == pytest.approx(100 * per_key, rel=1e-9)


@pytest.mark.parametrize("name", FACTS)
def test_kv_bytes_per_token(name):
    facts = FACTS[name]
    model = load_model(name)
    if name in ENCODERS:
        by_hand = 0
    elif name in LATENT:
        by_hand = facts.layers * (LATENT[name][1] + LATENT[name][3]) * 2
    else:
        by_hand = facts.layers * 2 * facts.kv_heads * facts.head * 2
    assert kv_bytes_per_token(model, load_format("bf16")) == by_hand
    assert kv_bytes_per_token(model, load_format("fp8")) == by_hand / 2


@pytest.mark.parametrize("name", KV_B)
def test_kv_bytes_per_token_as_published(name):
    assert kv_bytes_per_token(load_model(name), load_format("bf16")) == KV_B[name]


@pytest.mark.parametrize("name", ACTIVE)
def test_active_parameters(name):
    published, half_unit, without_embedding = ACTIVE[name]
    model = load_model(name)
    active = active_parameters(model) - (model.vocab * model.hidden if without_embedding else 0)
    assert abs(active - published) <= half_unit


@pytest.mark.parametrize("name", FACTS)
def test_dense_models_use_all_parameters(name):
    model = load_model(name)
    if all(g.layer.moe is None for g in model.layers):
        assert active_parameters(model) == parameters(model)
    else:
        assert active_parameters(model) < parameters(model)


@pytest.mark.parametrize("name", FACTS)
def test_specs_are_complete(name):
    model = load_model(name)
    assert model.source and model.name == name and model.warnings == ()
    load_format(model.weight_format)
    assert sum(g.count for g in model.layers) == FACTS[name].layers
    for group in model.layers:
        assert (group.layer.moe is None) != (group.layer.feed_forward is None)
    assert sum(parameters_by_part(model).values()) == parameters(model)
    assert all(t.elements > 0 for t in weight_tensors(model))


def test_names_are_told_apart_whatever_the_case():
    for name in model_names():
        assert load_model(name.upper().replace("-", "_")).name == name


@pytest.mark.parametrize(
    ("typed", "name"), [("OPT-1_3B", "opt-1.3b"), ("opt13b", "opt-13b"), ("qwen25 7B", "qwen2.5-7b")]
)
def test_numbers_are_told_apart(typed, name):
    assert load_model(typed).name == name


def test_ambiguous_name_is_refused():
    with pytest.raises(UnknownNameError, match=r"'gpt3-1.3b' or 'gpt3-13b'"):
        load_model("gpt313b")


def test_two_thirds_of_the_models_are_exact():
    kinds = [f.kind for f in FACTS.values()]
    assert kinds.count("exact") >= 50 and kinds.count("loose") == 2


@pytest.mark.parametrize("typed", ["Llama-3-8B", "llama3-8b", "LLAMA_3_8B", "llama 3 8b"])
def test_names_as_people_type_them(typed):
    assert load_model(typed).name == "llama-3-8b"


def test_unknown_name_suggests():
    with pytest.raises(UnknownNameError, match=r"did you mean .*'llama-3-8b'"):
        load_model("lama-3-8b")


def test_windows_and_groups():
    gemma = load_model("gemma-2-9b")
    assert {(g.count, g.layer.attention.window) for g in gemma.layers} == {(21, 4096), (21, None)}
    oss = load_model("gpt-oss-20b")
    assert {(g.count, g.layer.attention.window) for g in oss.layers} == {(12, 128), (12, None)}
    assert load_model("mistral-7b").layers[0].layer.attention.window == 4096
    assert load_model("qwen2.5-7b").layers[0].layer.attention.window is None
    # A window bounds the attention term.
    growth = flops_per_token(oss, 2000) - flops_per_token(oss, 1000)
    assert growth == 12 * 2 * 64 * (64 + 64) * 1000


def test_published_formats():
    assert load_model("deepseek-v3").weight_format == "fp8-block"
    kimi = load_model("kimi-k2.5")  # experts alone are packed
    assert (kimi.weight_format, kimi.expert_format) == ("bf16", "int4-g32")
    oss = load_model("gpt-oss-120b")
    assert (oss.weight_format, oss.expert_format) == ("bf16", "mxfp4")
    assert load_model("llama-2-7b").weight_format == "fp16"


def test_weight_bytes():
    bf16 = load_format("bf16")
    llama = load_model("llama-3-8b")
    assert weight_B(llama, bf16, bf16) == 2 * 8030261248
    # Only linear layers and the untied head shrink: 4 bits and a 16-bit scale per 128.
    outside = 128256 * 4096 + 65 * 4096
    int4 = weight_B(llama, load_format("int4-g128"), bf16)
    assert int4 == (8030261248 - outside) * (4 + 16 / 128) / 8 + 2 * outside
    # The published gpt-oss-20b checkpoint is 12.8 GiB (arXiv 2508.10925, table 1): experts in mxfp4, the rest bf16.
    oss = load_model("gpt-oss-20b")
    assert weight_B(oss, bf16, bf16, experts=load_format("mxfp4")) / 2**30 == pytest.approx(12.8, abs=0.05)
    big = load_model("gpt-oss-120b")
    assert weight_B(big, bf16, bf16, experts=load_format("mxfp4")) / 2**30 == pytest.approx(60.8, abs=0.05)
