"""What the Splitwise study runs: machines, designs, step times of three kinds, the rate that meets all objectives."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from hwmodels.catalog import load_hardware
from hwmodels.system import build_system
from simulator.api.phases import Setup
from simulator.api.simulate import prepare as prepare_setup
from simulator.serving import layout
from simulator.serving.arrivals import Stream
from simulator.serving.capacity import find_capacity
from simulator.serving.cluster import Cluster, Link, Pool, Role, Server
from simulator.serving.engine_server import engine_cost, kv_room_B, page_B
from simulator.serving.lengths import Pairs
from simulator.serving.policy import Policy
from simulator.serving.run import prepare, run_cluster
from simulator.serving.surface import StepCost
from simulator.validation.serving.splitwise_cost import splitwise_cost
from workloads.step import Step

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

__all__ = ["MACHINES", "Design", "Timing", "designs", "highest_rate", "own_cost", "timing"]


@dataclass(frozen=True, slots=True)
class Machine:
    """Eight GPUs: price of one, power of all in the artifact's units, link; and the system of this project they are."""

    gpu_USD_per_h: float
    power: float
    link: Link
    system: str
    changes: tuple[str, ...] = ()


#: Source: notebooks of the artifact (Mutinifni/splitwise-sim) and tables I and V of the paper: capped machines draw
#: 70 % of their power, each GPU half of its own.
MACHINES = {
    "a100-80gb": Machine(2.21, 24.8, Link(0.0, 25e9), "a100x8"),
    "h100-80gb": Machine(4.76, 44.0, Link(0.0, 50e9), "h100x8"),
    "h100-80gb-pcap": Machine(4.76, 0.7 * 44.0, Link(0.0, 50e9), "h100x8", ("power.limit=350 W",)),
}

Machines = Mapping[str, int | tuple[int, int]]

#: (prompt machines, token machines) of every design. Source: scripts run_throughput_iso*.sh of the artifact. The capped
#: design for coding at equal cost exceeds its budget by 5 %, there too.
_MACHINES: Mapping[tuple[str, str], Machines] = {
    ("iso-power", "conversation"): {
        "Baseline-A100": 70,
        "Baseline-H100": 40,
        "AA": (45, 25),
        "HH": (25, 15),
        "HA": (25, 26),
        "HHcap": (25, 21),
    },
    ("iso-power", "coding"): {
        "Baseline-A100": 70,
        "Baseline-H100": 40,
        "AA": (55, 15),
        "HH": (35, 5),
        "HA": (35, 8),
        "HHcap": (35, 7),
    },
    ("iso-cost", "conversation"): {
        "Baseline-A100": 86,
        "Baseline-H100": 40,
        "AA": (51, 35),
        "HH": (25, 15),
        "HA": (30, 21),
        "HHcap": (30, 10),
    },
    ("iso-cost", "coding"): {
        "Baseline-A100": 86,
        "Baseline-H100": 40,
        "AA": (66, 20),
        "HH": (35, 5),
        "HA": (35, 10),
        "HHcap": (35, 7),
    },
}
_HARDWARE = {"A": "a100-80gb", "H": "h100-80gb", "Hcap": "h100-80gb-pcap"}

#: Slow-downs against an idle A100 machine that half, 90 % and 99 % of the requests may have (section V, table VI).
_SLO = {"ttft": (2.0, 3.0, 6.0), "tbt": (1.25, 1.5, 5.0), "e2e": (1.25, 1.5, 5.0)}
_SHARES = (50, 90, 99)

_PAGE = 16
_PROMPT_TOKENS = 2048  # of the prompts batched together (section IV)
_SPILL = 8192  # pending prompt tokens before machines of another pool help (artifact)
_SPAN_S = 60.0
_LENGTHS = 200  # at which an idle machine is asked, in between straight lines
_WHOLE = Policy(name="whole prompts beside generation", source="Splitwise-sim", chunked=False)

