"""A model as it is deployed: float32, bfloat16 or dynamic int8, its state and its bytes.

Never reads a clock.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from harness.cells import State, Stateful, TorchCell
from harness.training.model import SequenceModel

DTYPES: Mapping[str, torch.dtype] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "int8": torch.float32,
}
"""What a model's inputs, outputs and state are in.

Dynamic int8 holds its weights in int8 and rounds its inputs anew at each product.
"""
OUTPUT_TOLERANCE: Mapping[str, float] = {"float32": 1e-4, "bfloat16": 0.2, "int8": 0.3}
"""The largest relative output error with which a model is timed.

Measured over three tasks, hidden sizes 4 to 128, 1 and 2 layers, lengths 20 and 200 and every
initialisation: at most 1.3e-6, 0.05 and 0.11. A step without its state, or a wrong gate, is off by
more in float32.
"""
QUANTIZED = (nn.LSTM, nn.GRU, nn.Linear, nn.LSTMCell, nn.GRUCell, nn.RNNCell)
"""The modules that torch's dynamic int8 replaces; torch.ao.quantization lists them."""
DEPRECATIONS = (
    (DeprecationWarning, r"torch\.ao\.quantization is deprecated"),
    (UserWarning, r"torch\.quantize_per_tensor, .* are deprecated"),
)
INT8_BYTES, SCALE_BYTES = 1, 4

Step = Callable[[Tensor, State], tuple[Tensor, State]]


def deployment_problem(model: SequenceModel, dtype: str, measure: str) -> str:
    """Why a model can't be had in that dtype, or can't be stepped; "" where it can."""
    name = type(model.cell).__name__
    if measure == "step" and not isinstance(model.cell, TorchCell | Stateful):
        return f"{name} offers no single step (initial_state and step)"
    if dtype != "int8":
        return ""
    if torch.backends.quantized.engine == "none":
        return "this torch was built without int8 arithmetic"
    if _quantize_dynamic() is None:
        return f"torch {torch.__version__} has no dynamic int8"
    if any(type(module) in QUANTIZED for module in model.cell.modules()):
        return ""
    if any(isinstance(module, nn.RNN) for module in model.cell.modules()):
        return "torch has no dynamic int8 nn.RNN"
    replaced = ", ".join(f"nn.{kind.__name__}" for kind in QUANTIZED)
    return f"dynamic int8 replaces {replaced} alone, and {name} has none of them"


def convert(model: SequenceModel, dtype: str) -> SequenceModel:
    """A copy of a float32 model in that dtype; `deployment_problem` must be empty for it."""
    converted = copy.deepcopy(model).eval()
    if dtype != "int8":
        return converted.to(DTYPES[dtype])
    quantize = _quantize_dynamic()
    if quantize is None:
        raise ValueError("'dtype' must be available (got 'int8')")
    with _deprecations_silenced():
        quantized: SequenceModel = quantize(converted, set(QUANTIZED), dtype=torch.qint8)
    return quantized


def first_state(model: SequenceModel, like: Tensor) -> State | None:
    """The state of one sequence before its first step; None for a cell that tells none."""
    cell = model.cell
    return cell.initial_state(1, like) if isinstance(cell, Stateful) else None


def step_of(model: SequenceModel) -> Step:
    """One step of cell and head: returns the outputs (1, output_size) and the next state.

    torch's own cells take it through the module itself, with a sequence of one, as one deploys
    them.
    """
    cell, head = model.cell, model.head
    if isinstance(cell, TorchCell):
        module = cell.module

        def through_module(inputs: Tensor, state: State) -> tuple[Tensor, State]:
            states, after = module(inputs, state)
            return head(states[:, 0]), after

        return through_module
    if not isinstance(cell, Stateful):
        raise TypeError(f"expected a cell with single steps, got {type(cell).__name__}")
    step = cell.step

    def through_step(inputs: Tensor, state: State) -> tuple[Tensor, State]:
        states, after = step(inputs[:, 0], state)
        return head(states), after

    return through_step


def weights_bytes(model: SequenceModel) -> int:
    """Bytes of weights, biases and buffers, in the dtype in which each is held.

    A quantised module holds a byte for each number of a matrix and a float32 scale for each matrix;
    its biases are float32.
    """
    total = sum(
        each.numel() * each.element_size() for each in (*model.parameters(), *model.buffers())
    )
    for module in model.modules():
        matrices, biases = _quantized_parts(module)
        total += sum(matrix.numel() * INT8_BYTES + SCALE_BYTES for matrix in matrices)
        total += sum(bias.numel() * bias.element_size() for bias in biases)
    return total


def state_bytes(state: State) -> int:
    """Bytes of a state."""
    parts = state if isinstance(state, tuple) else (state,)
    return sum(part.numel() * part.element_size() for part in parts)


def reference_outputs(model: SequenceModel, inputs: Tensor) -> Tensor:
    """What cell and head give at every step, in float64.

    In float32 for a cell that can't be computed in float64.
    """
    try:
        return _every_step(copy.deepcopy(model).double(), inputs.double())
    except Exception:  # noqa: BLE001  # a plug-in's cell may make float32 tensors of its own
        return _every_step(model, inputs).double()


def outputs_of(model: SequenceModel, inputs: Tensor, measure: str) -> Tensor:
    """The same of a converted model, by the way in which it will be timed.

    In one call, or step by step.
    """
    if measure == "sequence":
        return _every_step(model, inputs)
    step, state = step_of(model), first_state(model, inputs[:1])
    outputs = []
    for i in range(inputs.shape[1]):
        output, state = step(inputs[:1, i : i + 1], state)  # type: ignore[arg-type]
        outputs.append(output)
    return torch.stack(outputs, dim=1)


def relative_error(outputs: Tensor, reference: Tensor) -> float:
    """The norm of the difference over the norm of the reference, of all steps together."""
    return float((outputs.double() - reference).norm() / reference.norm())


def _every_step(model: SequenceModel, inputs: Tensor) -> Tensor:
    outputs: Tensor = model.head(model.cell(inputs))
    return outputs


def _quantized_parts(module: nn.Module) -> tuple[list[Tensor], list[Tensor]]:
    """The int8 matrices and the biases of a module that dynamic int8 has put there.

    Nothing of any other.
    """
    if not type(module).__module__.startswith("torch.ao.nn.quantized"):
        return [], []
    parts: Any = module
    if hasattr(module, "get_weight"):  # recurrent ones
        return list(parts.get_weight().values()), list(parts.get_bias().values())
    if not callable(getattr(module, "weight", None)):  # a part of one that is counted already
        return [], []
    bias = parts.bias()
    return [parts.weight()], [] if bias is None else [bias]


def _quantize_dynamic() -> Callable[..., Any] | None:
    """torch's own; None where a version of torch has it no more."""
    with _deprecations_silenced():
        try:
            from torch.ao.quantization import quantize_dynamic
        except ImportError:
            return None
    return quantize_dynamic


@contextmanager
def _deprecations_silenced() -> Iterator[None]:
    """Without the warnings that dynamic int8 is deprecated: it is what torch has."""
    with warnings.catch_warnings():
        for category, message in DEPRECATIONS:
            warnings.filterwarnings("ignore", message=message, category=category)
        yield
