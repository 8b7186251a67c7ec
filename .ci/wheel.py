"""Check what a wheel holds: the four packages, their data, and nothing else."""

from __future__ import annotations

import sys
import zipfile

PACKAGES = {"simulator", "hwmodels", "workloads", "dse"}
NEEDED = (
    "hwmodels/specs/gpu/h200.yaml",
    "hwmodels/measured/h200/bands.json",
    "workloads/models/llama-3-8b.json",
    "simulator/engine/profiles/ideal.yaml",
    "dse/plots/paper.mplstyle",
    "dse/page/page.js",
)

names = zipfile.ZipFile(sys.argv[1]).namelist()
tops = {name.split("/")[0] for name in names if ".dist-info/" not in name}
missing = [name for name in NEEDED if name not in names]
if tops != PACKAGES or missing:
    raise SystemExit(f"{sys.argv[1]}: top level {sorted(tops)}, missing {missing}")
sys.stdout.write(f"{len(names)} files in {', '.join(sorted(tops))}\n")
