"""Where a sweep lies: one folder with a manifest, the sweep file, and a Parquet shard per piece of work.

A shard holds what its indices decide and nothing else, is written beside its place and then renamed into it: it is
there whole or not at all. To resume is to see which are there. What differs between runs (times, machines, command
lines) is in the manifest only.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dse.evaluate import Shard, Tally, all_constraints, metric_names
from dse.space.space import Space
from simulator.core.errors import InputError

__all__ = ["MANIFEST", "Store", "read_manifest"]

MANIFEST = "manifest.json"
_SCHEMA = "ridgeline/sweep/v1"
_MARGIN = "margin:"

#: What must be the same for shards of two runs to be parts of one sweep, and what to say if it is not.
_IDENTITY = {
    "space": "the sweep file, or a specification it names, has changed",
    "model": "the model has changed: the program's code or data is not what it was",
    "level": "it was run at another level",
    "explorer": "it was run with another explorer, seed, number of points or population",
    "shard": "it was cut into shards of another size",
    "keep": "it kept other points",
}


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest of a sweep.

    Raises
    ------
    InputError
        If the folder holds none.
    """
    try:
        found = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{folder} holds no sweep: there is no {MANIFEST} in it") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{folder / MANIFEST} cannot be read: {error}") from None
    if not isinstance(found, dict) or found.get("schema") != _SCHEMA:
        raise InputError(f"{folder / MANIFEST} is not the manifest of a sweep")
    return found