#: Memory of a machine and weights as the artifact counts them: all of eight times 80 GiB, and 329 GB of BLOOM-176B.
_ARTIFACT_ROOM_B = 8 * 80 * 2.0**30 - 329e9
_PROFILE = "vllm-0.2"


@dataclass(frozen=True, slots=True)
class Design:
    """A cluster: machines for everything, or for prompts and for generation."""

    name: str
    trace: str
    group: str  # "iso-power" or "iso-cost"
    pools: Sequence[tuple[str, int, Role]]  # hardware, machines, what they do

    @property
    def cost(self) -> float:
        """USD per hour of all GPUs."""
        return sum(8 * MACHINES[hardware].gpu_USD_per_h * count for hardware, count, _ in self.pools)

    @property
    def power(self) -> float:
        """Power in the artifact's units."""
        return sum(MACHINES[hardware].power * count for hardware, count, _ in self.pools)

    @property
    def in_words(self) -> str:
        """Machines of each pool."""
        return " + ".join(f"{count} {hardware} ({role})" for hardware, count, role in self.pools)


def designs(trace: str) -> list[Design]:
    """Return the designs of both comparisons on a trace."""
    found = []
    for (group, of), table in _MACHINES.items():
        for name, machines in table.items() if of == trace else ():
            pools: list[tuple[str, int, Role]]
            if isinstance(machines, int):
                pools = [(_HARDWARE[name[9]], machines, "both")]
            else:
                pools = [(_HARDWARE[name[0]], machines[0], "prefill"), (_HARDWARE[name[1:]], machines[1], "decode")]
            found.append(Design(name, trace, group, pools))
    return found


@dataclass(frozen=True, slots=True)
class Timing:
    """Where step times come from, and the room for the cache beside.

    Attributes
    ----------
    cost
        Seconds and joules of a step by the machine's name.
    alone
        The step of one generating sequence after a prompt of so many tokens, on an idle machine.
    cache_tokens, token_B
        Tokens that the cache of a machine holds, and bytes of one.
    """

    name: str
    cost: Callable[[str], StepCost]
    alone: Callable[[int], Step]
    cache_tokens: int
    token_B: float
    layers: int


def _alone(prompt: int) -> Step:
    return Step.of((1, 1, prompt))


def _artifact_alone(prompt: int) -> Step:
    """As the artifact looks it up: a token time by the tokens of the prompt."""
    return Step.of((prompt, 1, 0))


@cache
def _setup(model: str, hardware: str) -> Setup:
    machine = MACHINES[hardware]
    setup, _ = prepare_setup(
        model,
        machine.system,
        tp=8,
        weights="fp16",
        activations="fp16",
        kv="fp16",
        profile=_PROFILE,
        overrides=machine.changes,
    )
    return setup


@cache
def own_cost(model: str, hardware: str) -> StepCost:
    """Return this project's step times of a machine under the stack of 2023, host time included."""
    machine, setup = MACHINES[hardware], _setup(model, hardware)
    device = engine_cost(setup, build_system(load_hardware(machine.system, machine.changes)))
    host = setup.profile.serving

    @cache
    def cost(step: Step) -> tuple[float, float]:
        time_s, energy_J = device(step)
        return time_s + host.step_s + host.sequence_s * step.sequences, energy_J

    return cost


def timing(kind: str, model: str, data_dir: Path | None = None) -> Timing:
    """Return step times of a kind.

    Parameters
    ----------
    kind
        ``simulator``: the paper's measurements as its simulator looks them up, by tokens, with its memory;
        ``measured``: the same by prompt tokens and by sequences, as they were taken; ``models``: by this project.
    model
        ``bloom-176b`` or ``llama-2-70b``.
    data_dir
        Where the measurements are.
    """
    setup = _setup(model, "a100-80gb")
    token_B = page_B(setup, 1024.0) * 8 / _PAGE
    layers = sum(group.count for group in setup.model.layers)
    room_B = 8 * kv_room_B(setup, build_system(load_hardware("a100x8")))
    if kind == "simulator":
        room_B = _ARTIFACT_ROOM_B
    if kind == "models":

        def cost(hardware: str) -> StepCost:
            return own_cost(model, hardware)
    else:

        @cache
        def cost(hardware: str) -> StepCost:
            return splitwise_cost(model, hardware, 8, data_dir, by_tokens=kind == "simulator")

    alone = _artifact_alone if kind == "simulator" else _alone
    return Timing(kind, cost, alone, int(room_B / token_B), token_B, layers)


