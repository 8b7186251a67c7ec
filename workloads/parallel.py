"""How one model is spread over devices: tensor, pipeline, expert and data parallelism."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from simulator.core.errors import InputError
from workloads.model import ModelSpec

__all__ = ["ExpertExchange", "Parallelism"]

#: How tokens come to experts on other devices, a habit of the software: ``all_to_all`` sends each copy to the device of
#: its expert and back (DeepEP); ``gather`` gives every device the tokens of all replicas, lets it compute what its
#: experts add to each, and sums that up (vLLM's default, SGLang, TensorRT-LLM).
ExpertExchange = Literal["all_to_all", "gather"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parallelism:
    """Degrees of parallelism; the devices needed are ``tp * pp * dp``.

    ``dp`` splits the sequences over replicas of the attention and dense blocks. With ``ep`` = 1 the experts are split
    like dense blocks, by ``tp``; with ``ep`` > 1 the experts of a layer are spread over ``ep`` of the ``tp * dp``
    devices of a stage (data-parallel attention, expert-parallel experts), each sliced over the ``tp * dp / ep`` left.
    """

    tp: int = 1
    pp: int = 1
    ep: int = 1
    dp: int = 1
    sequence_parallel: bool = False  # norms on 1/tp of the tokens; all-gather + reduce-scatter instead of all-reduce
    micro_batches: int | None = None  # None: as many as stages, where there are sequences enough

    def __post_init__(self) -> None:
        for field in ("tp", "pp", "ep", "dp"):
            value = getattr(self, field)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise InputError(f"--{field} must be an integer of at least 1, got {value!r}")
        if self.micro_batches is not None and self.micro_batches < 1:
            raise InputError(f"micro_batches must be at least 1, got {self.micro_batches!r}")
        if self.ep > 1 and (self.tp * self.dp) % self.ep:
            raise InputError(
                f"--ep {self.ep} must divide tp x dp = {self.tp * self.dp}: experts live on the devices of one stage"
            )

    @property
    def devices(self) -> int:
        """Devices in use."""
        return self.tp * self.pp * self.dp

    @property
    def expert_tp(self) -> int:
        """Devices that share one expert."""
        return self.tp if self.ep == 1 else self.tp * self.dp // self.ep

    def check(self, model: ModelSpec) -> None:
        """Raise :class:`InputError` where the degrees do not divide the model."""
        layers = sum(g.count for g in model.layers)
        if self.pp > layers:
            raise InputError(f"--pp {self.pp}: {model.name} has only {layers} layers; use at most --pp {layers}")
        for group in model.layers:
            layer = group.layer
            heads = layer.attention.heads
            if heads % self.tp:
                raise InputError(f"--tp {self.tp} does not divide the {heads} attention heads of {model.name}")
            if layer.moe is not None and layer.moe.experts % self.ep:
                raise InputError(f"--ep {self.ep} does not divide the {layer.moe.experts} experts of {model.name}")
            if layer.moe is not None and layer.moe.expert_width % self.expert_tp:
                raise InputError(
                    f"{self.expert_tp} devices share an expert of {model.name} but do not divide its width "
                    f"{layer.moe.expert_width}; raise --ep"
                )
            if layer.moe is not None and (layer.moe.shared * layer.moe.shared_width) % self.tp:
                raise InputError(
                    f"--tp {self.tp} does not divide the width {layer.moe.shared * layer.moe.shared_width} of the "
                    f"shared experts of {model.name}"
                )
            if layer.feed_forward is not None and layer.feed_forward.width % self.tp:
                raise InputError(f"--tp {self.tp} does not divide the feed-forward width {layer.feed_forward.width}")
        if self.ep > 1 and all(g.layer.moe is None for g in model.layers):
            raise InputError(f"--ep {self.ep}: {model.name} has no experts; leave --ep out")
