"""What a path of a sweep file addresses, and how a point becomes the arguments of a simulation.

``model`` and ``hardware`` choose a specification; ``run.batch``, ``serve.rate`` are what is asked; ``model.layers``,
``profile.launch.mode`` and any other path (``hbm.bandwidth``) replace a field, as after ``--set``; ``var.name`` is a
number of the sweep's own, for its expressions only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from pydantic import BaseModel, ValidationError

from dse.space.axes import SpaceProblems, text_of
from dse.space.records import RunSpec, ServeSpec
from dse.space.space import Settings, Space, is_name, located
from hwmodels.catalog import load_hardware
from simulator.core.document import Node, Scalar
from simulator.core.errors import InputError, RidgelineError, SpecError
from simulator.core.names import suggest
from simulator.engine.profile import load_profile
from simulator.serving.policy import load_policy
from workloads.catalog import load_model
from workloads.formats import load_format
from workloads.moe import load_routing

__all__ = ["arguments_of", "check_base", "check_value", "split_overrides"]

#: What of a run is the name of something, and what finds it.
_NAMES: Mapping[str, Callable[[str], object]] = {
    "weights": load_format,
    "activations": load_format,
    "kv": load_format,
    "profile": load_profile,
    "routing": load_routing,
    "prefill_hardware": load_hardware,
    "decode_hardware": load_hardware,
    "policy": load_policy,
}
_RECORDS: Mapping[str, type[BaseModel]] = {"run": RunSpec, "serve": ServeSpec}


def arguments_of(space: Space, settings: Settings) -> dict[str, Any]:
    """Return the keyword arguments of :func:`simulator.simulate` for one point, and ``serve`` where servers are asked.

    Raises
    ------
    InputError
        If a derived value has none (a division by zero).
    """
    missing = [path for path, value in settings.items() if value is None and space_derives(space, path)]
    if missing:
        raise InputError(f"{missing[0]} has no finite value here")
    run, serve = dict(space.run), dict(space.serve or {})
    chosen: dict[str, Any] = {"model": space.model, "hardware": space.hardware}
    replaced = dict(space.overrides)
    for path, value in settings.items():
        head, _, rest = path.partition(".")
        if path in chosen:
            chosen[path] = value
        elif head == "run":
            run[rest] = value
        elif head == "serve":
            serve[rest] = value
        elif head != "var":
            replaced[path] = value
    chosen = {path: located(name, space.folder) for path, name in chosen.items()}
    found = {**chosen, **run, "overrides": _texts(replaced)}
    if space.serve is None:
        return found
    named = {k: located(v, space.folder) for k, v in serve.items() if v is not None and is_name(f"serve.{k}")}
    return {**found, "serve": serve | named}


def space_derives(space: Space, path: str) -> bool:
    """Tell whether a path is a derived one."""
    return any(item.path == path for item in space.derived)


def check_base(
    model: str,
    hardware: str,
    overrides: Mapping[str, Scalar],
    run: Mapping[str, Any],
    node: Node,
    problems: SpaceProblems,
) -> None:
    """Load what the base names, noting what is wrong with it."""
    of_model, of_profile, of_hardware = split_overrides(_texts(overrides))
    profile = str(run.get("profile", "ideal"))
    checks: list[tuple[str, Callable[[], object]]] = [
        ("model", lambda: load_model(model, of_model)),
        ("hardware", lambda: load_hardware(hardware, of_hardware)),
        ("run.profile", lambda: load_profile(profile, of_profile)),
    ]
    checks += [(f"run.{key}", partial(_NAMES[key], str(run[key]))) for key in _NAMES if key in run and key != "profile"]
    for key, load in checks:
        try:
            load()
        except RidgelineError as error:
            problems.add(node.at(tuple(key.split("."))).place, f"base.{key}", _reason(error))


class Overrides(NamedTuple):
    """Replacements as after ``--set``, without the word that says what they are of."""

    model: list[str]
    profile: list[str]
    hardware: list[str]


def split_overrides(texts: Sequence[str]) -> Overrides:
    """Return replacements of the model, of the profile and of the hardware apart."""
    return Overrides(
        [text.removeprefix("model.") for text in texts if text.startswith("model.")],
        [text.removeprefix("profile.") for text in texts if text.startswith("profile.")],
        [text for text in texts if not text.startswith(("model.", "profile."))],
    )


def _texts(overrides: Mapping[str, Scalar]) -> list[str]:
    return [f"{path}={text_of(value)}" for path, value in overrides.items()]


def check_value(
    path: str,
    value: Scalar,
    bases: Sequence[tuple[str, str]],
    overrides: Mapping[str, Scalar],
) -> str | None:
    """Return what is wrong with giving ``path`` a value on every one of ``bases`` (model, hardware); None if nothing.

    A value of None only asks whether there is such a path.
    """
    head, _, rest = path.partition(".")
    if head == "var":
        return None if rest.isidentifier() else "a variable is written var.name"
    if head in _RECORDS:
        return _check_run(rest, value, _RECORDS[head])
    reasons = [_check_on(path, value, model, hardware, overrides) for model, hardware in bases]
    return None if None in reasons else reasons[0]


def _check_run(name: str, value: Scalar, record: type[BaseModel]) -> str | None:
    if name not in record.model_fields:
        near = suggest(name, record.model_fields, most=2)
        return "no such field" + (f" (did you mean {' or '.join(near)}?)" if near else "")
    try:
        record.model_validate(({"rate": 1.0} if record is ServeSpec else {}) | {name: value})
    except ValidationError as error:
        detail = error.errors(include_url=False)[0]
        return f"{detail['msg'][0].lower()}{detail['msg'][1:]}, got {value!r}"
    try:
        if value is not None and name in _NAMES:
            _NAMES[name](str(value))
    except RidgelineError as error:
        return _reason(error)
    return None


def _check_on(path: str, value: Scalar, model: str, hardware: str, overrides: Mapping[str, Scalar]) -> str | None:
    """Try one value on one base."""
    head = path.partition(".")[0]
    probe = "0" if value is None else text_of(value)
    of_model, of_profile, of_hardware = split_overrides(_texts({**overrides, path: probe}))
    try:
        if path == "model":
            load_model(probe)
        elif path == "hardware":
            load_hardware(probe)
        elif head == "model":
            load_model(model, of_model)
        elif head == "profile":
            load_profile("ideal", of_profile)
        else:
            load_hardware(hardware, of_hardware)
    except RidgelineError as error:
        reason = _reason(error)
        # Without a value to try, only a path that is not there is a mistake.
        return reason if value is not None or "no such field" in reason else None
    return None


def _reason(error: RidgelineError) -> str:
    """Return what an error says, without the place it gives: the sweep file has a better one."""
    if isinstance(error, SpecError):
        return "; ".join(dict.fromkeys(problem.message for problem in error.problems))
    return str(error).removeprefix("--set ")
