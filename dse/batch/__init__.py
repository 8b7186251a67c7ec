"""Analytic sweeps: the physics of one simulation, compiled over columns of hardware.

A :class:`BatchModel` is one request on one system; hardware fields that :func:`column_name` knows are columns of
:meth:`BatchModel.evaluate`, everything else (model, formats, batch, parallelism, families) needs a model per value.
"""

from dse.batch.columns import COLUMNS, column_name
from dse.batch.metrics import METRICS
from dse.batch.model import BatchModel, compile_once

__all__ = ["COLUMNS", "METRICS", "BatchModel", "column_name", "compile_once"]
