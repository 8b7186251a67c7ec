"""Explorers: which points of a space to look at next, through one ask/tell protocol."""

from __future__ import annotations

from dse.explorers.choice import open_explorer
from dse.explorers.explorer import Explorer

__all__ = ["Explorer", "open_explorer"]
