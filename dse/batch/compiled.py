"""How the functions of a batch are compiled, and how records of coefficients reach them.

Compiled functions get the few arrays they read and nothing more, and formulas are made part of them where they are
called: a record of a hundred numbers takes longer to hand on than a kernel to cost.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numba.np.unsafe.ndarray import to_fixed_tuple as _numba_fixed_tuple

import hwmodels.collectives
import hwmodels.gpu.device  # all formulas of a GPU
import simulator.core.formula
import simulator.core.jit
import simulator.core.quantity
from dse.batch.table import Floats
from hwmodels.gpu.model import GpuModel
from hwmodels.gpu.power import PowerCoefficients
from hwmodels.network import Network
from simulator.core.formula import register_formulas
from simulator.core.jit import kernel_cache, kernel_jit

__all__ = ["Family", "batch_jit", "is_compiled", "power_of", "to_fixed_tuple"]

#: Array and length to a tuple, in compiled code; numba declares it with an argument that callers never see.
to_fixed_tuple: Any = _numba_fixed_tuple


class Family(NamedTuple):
    """Coefficients of the families of a device and its links, the same for all points.

    Plain arrays, read where they are used: a record of a hundred numbers takes longer to hand on than a kernel to cost.
    """

    gemm: Floats
    attention: Floats
    vector: Floats
    power: Floats
    intra: Floats
    direct: Floats  # `intra` with kernels that write to peers
    inter: Floats

    @classmethod
    def of(cls, model: GpuModel, network: Network) -> Family:
        """Return the coefficients of a device and its links."""
        direct = network.intra_library._replace(direct=1.0)
        records = (model.gemm, model.attention, model.vector, model.power)
        libraries = (network.intra_library, direct, network.inter_library)
        return cls(*(np.array(record, np.float64) for record in (*records, *libraries)))


def _sources() -> list[Path]:
    own = (
        Path(__file__).parent / f"{name}.py"
        for name in ("compiled", "costs", "products", "loops", "columns", "metrics", "table")
    )
    formulas = Path(hwmodels.gpu.device.__file__ or "").parent.glob("*.py")
    others = (hwmodels.collectives, simulator.core.formula, simulator.core.jit, simulator.core.quantity)
    return [*own, *formulas, *(Path(module.__file__ or "") for module in others)]


def is_compiled() -> bool:
    """Whether this machine keeps the machine code of this version."""
    folder = kernel_cache(_sources())
    return folder is not None and any(folder.rglob("loops.evaluate-*.nbi"))


register_formulas()
batch_jit = kernel_jit(_sources(), allocates=False, inline=True)


_POWER = len(PowerCoefficients._fields)


@batch_jit
def power_of(numbers: Floats) -> PowerCoefficients:
    """Return the record of an array."""
    return PowerCoefficients(*to_fixed_tuple(numbers, _POWER))
