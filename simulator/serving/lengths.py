"""How long inputs and outputs are: fixed, uniform, log-normal, or drawn from a trace."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from simulator.core.errors import InputError
from simulator.serving.requests import LARGEST_TOKENS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Integers = NDArray[np.int64]

__all__ = ["Distribution", "Lengths", "Pairs", "ShapedLengths", "parse_lengths"]

_FORM = (
    "lengths are INPUT:OUTPUT, each a number (1024), a range (800-1024) or a median and its log-normal sigma (1020~0.9)"
)


class Lengths(Protocol):
    """Draws lengths of inputs and outputs."""

    def draw(self, random: np.random.Generator, count: int) -> tuple[Integers, Integers]:
        """Return ``count`` input and output lengths, tokens."""

    @property
    def mean_tokens(self) -> float:
        """Mean of input and output together."""

    @property
    def longest_tokens(self) -> int:
        """The longest input and output together that can be drawn."""


@dataclass(frozen=True, slots=True)
class Distribution:
    """One length: uniform between ``low`` and ``high``, or log-normal around ``low`` where ``sigma`` is above 0."""

    low: int
    high: int
    sigma: float = 0.0

    @property
    def mean(self) -> float:
        """Mean length, tokens (a log-normal one before it is cut)."""
        return self.low * math.exp(self.sigma**2 / 2.0) if self.sigma > 0 else (self.low + self.high) / 2.0

    def draw(self, random: np.random.Generator, count: int) -> Integers:
        """Return lengths."""
        import numpy as np

        if self.sigma > 0:
            shaped = self.low * np.exp(self.sigma * random.standard_normal(count))
            lengths: Integers = np.clip(np.rint(shaped), 1, self.high).astype(np.int64)
            return lengths
        lengths = random.integers(self.low, self.high + 1, count)
        return lengths


@dataclass(frozen=True, slots=True)
class ShapedLengths:
    """Inputs and outputs that do not depend on each other."""

    inputs: Distribution
    outputs: Distribution

    def draw(self, random: np.random.Generator, count: int) -> tuple[Integers, Integers]:
        """Return lengths."""
        return self.inputs.draw(random, count), self.outputs.draw(random, count)

    @property
    def mean_tokens(self) -> float:
        """Sum of the means."""
        return self.inputs.mean + self.outputs.mean

    @property
    def longest_tokens(self) -> int:
        """Sum of the longest."""
        return self.inputs.high + self.outputs.high


@dataclass(frozen=True, slots=True)
class Pairs:
    """Pairs of a trace, drawn with replacement."""

    inputs: Integers
    outputs: Integers

    def draw(self, random: np.random.Generator, count: int) -> tuple[Integers, Integers]:
        """Return lengths of requests of the trace."""
        chosen = random.integers(0, self.inputs.size, count)
        return self.inputs[chosen], self.outputs[chosen]

    @property
    def mean_tokens(self) -> float:
        """Mean of the trace."""
        return float((self.inputs + self.outputs).mean())

    @property
    def longest_tokens(self) -> int:
        """The longest of the trace."""
        return int((self.inputs + self.outputs).max())


def parse_lengths(text: str) -> ShapedLengths:
    """Read ``INPUT:OUTPUT``.

    Raises
    ------
    InputError
        If it is of another form, or a length is out of range.

    Examples
    --------
    >>> parse_lengths("800-1024:128").mean_tokens
    1040.0
    """
    parts = text.split(":")
    if len(parts) != 2:
        raise InputError(f"{text!r}: {_FORM}")
    return ShapedLengths(_parse_one(parts[0], text), _parse_one(parts[1], text))


def _parse_one(part: str, text: str) -> Distribution:
    try:
        if "~" in part:
            median, sigma = part.split("~")
            low, shape = int(median), float(sigma)
            if not (1 <= low <= LARGEST_TOKENS and 0.0 < shape <= 5.0):
                raise InputError(f"{text!r}: a median is 1 to {LARGEST_TOKENS} tokens and sigma above 0 and at most 5")
            return Distribution(low, min(int(low * math.exp(4.0 * shape)), LARGEST_TOKENS), shape)
        first, dash, last = part.partition("-")
        low, high = int(first), int(last if dash else first)
    except ValueError:
        raise InputError(f"{text!r}: {_FORM}") from None
    if not 1 <= low <= high <= LARGEST_TOKENS:
        raise InputError(f"{text!r}: a length is at least 1 and at most {LARGEST_TOKENS}, and a range rises")
    return Distribution(low, high)
