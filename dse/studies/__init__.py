"""Papers reproduced: one file per paper, run by ``ridgeline reproduce NAME``."""

from __future__ import annotations

from dse.studies.study import Comparison, Study, StudyFigure

__all__ = ["STUDIES", "Comparison", "Study", "StudyFigure"]

#: Studies in the order of ``--help``; each is a module ``dse.studies.<name>`` (``-`` written ``_``) with
#: ``run(data_dir, progress) -> Study``.
STUDIES: dict[str, str] = {
    "attacc": "attention of a 175 B model in forty HBM stacks beside eight GPUs",
    "duplex": "a processor and Logic-PIM on one HBM, for experts and continuous batching",
    "fusemax": "attention on a spatial array, from unfused to a bound 1-pass cascade",
    "lamina": "attention on memory-optimised GPUs behind a network, at equal cost",
    "pim-gpt": "GDDR6 that multiplies, with a small ASIC, against a T4 and a CPU",
    "tensor-engines": "int8 arrays with and without the bit-weight transformation, and what fp8 costs",
    "splitwise": "machines for prompts and machines for generation, at equal power and cost",
}