class Store:
    """The folder of one sweep."""

    def __init__(self, folder: Path, space: Space) -> None:
        self.folder = folder
        self.space = space

    @contextmanager
    def locked(self, identity: Mapping[str, Any], run: Mapping[str, Any], source: str, resume: bool) -> Iterator[None]:
        """Hold the folder for one run.

        Parameters
        ----------
        identity
            What the shards depend on, by the keys of the manifest.
        run
            What differs between runs.
        source
            Text of the sweep file, kept beside the shards.
        resume
            Whether shards that are there may be used.

        Raises
        ------
        InputError
            If another run holds it, or it holds another sweep, or one that ``resume`` does not ask to go on with.
        """
        if self.folder.exists() and not self.folder.is_dir():
            raise InputError(f"{self.folder} is a file: name a folder")
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / ".lock").open("a") as lock:
            _lock(lock.fileno(), self.folder)
            self._check(identity, resume)
            runs: list[Any] = []
            if (self.folder / MANIFEST).exists():
                runs = read_manifest(self.folder).get("runs", [])
            manifest = {"schema": _SCHEMA, **identity, "runs": [*runs, dict(run)]}
            self.write_json(MANIFEST, manifest)  # first: by it a folder is known again, however early a run ends
            self._write_text("space.yaml", source)
            (self.folder / "shards").mkdir(exist_ok=True)
            for left_over in (self.folder / "shards").glob("*.tmp"):
                left_over.unlink()
            yield

    def _check(self, identity: Mapping[str, Any], resume: bool) -> None:
        """Refuse a folder whose shards are of another sweep."""
        if not (self.folder / MANIFEST).exists():
            if any(path.name not in (".lock", f"{MANIFEST}.tmp") for path in self.folder.iterdir()):
                raise InputError(f"{self.folder} holds something else: name an empty or a new folder with --out")
            return
        before = read_manifest(self.folder)
        changed = [key for key in _IDENTITY if before.get(key) != identity[key]]
        if not resume:
            hint = "" if changed else "go on with it by --resume, or "
            raise InputError(
                f"{self.folder} holds the sweep {before.get('name')!r}: {hint}name another folder with --out"
            )
        if changed:
            reasons = "; ".join(_IDENTITY[key] for key in changed)
            raise InputError(f"{self.folder} cannot be resumed: {reasons}. Name another folder with --out")

    def path(self, number: int) -> Path:
        """Return where a shard lies."""
        return self.folder / "shards" / f"{number:08d}.parquet"

    def has(self, number: int) -> bool:
        """Tell whether a shard is there."""
        return self.path(number).exists()

    def write(self, number: int, shard: Shard, asked: NDArray[np.int64]) -> None:
        """Write what is kept of one shard of the points ``asked``, whole or not at all.

        Raises
        ------
        InputError
            If the disk is full or the folder cannot be written.
        """
        _write_parquet(self.path(number), self.table(shard, {"asked": _digest(asked)}))

    def table(self, shard: Shard, about: Mapping[str, str]) -> Any:
        """Return a shard as an Arrow table: index, axes, metrics, margins, feasible, front; its tally as metadata."""
        import pyarrow as pa

        codes = self.space.codes(shard.indices)
        columns: dict[str, Any] = {"index": pa.array(shard.indices)}
        columns |= {path: pa.array(column) for path, column in self.space.numbers(codes).items()}
        columns |= {path: pa.array(column, pa.string()) for path, column in self.space.labels(codes).items()}
        for name, column in shard.metrics.items():
            columns[name] = pa.array(column, mask=np.isnan(column))  # a refused design has no number, not even NaN
        for name, column in shard.margins.items():
            columns[_MARGIN + name] = pa.array(column, mask=np.isnan(column))
        columns["feasible"] = pa.array(shard.feasible)
        columns["front"] = pa.array(shard.front)
        tally = json.dumps(_tally_document(shard.tally), sort_keys=True)
        return pa.table(columns, metadata={"tally": tally, **about})

    def read(self, number: int, asked: NDArray[np.int64] | None = None) -> Shard:
        """Read one shard back.

        Raises
        ------
        InputError
            If it is damaged, or was computed for other points than ``asked``.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            table = pq.read_table(self.path(number), use_threads=False)
            tally = json.loads(table.schema.metadata[b"tally"])
            if asked is not None and table.schema.metadata[b"asked"].decode() != _digest(asked):
                raise ValueError("it holds other points than this sweep has there")
        except (OSError, KeyError, ValueError, pa.ArrowException) as error:
            raise InputError(f"{self.path(number)} is damaged ({error}): delete it and resume") from None

        def column(name: str) -> NDArray[np.float64]:
            return np.asarray(table[name].to_numpy(zero_copy_only=False), dtype=np.float64)

        return Shard(
            indices=table["index"].to_numpy(),
            metrics={name: column(name) for name in metric_names(self.space) if name in table.column_names},
            margins={c.name: column(_MARGIN + c.name) for c in all_constraints(self.space)},
            feasible=table["feasible"].to_numpy(zero_copy_only=False),
            front=table["front"].to_numpy(zero_copy_only=False),
            tally=_read_tally(tally),
        )

    def shards(self) -> Iterator[Shard]:
        """Read all shards that are there, one at a time."""
        for path in sorted((self.folder / "shards").glob("*.parquet")):
            yield self.read(int(path.stem))

    def write_front(self, shard: Shard) -> None:
        """Write the final front as one table."""
        _write_parquet(self.folder / "front.parquet", self.table(shard, {}))

    def write_json(self, name: str, document: Any) -> None:
        """Write a JSON file, whole or not at all."""
        self._write_text(name, json.dumps(document, indent=2, sort_keys=True, allow_nan=False) + "\n")

    def _write_text(self, name: str, text: str) -> None:
        _replace(self.folder / name, lambda path: path.write_text(text, encoding="utf-8"))


def _lock(descriptor: int, folder: Path) -> None:
    """Take the folder for this process; the system lets go of it when the process ends, however it ends."""
    try:
        import fcntl
    except ImportError:  # a system without: two runs at once are then the user's care
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise InputError(f"another sweep is running in {folder}: wait for it, or name another folder") from None


def _write_parquet(path: Path, table: Any) -> None:
    import pyarrow.parquet as pq

    _replace(path, lambda place: pq.write_table(table, place, compression="zstd"))


def _replace(path: Path, write: Any) -> None:
    """Write beside ``path`` and rename, so that a reader sees the old file or the new one."""
    beside = path.with_name(path.name + ".tmp")
    try:
        write(beside)
        with beside.open("rb") as stream:
            os.fsync(stream.fileno())
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        reason = error.strerror or str(error)
        raise InputError(f"cannot write {path}: {reason}; make room and resume with --resume") from error


def _digest(indices: NDArray[np.int64]) -> str:
    return hashlib.sha256(np.ascontiguousarray(indices, dtype=np.int64).tobytes()).hexdigest()[:16]


def _tally_document(tally: Tally) -> dict[str, Any]:
    return {
        "points": tally.points,
        "feasible": tally.feasible,
        "refused": dict(tally.refused),
        "rejected": dict(tally.rejected),
        "closest": None if tally.closest is None else list(tally.closest),
        "nearest": dict(tally.nearest),
    }


def _read_tally(document: Mapping[str, Any]) -> Tally:
    closest = document["closest"]
    return Tally(**{**document, "closest": None if closest is None else tuple(closest)})
