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
    "dse/page/page.css",
    "dse/spaces/quickstart.yaml",
    "dse/studies/fusemax.yaml",
    "hwmodels/gpu/silicon.yaml",
    "hwmodels/specs/dram/hbm3.yaml",
    "hwmodels/specs/energy/accelergy-45nm.yaml",
    "hwmodels/specs/pim/attacc.yaml",
    "hwmodels/specs/spatial/fusemax-cloud.yaml",
    "hwmodels/specs/system/duplex.yaml",
    "hwmodels/spatial/bindings/fusemax.yaml",
    "workloads/cascades/attention-1-pass.yaml",
)

names = zipfile.ZipFile(sys.argv[1]).namelist()
tops = {name.split("/")[0] for name in names if ".dist-info/" not in name}
missing = [name for name in NEEDED if name not in names]
if tops != PACKAGES or missing:
    raise SystemExit(f"{sys.argv[1]}: top level {sorted(tops)}, missing {missing}")
sys.stdout.write(f"{len(names)} files in {', '.join(sorted(tops))}\n")
