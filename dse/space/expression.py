"""Arithmetic that sweep files may contain, as text: parsed here, never run as code.

``8 / run.tp`` or ``energy_J * latency_s * area_mm2``: numbers, names known beforehand, ``+ - * / // % **``,
comparisons, ``a if condition else b`` and the functions of :data:`FUNCTIONS`. Nothing else has a meaning, so nothing
else can happen: there is no attribute, no index, no text, and length, depth and exponents are bounded. Values are
64-bit floats, columns of them at once.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from simulator.core.names import suggest

__all__ = ["FUNCTIONS", "Column", "Expression", "ExpressionError", "in_order", "parse_expression"]

Column: TypeAlias = "NDArray[np.float64] | float"

_LONGEST = 400  # characters; deeper nesting than Python's own parser takes does not fit into that
_MOST_PARTS = 200
_LARGEST_EXPONENT = 64.0

#: Steps of a path that are list indices (``units.0.count``) are no Python: they get a letter while its parser looks.
_PATH = re.compile(r"(?<![\w.])[A-Za-z_]\w*(?:\.\w+)+", re.ASCII)
_STEP = re.compile(r"(?<=\.)(?=\d)")
_HIDDEN = re.compile(r"^i(?=\d)")


class ExpressionError(ValueError):
    """An expression that has no meaning; ``column`` counts from 1 within its text."""

    def __init__(self, message: str, column: int = 1) -> None:
        self.column = column
        super().__init__(message)


def _power(base: Any, exponent: Any) -> Any:
    return np.power(base, np.clip(exponent, -_LARGEST_EXPONENT, _LARGEST_EXPONENT))


_OPERATORS: Mapping[type[ast.AST], Callable[..., Any]] = {
    ast.Add: np.add,
    ast.Sub: np.subtract,
    ast.Mult: np.multiply,
    ast.Div: np.divide,
    ast.FloorDiv: np.floor_divide,
    ast.Mod: np.mod,
    ast.Pow: _power,
    ast.USub: np.negative,
    ast.UAdd: np.positive,
    ast.Lt: np.less,
    ast.LtE: np.less_equal,
    ast.Gt: np.greater,
    ast.GtE: np.greater_equal,
    ast.Eq: np.equal,
    ast.NotEq: np.not_equal,
}


def _reduced(function: Callable[..., Any]) -> Callable[..., Any]:
    def over_all(first: Column, *others: Column) -> Any:
        for other in others:
            first = function(first, other)
        return first

    return over_all


#: What may be called, with the fewest and the most arguments.
FUNCTIONS: Mapping[str, tuple[Callable[..., Any], int, int]] = {
    "min": (_reduced(np.minimum), 1, 16),
    "max": (_reduced(np.maximum), 1, 16),
    "abs": (np.abs, 1, 1),
    "sqrt": (np.sqrt, 1, 1),
    "exp": (np.exp, 1, 1),
    "log": (np.log, 1, 1),
    "log2": (np.log2, 1, 1),
    "log10": (np.log10, 1, 1),
    "ceil": (np.ceil, 1, 1),
    "floor": (np.floor, 1, 1),
    "round": (np.rint, 1, 1),
}


@dataclass(frozen=True, slots=True)
class Expression:
    """A parsed expression: its text, the names in it, and its tree."""

    text: str
    names: tuple[str, ...]
    tree: ast.expr = field(compare=False)

    def __call__(self, columns: Mapping[str, Column]) -> NDArray[np.float64]:
        """Return the values, given those of each name; what has no value (0 / 0) comes out not finite.

        Examples
        --------
        >>> parse_expression("8 // run.tp", ["run.tp"])({"run.tp": np.array([1.0, 2.0, 4.0])})
        array([8., 4., 2.])
        """
        with np.errstate(all="ignore"):
            return np.asarray(_value(self.tree, columns), dtype=np.float64)


def parse_expression(text: str, known: Iterable[str]) -> Expression:
    """Parse an expression over the names ``known``.

    Raises
    ------
    ExpressionError
        If it is too long, not arithmetic, or uses a name that is not known (the nearest one is suggested).
    """
    if len(text) > _LONGEST:
        raise ExpressionError(f"is {len(text)} characters long, at most {_LONGEST}")
    if "\n" in text.strip() or not text.strip():
        raise ExpressionError("expected one line of arithmetic")
    hidden = _PATH.sub(lambda match: _STEP.sub("i", match[0]), text.strip())
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python's remarks on odd code are not ours to pass on
            tree = ast.parse(hidden, mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        column = getattr(error, "offset", None) or 1
        raise ExpressionError("is not arithmetic that can be read, such as '8 / run.tp'", column) from None
    if sum(1 for _ in ast.walk(tree)) > _MOST_PARTS:
        raise ExpressionError(f"has more than {_MOST_PARTS} parts")
    names = list(dict.fromkeys(_check(tree, set(known))))
    return Expression(text.strip(), tuple(names), tree)


def _path(node: ast.expr) -> str | None:
    """Return the dotted path that a chain of names spells, if it is one."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        before = _path(node.value)
        return None if before is None else f"{before}.{_HIDDEN.sub('', node.attr)}"
    return None


