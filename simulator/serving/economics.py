"""What a served token costs: the devices written off over their life, and the electricity."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["COSTS", "Costs"]

_HOURS = 365.25 * 24.0
_J_PER_KWH = 3.6e6


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """Assumptions of a price.

    Attributes
    ----------
    life_years
        Straight-line depreciation. Source: server lives stated in annual reports of large operators, 4 to 6 years
        (estimated).
    USD_per_kWh
        Source: U.S. EIA, Electric Power Monthly, average industrial price of 2024, 8.15 cents.
    overhead
        Facility power over computer power. Source: Uptime Institute, Global Data Center Survey 2024, average 1.56.
    """

    life_years: float = 4.0
    USD_per_kWh: float = 0.0815
    overhead: float = 1.56

    def hourly_USD(self, price_USD: float) -> float:
        """Return what an hour of devices of a price costs, without electricity."""
        return price_USD / (self.life_years * _HOURS)

    def energy_USD(self, energy_J: float) -> float:
        """Return the price of electricity for an energy at the devices."""
        return energy_J / _J_PER_KWH * self.overhead * self.USD_per_kWh


COSTS = Costs()
