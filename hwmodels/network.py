"""The links of a system: what collectives, stage-to-stage transfers and host copies cost one device."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

from hwmodels.collectives import (
    ALL_GATHER,
    ALL_REDUCE,
    ALL_TO_ALL,
    BROADCAST,
    REDUCE_SCATTER,
    SEND_RECV,
    CollectiveCoefficients,
    CollectiveTime,
    LinkParams,
    hierarchical_time,
)
from simulator.core.errors import UnsupportedError
from workloads.operators import Collective, Transfer

__all__ = ["Network", "Route"]

OPS = {
    "all_reduce": ALL_REDUCE,
    "all_gather": ALL_GATHER,
    "reduce_scatter": REDUCE_SCATTER,
    "all_to_all": ALL_TO_ALL,
    "send_recv": SEND_RECV,
    "broadcast": BROADCAST,
}


class Route(NamedTuple):
    """What a collective asks of links, as :func:`hwmodels.collectives.hierarchical_time` sees it."""

    op: int
    message_B: float
    per_node: float  # devices that take part, of each node
    nodes: float
    direct: float  # 1: by kernels that write to the peers' memory, where they are quicker


@dataclass(frozen=True, slots=True)
class Network:
    """Links inside a node and between nodes, each with the coefficients of the library that drives it."""

    per_node: int
    intra: LinkParams
    intra_library: CollectiveCoefficients
    inter: LinkParams
    inter_library: CollectiveCoefficients
    host: LinkParams

    def spent(self, operator: Collective | Transfer, bound: bool = False) -> CollectiveTime:
        """Cost of what goes over links; ``bound``: at least what its bytes take at the datasheet's bandwidth."""
        spent = self.collective(operator) if isinstance(operator, Collective) else self.transfer(operator)
        if bound:
            return spent._replace(time_s=spent.wire_B / self.fastest_Bps(operator), latency_s=0.0)
        return spent

    def collective(self, operator: Collective) -> CollectiveTime:
        """Cost of a collective; a group that reaches into other nodes is a hierarchy of both networks."""
        return self._routed(self.route(operator))

    def route(self, operator: Collective | Transfer) -> Route:
        """Return what an operator asks of the links.

        Raises
        ------
        UnsupportedError
            If it goes to the host.
        """
        if isinstance(operator, Collective):
            nodes = self.nodes(operator.world, operator.stride)
            direct = float(operator.direct and nodes == 1)
            return Route(OPS[operator.op], operator.message_B, operator.world / nodes, float(nodes), direct)
        if operator.link == "host":
            raise UnsupportedError(f"{operator.name} goes to the host: no devices take part")
        if self._crosses(operator):
            return Route(SEND_RECV, operator.size_B, 1.0, 2.0, 0.0)
        return Route(SEND_RECV, operator.size_B, 2.0, 1.0, 0.0)

    def _routed(self, route: Route) -> CollectiveTime:
        library = self.intra_library._replace(direct=1.0) if route.direct else self.intra_library
        return hierarchical_time(*route[:4], self.intra, library, self.inter, self.inter_library)

    def nodes(self, world: int, stride: int = 1) -> int:
        """Nodes that a group of ``world`` devices is spread over, each ``stride`` devices from the one before.

        Neighbours fill a node before they need another; of every eighth device, a node of eight holds a single one.
        """
        return min(world, -(-world * stride // self.per_node))

    def transfer(self, operator: Transfer) -> CollectiveTime:
        """Cost of handing bytes to a peer (by the network between nodes where it is in another one) or to the host."""
        if operator.link == "host":
            time_s = self.host.latency_s + operator.size_B / self.host.bandwidth_Bps
            return CollectiveTime(time_s, self.host.latency_s, operator.size_B, operator.size_B)
        return self._routed(self.route(operator))

    def fastest_Bps(self, operator: Collective | Transfer) -> float:
        """Datasheet bandwidth of the links an operator uses, one direction."""
        if isinstance(operator, Transfer):
            if operator.link == "host":
                return self.host.bandwidth_Bps
            return self.inter.bandwidth_Bps if self._crosses(operator) else self.intra.bandwidth_Bps
        if self.nodes(operator.world, operator.stride) > 1:
            return max(self.intra.bandwidth_Bps, self.inter.bandwidth_Bps)
        return self.intra.bandwidth_Bps

    def _crosses(self, operator: Transfer) -> bool:
        """Whether some of the devices that pass on their share do so to another node."""
        return operator.first // self.per_node != (operator.first + operator.span - 1) // self.per_node

    def scaled(self, factor: float) -> Network:
        """Return links of ``factor`` times the bandwidth, for elasticities."""
        return replace(
            self,
            intra=self.intra._replace(bandwidth_Bps=self.intra.bandwidth_Bps * factor),
            inter=self.inter._replace(bandwidth_Bps=self.inter.bandwidth_Bps * factor),
        )