def _check(node: ast.expr, known: set[str]) -> Iterator[str]:
    """Refuse every part that is not in the list of what may be there; yield the names."""
    column = node.col_offset + 1
    path = _path(node)
    if path is not None:
        if path not in known:
            near = suggest(path, known, most=2)
            hint = " or ".join(map(repr, near)) if near else ""
            raise ExpressionError(f"no value is called {path!r}" + (f" (did you mean {hint}?)" if hint else ""), column)
        yield path
    elif isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool):
        if not abs(node.value) < 1e300:
            raise ExpressionError("a number is beyond anything plausible", column)
    elif isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        yield from _check(node.left, known)
        yield from _check(node.right, known)
    elif isinstance(node, ast.UnaryOp) and type(node.op) in _OPERATORS:
        yield from _check(node.operand, known)
    elif isinstance(node, ast.Compare) and all(type(op) in _OPERATORS for op in node.ops):
        for part in (node.left, *node.comparators):
            yield from _check(part, known)
    elif isinstance(node, ast.IfExp):
        for part in (node.test, node.body, node.orelse):
            yield from _check(part, known)
    elif isinstance(node, ast.Call):
        yield from _check_call(node, known)
    else:
        what = type(node).__name__.lower()
        raise ExpressionError(f"{what} is not allowed: only numbers, names and arithmetic", column)


def _check_call(node: ast.Call, known: set[str]) -> Iterator[str]:
    name = node.func.id if isinstance(node.func, ast.Name) else ""
    if name not in FUNCTIONS:
        raise ExpressionError(f"only these can be called: {', '.join(FUNCTIONS)}", node.col_offset + 1)
    _, least, most = FUNCTIONS[name]
    starred = any(isinstance(argument, ast.Starred) for argument in node.args)
    if node.keywords or starred or not least <= len(node.args) <= most:
        wanted = str(least) if least == most else f"{least} to {most}"
        raise ExpressionError(f"{name} takes {wanted} values", node.col_offset + 1)
    for argument in node.args:
        yield from _check(argument, known)


def _value(node: ast.expr, columns: Mapping[str, Column]) -> Any:
    """Evaluate a checked tree."""
    path = _path(node)
    if path is not None:
        return columns[path]
    if isinstance(node, ast.Constant):
        assert isinstance(node.value, int | float)
        return np.float64(node.value)
    if isinstance(node, ast.BinOp):
        return _OPERATORS[type(node.op)](_value(node.left, columns), _value(node.right, columns))
    if isinstance(node, ast.UnaryOp):
        return _OPERATORS[type(node.op)](_value(node.operand, columns))
    if isinstance(node, ast.Compare):
        holds: Any = True
        left = _value(node.left, columns)
        for op, part in zip(node.ops, node.comparators, strict=True):
            right = _value(part, columns)
            holds = np.logical_and(holds, _OPERATORS[type(op)](left, right))
            left = right
        return np.multiply(holds, 1.0)  # truth as 0 and 1, which add up
    if isinstance(node, ast.IfExp):
        test = _value(node.test, columns)
        return np.where(np.asarray(test) != 0, _value(node.body, columns), _value(node.orelse, columns))
    assert isinstance(node, ast.Call)
    assert isinstance(node.func, ast.Name)
    function = FUNCTIONS[node.func.id][0]
    return function(*(_value(argument, columns) for argument in node.args))


def in_order(expressions: Mapping[str, Expression]) -> Sequence[str]:
    """Return the names so that each comes after those its expression uses.

    Raises
    ------
    ExpressionError
        If some depend on each other in a circle, which the message shows.
    """
    done: list[str] = []
    trail: list[str] = []

    def visit(name: str) -> None:
        if name in done:
            return
        if name in trail:
            raise ExpressionError("depends on itself: " + " -> ".join((*trail[trail.index(name) :], name)))
        trail.append(name)
        for used in expressions[name].names:
            if used in expressions:
                visit(used)
        trail.pop()
        done.append(name)

    for name in expressions:
        visit(name)
    return done
