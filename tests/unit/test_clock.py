"""The clock a power limit leaves: few looks, the limit met exactly between two steps."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwmodels.coefficients import load_coefficients
from hwmodels.gpu.clock import CLOCK_STEPS, last_step, settle_clock, slow_share, step_clock
from hwmodels.gpu.power import KernelWork, PowerCoefficients, PowerParams, kernel_energy, step_energy, step_power_W

H200 = PowerParams(idle_W=80.0, limit_W=700.0, sms=132.0, max_clock_Hz=1980e6, min_clock_Hz=345e6)
HOPPER = load_coefficients("power", "hopper", PowerCoefficients)


class Load:
    """A step whose time follows the clock in part."""

    def __init__(self, core_J: float, memory_J: float, clocked_s: float, other_s: float, board: PowerParams) -> None:
        self.core_J, self.memory_J, self.clocked_s, self.other_s = core_J, memory_J, clocked_s, other_s
        self.board = board
        self.looks: list[int] = []

    def time_s(self, clock_Hz: float) -> float:
        return self.clocked_s * self.board.max_clock_Hz / clock_Hz + self.other_s

    def power_at_clock(self, clock_Hz: float) -> float:
        return step_power_W(self.core_J, self.memory_J, self.time_s(clock_Hz), clock_Hz, self.board, HOPPER)

    def power_at(self, step: int) -> float:
        self.looks.append(step)
        return self.power_at_clock(step_clock(step, self.board))

    def run(self, step: int) -> tuple[float, float, float]:
        """Energy, time and clock of one run."""
        clock_Hz = step_clock(step, self.board)
        time_s = self.time_s(clock_Hz)
        return sum(step_energy(self.core_J, self.memory_J, time_s, clock_Hz, self.board, HOPPER)), time_s, clock_Hz

    def settled(self) -> tuple[float, float]:
        """Mean clock and mean power."""
        found = settle_clock(self.power_at, self.board)
        slow_J, slow_s, slow_Hz = self.run(found.slow)
        fast_J, fast_s, fast_Hz = self.run(found.fast)
        share = slow_share(slow_J, slow_s, fast_J, fast_s, self.board.limit_W) if found.fast != found.slow else 1.0
        time_s = share * slow_s + (1.0 - share) * fast_s
        clock_Hz = (share * slow_s * slow_Hz + (1.0 - share) * fast_s * fast_Hz) / time_s
        return clock_Hz, (share * slow_J + (1.0 - share) * fast_J) / time_s

    def continuous_Hz(self) -> float:
        """The clock that meets the limit where every clock exists, by bisection."""
        low, high = self.board.min_clock_Hz, self.board.max_clock_Hz
        for _ in range(60):
            middle = 0.5 * (low + high)
            if self.power_at_clock(middle) > self.board.limit_W:
                high = middle
            else:
                low = middle
        return low


def test_steps_lead_from_the_highest_clock_to_the_lowest() -> None:
    clocks = [step_clock(step, H200) for step in range(last_step(H200) + 1)]
    assert clocks[0] == 1980e6
    assert clocks[-1] == 345e6
    falls = [fast - slow for fast, slow in pairwise(clocks)]
    assert falls[:-1] == pytest.approx([1980e6 / CLOCK_STEPS] * (len(falls) - 1))
    assert 0.0 < falls[-1] <= 1980e6 / CLOCK_STEPS


def test_under_the_limit_the_clock_stays_highest_and_costs_one_look() -> None:
    load = Load(200.0, 50.0, 1.0, 0.0, H200)
    assert load.settled() == (1980e6, load.power_at_clock(1980e6))
    assert load.looks == [0]


@pytest.mark.parametrize("bound", [0.0, 0.3, 0.6, 0.9])
@pytest.mark.parametrize("excess", [1.05, 1.5, 2.2])
def test_settles_on_the_limit_in_few_looks(bound: float, excess: float) -> None:
    """`bound`: share of time that does not follow the clock; `excess`: power at the highest clock over the limit."""
    core_J = (excess * 700.0 - 123.0) * 0.8
    memory_J = (excess * 700.0 - 123.0) * 0.2
    load = Load(core_J, memory_J, 1 - bound, bound, H200)
    clock_Hz, power_W = load.settled()
    assert len(load.looks) <= 6
    assert power_W == pytest.approx(700.0, rel=1e-12)
    # A step is 3 % of the highest clock, and more of a low one: its middle is off by a quarter of the square of that.
    assert clock_Hz == pytest.approx(load.continuous_Hz(), rel=1e-3 * (1980e6 / clock_Hz) ** 2)


def test_an_impossible_limit_gives_the_lowest_clock() -> None:
    load = Load(500.0, 100.0, 1.0, 0.0, H200._replace(limit_W=60.0))
    clock_Hz, power_W = load.settled()
    assert clock_Hz == 345e6
    assert power_W > 60.0


@given(
    st.floats(0.0, 3000.0), st.floats(0.0, 400.0), st.floats(0.1, 1.0), st.floats(100.0, 1500.0), st.floats(1.0, 3.0)
)
@settings(deadline=None)
def test_a_higher_limit_never_lowers_the_clock_and_is_kept(
    core_J: float, memory_J: float, clocked_s: float, limit_W: float, factor: float
) -> None:
    board = H200._replace(limit_W=limit_W)
    clock_Hz, power_W = Load(core_J, memory_J, clocked_s, 0.1, board).settled()
    raised_Hz, _ = Load(core_J, memory_J, clocked_s, 0.1, board._replace(limit_W=limit_W * factor)).settled()
    assert raised_Hz >= clock_Hz * (1 - 1e-9)
    assert power_W <= limit_W * (1 + 1e-12) or clock_Hz == board.min_clock_Hz


@pytest.mark.parametrize("powers", [[900.0, 800.0, 750.0, 720.0, 690.0], [900.0] + [701.0, 699.0] * 40, [900.0] * 70])
def test_a_search_ends_whatever_power_does(powers: list[float]) -> None:
    looks: list[int] = []

    def power_at(step: int) -> float:
        looks.append(step)
        return powers[min(step, len(powers) - 1)]

    found = settle_clock(power_at, H200)
    assert len(looks) == len(set(looks)) <= 12
    assert found.slow - found.fast == 1 or found.slow == found.fast == last_step(H200)


def product(flop: float, hbm_B: float, bits: float = 16.0) -> tuple[float, float]:
    """Core and memory energy of a large dense product: 16-bit tiles of 128 x 256 shared by SM pairs, fp8 half."""
    l2_B = flop * (0.0075 if bits > 8.0 else 0.0060)
    e = kernel_energy(KernelWork(flop, bits, 0.0, 0.0, 0.0, l2_B, hbm_B, 0.0, 0.0), HOPPER)
    return e.mma_J + e.vector_J + e.special_J + e.l2_J, e.hbm_J + e.link_J


@pytest.mark.parametrize(
    ("flop", "bits", "hbm_B", "time_s", "measured_MHz"),
    [
        (2 * 8192.0**3, 16.0, 1.38e9, 1646e-6, 1468),
        (2 * 8192.0**3, 8.0, 0.69e9, 901e-6, 1345),
        (2 * 4096.0**3, 16.0, 0.18e9, 206e-6, 1510),
    ],
)
def test_large_products_settle_where_an_h200_did(
    flop: float, bits: float, hbm_B: float, time_s: float, measured_MHz: float
) -> None:
    core_J, memory_J = product(flop, hbm_B, bits)
    clocked_s = time_s * measured_MHz / 1980  # at the highest clock, were there no limit at all
    settled_Hz, _ = Load(core_J, memory_J, clocked_s, 0.0, H200).settled()
    assert settled_Hz / 1e6 == pytest.approx(measured_MHz, rel=0.05)
