"""How many kernels the cycle level simulates per second."""

from __future__ import annotations

import time

__all__ = ["cycle"]

_ROWS = (64, 512, 2048, 8192)
_WEIGHTS = ((6144, 4096), (4096, 4096), (28672, 4096), (4096, 14336), (10240, 8192), (57344, 8192), (8192, 28672))


def cycle() -> dict[str, float | int | str]:
    """Products of Llama-3 8B and 70B on an H200, each chosen among its launches and simulated once, in one process."""
    from hwmodels.catalog import load_gpu
    from hwmodels.gpu.cycle.gemm import cycle_gemm
    from hwmodels.gpu.cycle.plan import Product
    from hwmodels.gpu.model import gpu_model

    model = gpu_model(load_gpu("h200"))
    rate = model.mma_rate("bf16")
    start = time.perf_counter()
    cycle_gemm(Product(64, 64, 64, 1, 2.0, 2.0, 2.0, rate), model.params, model.cycle)
    ready_s = time.perf_counter() - start
    products = [Product(m, n, k, 1, 2.0, 2.0, 2.0, rate) for n, k in _WEIGHTS for m in _ROWS]
    start = time.process_time()
    for product in products:
        cycle_gemm(product, model.params, model.cycle)
    spent_s = time.process_time() - start
    return {"kernels": len(products), "kernels_per_cpu_s": len(products) / spent_s, "compile_or_load_s": ready_s}
