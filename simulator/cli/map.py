"""``ridgeline map EINSUM MACHINE``: the best loop nest of an einsum on a machine."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hwmodels.spatial.mapper.constraints import LevelConstraint
    from hwmodels.spatial.mapper.search import MappingSearch, Progress
    from hwmodels.spatial.mapping import NestMachine

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("einsum", metavar="EINSUM", help='like "Z[m,n] += A[m,k] * W[k,n]"')
    parser.add_argument("machine", metavar="MACHINE", help="A16, B8, or a YAML file with levels")
    parser.add_argument("--bounds", nargs="+", required=True, metavar="RANK=N", help="length of every rank")
    parser.add_argument("--objective", default="edp", metavar="NAME", help="edp (default), energy or cycles")
    fixed = "a factor that must be: LEVEL.temporal.RANK=N or LEVEL.spatial.RANK=N"
    parser.add_argument("--fix", nargs="+", default=[], metavar="FACTOR", help=fixed)
    parser.add_argument("--keep", nargs="+", default=[], metavar="LEVEL.TENSOR", help="tensors that a level must keep")
    parser.add_argument("--bypass", nargs="+", default=[], metavar="LEVEL.TENSOR", help="tensors that pass a level by")
    parser.add_argument(
        "--spread", nargs="+", default=[], metavar="LEVEL=R,S", help="the only ranks to spread below a level"
    )
    parser.add_argument(
        "--innermost", nargs="+", default=[], metavar="LEVEL=R,S", help="the innermost loops of a level, in this order"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the random part (default: 0)")
    parser.add_argument("--budget", type=int, metavar="N", help="most steps of the search")
    parser.add_argument("--progress", action="store_true", help="tell on standard error how far the search is")
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def run(arguments: argparse.Namespace) -> int:
    """Search and print; 1 where no mapping is valid."""
    from hwmodels.spatial.mapper.search import DEFAULT_BUDGET, best_mapping
    from workloads.einsum import parse_einsum

    pairs = _pairs(arguments.bounds, "--bounds", r"(\w+)=(\d{1,10})", "RANK=N")
    einsum = parse_einsum(arguments.einsum, {rank: int(bound) for rank, bound in pairs})
    machine = _machine(arguments.machine)
    found = best_mapping(
        einsum,
        machine,
        arguments.objective,
        _constraints(arguments),
        arguments.seed,
        DEFAULT_BUDGET if arguments.budget is None else arguments.budget,
        _tell if arguments.progress else None,
    )
    if arguments.json:
        print(json.dumps(_document(machine, found), indent=2, allow_nan=False))
    else:
        print("\n".join(_lines(machine, found)))
    return 1 if found.mapping is None else 0


def _machine(name: str) -> NestMachine:
    from hwmodels.spatial.architecture import load_architecture
    from hwmodels.spatial.mapping_machines import load_machines, nest_machine

    bundled = load_machines()
    return nest_machine(bundled, name) if name in bundled.machines else load_architecture(Path(name))


def _pairs(words: Sequence[str], option: str, pattern: str, form: str) -> Iterator[tuple[str, ...]]:
    """Yield the parts of every word of an option."""
    from simulator.core.errors import InputError

    seen: set[str] = set()
    for word in words:
        found = re.fullmatch(pattern, word)
        if found is None:
            raise InputError(f"{option}: expected {form}, got {word!r}")
        name = word.partition("=")[0]
        if name in seen:
            raise InputError(f"{option}: {name} is given twice")
        seen.add(name)
        yield found.groups()


def _constraints(arguments: argparse.Namespace) -> dict[str, LevelConstraint]:
    """Return what the options ask for, by level."""
    asked: dict[str, dict[str, list[Any]]] = {}
    factor = r"([\w-]+)\.(temporal|spatial)\.(\w+)=(\d{1,10})"
    for level, kind, rank, bound in _pairs(arguments.fix, "--fix", factor, "LEVEL.temporal.RANK=N or .spatial."):
        asked.setdefault(level, {}).setdefault(kind, []).append((rank, int(bound)))
    for kind in ("keep", "bypass"):
        for level, tensor in _pairs(getattr(arguments, kind), f"--{kind}", r"([\w-]+)\.(\w+)", "LEVEL.TENSOR"):
            asked.setdefault(level, {}).setdefault(kind, []).append(tensor)
    ranks = r"([\w-]+)=((?:\w+(?:,\w+)*)?)"
    for level, names in _pairs(arguments.spread, "--spread", ranks, "LEVEL=RANK,RANK"):
        asked.setdefault(level, {})["spatial_ranks"] = names.split(",") if names else []
    for level, names in _pairs(arguments.innermost, "--innermost", ranks, "LEVEL=RANK,RANK"):
        asked.setdefault(level, {})["innermost"] = names.split(",") if names else []
    return {level: _constraint(rules) for level, rules in asked.items()}


def _constraint(rules: dict[str, list[Any]]) -> LevelConstraint:
    from hwmodels.spatial.mapper.constraints import LevelConstraint

    spread = rules.get("spatial_ranks")
    return LevelConstraint(
        tuple(rules.get("temporal", ())),
        tuple(rules.get("spatial", ())),
        None if spread is None else frozenset(spread),
        tuple(rules.get("innermost", ())),
        frozenset(rules.get("keep", ())),
        frozenset(rules.get("bypass", ())),
    )


def _tell(progress: Progress) -> None:
    print(
        f"{progress.evaluated} evaluated, {progress.excluded} excluded, best {progress.best:.6g}",
        file=sys.stderr,
    )


def _lines(machine: NestMachine, found: MappingSearch) -> list[str]:
    if found.mapping is None or found.cost is None:
        return [f"no valid mapping: {found.explanation}"]
    cost = found.cost
    lines = []
    for depth, (level, mapped) in enumerate(zip(machine.levels, found.mapping, strict=True)):
        passing = f"   passed by: {', '.join(sorted(mapped.bypass))}" if mapped.bypass else ""
        lines.append(f"{'  ' * depth}{level.name}{passing}")
        for rank, bound in mapped.temporal:
            lines.append(f"{'  ' * depth}| for {rank} in {bound}")
        for axis, loops in zip("xy", mapped.spatial, strict=False):
            lines += [f"{'  ' * depth}| spread {rank} over {bound} along {axis}" for rank, bound in loops]
    lines += ["", f"{'':10}{'read':>14}{'written':>14}{'energy':>14}{'words free':>14}"]
    for level in machine.levels:
        words = [moved for (name, _), moved in cost.words.items() if name == level.name]
        read, written = sum(w.reads for w in words), sum(w.fills + w.updates for w in words)
        free = cost.margin_words[level.name]
        lines.append(f"{level.name:10}{read:14}{written:14}{cost.energy_J[level.name] * 1e6:11.4g} uJ{free:14.0f}")
    lines += [
        f"{'units':10}{'':28}{cost.energy_J['mac'] * 1e6:11.4g} uJ",
        f"{cost.cycles} cycles, {cost.total_J * 1e6:.4g} uJ, {cost.utilisation:.1%} of {machine.units} units busy",
        found.explanation,
    ]
    return lines


def _document(machine: NestMachine, found: MappingSearch) -> dict[str, Any]:
    document: dict[str, Any] = {
        "machine": machine.name,
        "objective": found.objective,
        "valid": found.mapping is not None,
        "proven": found.proven,
        "evaluated": found.evaluated,
        "excluded": found.excluded,
        "explanation": found.explanation,
    }
    if found.mapping is None or found.cost is None:
        return document
    cost = found.cost
    levels = [
        {
            "level": level.name,
            "temporal": [list(loop) for loop in mapped.temporal],
            "spatial": [[list(loop) for loop in axis] for axis in mapped.spatial],
            "bypass": sorted(mapped.bypass),
            "energy_J": cost.energy_J[level.name],
            "instances": cost.instances[level.name],
            "words": {t: w._asdict() for (name, t), w in cost.words.items() if name == level.name},
        }
        for level, mapped in zip(machine.levels, found.mapping, strict=True)
    ]
    return document | {
        "value": found.value,
        "lower_bound": found.lower_bound,
        "cycles": cost.cycles,
        "energy_J": cost.total_J,
        "utilisation": cost.utilisation,
        "bound": cost.bound,
        "levels": levels,
    }