def cluster(design: Design, times: Timing) -> Cluster:
    """Return a design as a cluster whose machines leave their pool where the other is loaded (the mixed pool)."""
    pools = []
    for hardware, count, role in design.pools:
        server = Server(
            name=hardware,
            cost=times.cost(hardware),
            blocks=times.cache_tokens // _PAGE,
            page_tokens=_PAGE,
            policy=_WHOLE,
            sequences=512,  # artifact
            budget=_PROMPT_TOKENS,
            block_B=times.token_B * _PAGE,
            link=MACHINES[hardware].link,
            overlap_layers=times.layers,
        )
        pools.append(Pool(server, count, role))
    return Cluster(pools=pools, router="fewest-tokens", spill_tokens=_SPILL, lend=True)


def _slowdowns(rows: Floats, prompts: Floats, alone: Floats) -> dict[str, Floats]:
    """Return TTFT, time between tokens and E2E of each request over those of an idle A100 machine.

    ``alone``: seconds of a prompt and of a token after it, (2, lengths), at ``prompts`` tokens.
    """
    import numpy as np

    prompt_s, token_s = (np.interp(rows[:, layout.R_INPUT], prompts, times) for times in alone)
    gaps = rows[:, layout.R_OUTPUT] - 1.0
    several = gaps > 0
    first_s = rows[:, layout.R_FIRST] - rows[:, layout.R_ARRIVED]
    span_s = rows[:, layout.R_LAST] - rows[:, layout.R_ARRIVED]
    return {
        "ttft": first_s / prompt_s,
        "tbt": (span_s - first_s)[several] / gaps[several] / token_s[several],
        "e2e": span_s / (prompt_s + gaps * token_s),
    }


def highest_rate(
    design: Design, times: Timing, lengths: Pairs, span_s: float = _SPAN_S, precision: float = 0.03
) -> tuple[float, str]:
    """Return the highest Poisson rate that meets all nine objectives, and the objective that fails above it.

    Bisection with the same requests at every rate, over ``span_s`` seconds of arrivals.
    """
    import numpy as np

    prepared = prepare(cluster(design, times), lengths.longest_tokens)
    idle = times.cost("a100-80gb")
    prompts = np.unique(np.round(np.geomspace(2, max(lengths.longest_tokens, 3), _LENGTHS)))
    steps = [(Step.of((1, int(tokens), 0)), times.alone(int(tokens))) for tokens in prompts]
    alone = np.array([[idle(prompt)[0], idle(token)[0]] for prompt, token in steps]).T
    failed: dict[float, str] = {}

    def holds(rate: float) -> tuple[float, int]:
        rows: list[Floats] = []
        source = Stream(lengths=lengths, rate=rate, count=max(int(rate * span_s), 100), seed=0)
        run_cluster(prepared, source, on_finished=lambda done: rows.append(done.copy()))
        found = np.concatenate(rows)
        slow = _slowdowns(found[found[:, layout.R_STATUS] == layout.COMPLETED_OK], prompts, alone)
        over = {
            f"{metric} p{share}": float(np.percentile(slow[metric], share)) / limit
            for metric, limits in _SLO.items()
            for share, limit in zip(_SHARES, limits, strict=True)
        }
        worst = max(over, key=lambda name: over[name])
        if over[worst] > 1.0:
            failed[rate] = worst
        return float(over[worst] <= 1.0), len(found)

    rate = find_capacity(holds, 1.0, start=32.0, precision=precision).rate
    return rate, failed[min(failed)] if failed else ""
