"""Kinds of device: a registry, one record per kind, errors at their place whichever kind a file describes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import pytest
import yaml

from hwmodels.catalog import SPECS, bundled, hardware_names, load_hardware
from hwmodels.device import KnownCosts
from hwmodels.kinds import DEVICE_KINDS
from hwmodels.parts import DeviceSpec
from hwmodels.system import build_system
from simulator.core.errors import SpecError
from simulator.core.one_of import OneOf
from simulator.core.specfile import SpecRecord, field_paths, load_spec
from workloads.formats import load_format
from workloads.operators import Gemm

BF16 = load_format("bf16")


class Tree(SpecRecord):
    type: Literal["tree"] = "tree"
    height: int


class Cloud(SpecRecord):
    type: Literal["cloud"] = "cloud"
    height: int
    rain: bool


class Scene(SpecRecord):
    thing: Annotated[SpecRecord, OneOf({"tree": lambda: Tree, "cloud": lambda: Cloud})]


def scene(tmp_path: Path, text: str) -> Scene:
    path = tmp_path / "scene.yaml"
    path.write_text(text, encoding="utf-8")
    return load_spec(path, Scene)


def test_the_key_chooses_the_record_and_the_first_is_the_default(tmp_path: Path) -> None:
    assert scene(tmp_path, "thing: {height: 3}").thing == Tree(height=3)
    assert scene(tmp_path, "thing: {type: cloud, height: 900, rain: true}").thing == Cloud(height=900, rain=True)
    assert list(field_paths(Scene)) == [("thing", "type"), ("thing", "height"), ("thing", "rain")]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("thing:\n  type: cloud\n  height: tall\n  rain: true", "3:3: thing.height: expected a whole number"),
        ("thing:\n  type: cloud\n  height: 900", "1:1: thing.rain: required field is missing"),
        ("thing:\n  type: tree\n  heigth: 3", "3:3: thing.heigth: unknown key (did you mean 'height'?)"),
        ("thing:\n  type: tree\n  height: 3\n  rain: true", "4:3: thing.rain: unknown key: other types have it"),
        ("thing:\n  type: fog\n  height: 3", "2:3: thing.type: expected one of tree, cloud, got 'fog'"),
        ("thing:\n  type: 5\n  height: 3", "2:3: thing.type: expected one of tree, cloud, got 5"),
        ("thing: 5", "1:1: thing: expected a mapping, got 5"),
    ],
)
def test_errors_lie_where_a_person_must_look(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(SpecError) as caught:
        scene(tmp_path, text)
    assert any(says in str(problem) for problem in caught.value.problems), str(caught.value)


@pytest.mark.parametrize("kind", DEVICE_KINDS)
def test_every_kind_has_its_folder_and_its_files_say_so(kind: str) -> None:
    assert issubclass(DEVICE_KINDS[kind].record(), DeviceSpec)
    paths = bundled(kind)
    assert paths, f"no files in {SPECS / kind}"
    for name in paths:
        assert load_hardware(name).units[0].device.type == kind


def test_a_name_means_one_device() -> None:
    names = [name for kind in DEVICE_KINDS for name in bundled(kind)]
    assert len(names) == len(set(names))
    assert set(names) <= set(hardware_names())


def test_a_kind_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({"base": "h200", "type": "quantum"}), encoding="utf-8")
    with pytest.raises(SpecError, match=r"mine\.yaml:2:1: units\.0\.device\.type: expected one of gpu"):
        load_hardware(path)


@pytest.mark.parametrize("name", ["h200", "bank-pim", "eyeriss"])
def test_costs_that_were_asked_for_before_are_the_same_and_belong_to_one_device(name: str) -> None:
    device = build_system(load_hardware(name)).device
    product = Gemm(name="p", m=64, n=4096, k=4096, activations=BF16, weights=BF16, output=BF16)
    first = device.cost(product)
    assert device.cost(replace(product)) is first
    assert device.cost(product, 0.5 * device.max_clock_Hz).time_s >= first.time_s
    slower = device.scaled("compute", 0.25).scaled("hbm", 0.25)
    assert slower.cost(product).time_s > first.time_s


def test_no_more_costs_are_kept_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(KnownCosts, "_MOST", 4)
    device = build_system(load_hardware("h200")).device
    asked = [
        Gemm(name="p", m=m, n=4096, k=4096, activations=BF16, weights=BF16, output=BF16) for m in (1, 2, 3, 4, 5, 6)
    ]
    assert [device.cost(product) for product in asked] == [device.cost(product) for product in asked]
    assert len(device._known._costs) <= 4
