"""The three number formats of a run: weights, activations and KV cache, chosen separately."""

from __future__ import annotations

from dataclasses import dataclass

from workloads.formats import NumberFormat, load_format

__all__ = ["Precision"]


@dataclass(frozen=True, slots=True)
class Precision:
    """Formats of the weights, of the inputs of matrix products, and of the KV cache."""

    weights: NumberFormat
    activations: NumberFormat
    kv: NumberFormat
    experts: NumberFormat | None = None  # routed experts, where they differ from the other weights (gpt-oss)

    @classmethod
    def of(
        cls, weights: str = "bf16", activations: str = "bf16", kv: str | None = None, experts: str | None = None
    ) -> Precision:
        """Build from names; the cache follows the 16-bit stream and the experts the weights unless told otherwise.

        Examples
        --------
        >>> Precision.of("int4-g128").kv.name
        'bf16'
        """
        act = load_format(activations)
        stream = act if act.bits >= 16 else load_format("bf16")
        return cls(
            load_format(weights),
            act,
            load_format(kv) if kv else stream,
            load_format(experts) if experts else None,
        )

    @property
    def expert_weights(self) -> NumberFormat:
        """Format of the routed experts' weights."""
        return self.weights if self.experts is None else self.experts

    def inputs(self, weights: NumberFormat) -> NumberFormat:
        """Return the format of what is multiplied with ``weights``: nobody narrows the input of 16-bit weights."""
        return self.activations if weights.bits < 16 else self.stream

    @property
    def stream(self) -> NumberFormat:
        """The format of the residual stream and of what products write: never narrower than 16 bits."""
        return self.activations if self.activations.bits >= 16 else load_format("bf16")
