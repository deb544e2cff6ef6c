"""The benchmarks of a grid in groups, as plain data, in the order of the file. Never times one."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from harness.config.grid_config import SIZES, GridSpec, InitializedCell


@dataclasses.dataclass(frozen=True)
class Group:
    """Benchmarks that are timed together, interleaved: one shape on one device.

    Each benchmark is plain data with a unique name.
    """

    label: str
    device: str
    benchmarks: tuple[Mapping[str, Any], ...]


def training_groups(
    spec: GridSpec, cells: Mapping[str, InitializedCell], device: str
) -> tuple[Group, ...]:
    """The groups of training steps on a device, in the order of the file.

    A benchmark of two blocks occurs once. An initialisation that a cell lacks is left out for it.
    """
    found: dict[tuple[int, ...], dict[str, dict[str, Any]]] = {}
    keys = ("cells", "initialization", "measures", "variants")
    for _, block in spec.blocks():
        for shape in itertools.product(*(block[name] for name in SIZES)):
            group = found.setdefault(shape, {})
            for cell, initialization, measure, variant in itertools.product(
                *(block[key] for key in keys)
            ):
                if initialization in cells[cell].initializations:
                    own = {"cell": cell, "initialization": initialization}
                    own |= {"measure": measure, "variant": variant, "device": device}
                    each = _benchmark(spec, shape, own)
                    group[each["name"]] = each
    return tuple(
        Group(f"{_label(shape)} on {device}", device, tuple(group.values()))
        for shape, group in found.items()
        if group
    )


def inference_groups(spec: GridSpec, cells: Mapping[str, InitializedCell]) -> tuple[Group, ...]:
    """The groups of inference, one for each hidden size and number of layers.

    Each has the step and sequences of each length. The batch size is 1, and the initialisation is
    that of [shape], or the cell's first one.
    """
    found: dict[tuple[int, int], dict[str, dict[str, Any]]] = {}
    for _, block in spec.blocks():
        for hidden, layers, length in itertools.product(*(block[name] for name in SIZES[:3])):
            group = found.setdefault((hidden, layers), {})
            for cell, dtype in itertools.product(block["cells"], spec.inference.dtypes):
                names = cells[cell].initializations
                usual = spec.shape.initialization
                own = {
                    "cell": cell,
                    "initialization": usual if usual in names else next(iter(names)),
                }
                for measure in spec.inference.measures:
                    at = spec.shape.sequence_length if measure == "step" else length
                    own |= {"dtype": dtype, "measure": measure, "device": "cpu"}
                    each = _called(spec, (hidden, layers, at), own)
                    group[each["name"]] = each
    return tuple(
        Group(f"hidden size {hidden}, {_layers(layers)}", "cpu", tuple(group.values()))
        for (hidden, layers), group in found.items()
    )


def _benchmark(spec: GridSpec, sizes: Sequence[int], own: Mapping[str, str]) -> dict[str, Any]:
    shape = spec.shape
    ways = (own["measure"], own["variant"], own["initialization"])
    return {
        "name": "/".join((shape.task, own["cell"], *ways, _short(sizes), own["device"])),
        "task": shape.task,
        **own,
        **dict(zip(SIZES, sizes, strict=True)),
        "optimizer": shape.optimizer,
        "learning_rate": shape.learning_rate,
        "max_grad_norm": shape.max_grad_norm,
    }


def _called(spec: GridSpec, sizes: Sequence[int], own: Mapping[str, str]) -> dict[str, Any]:
    shape = _short(sizes[:2] if own["measure"] == "step" else sizes)
    words = (spec.shape.task, own["cell"], own["measure"], own["dtype"], shape, own["device"])
    sized = dict(zip(SIZES[:3], sizes, strict=True))
    return {"name": "/".join(words), "task": spec.shape.task, **own, **sized}


def _short(sizes: Sequence[int]) -> str:
    return "/".join(f"{letter}{size}" for letter, size in zip("hltb", sizes, strict=False))


def _label(sizes: Sequence[int]) -> str:
    hidden, layers, length, batch = sizes
    return f"hidden size {hidden}, {_layers(layers)}, length {length}, batch {batch}"


def _layers(number: int) -> str:
    return f"{number} layer" if number == 1 else f"{number} layers"
