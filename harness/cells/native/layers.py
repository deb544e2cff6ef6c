"""Stacks of nn.RNN, nn.GRU and nn.LSTM on the CPU by the compiled kernels, with their gradients.

The weights stay the module's. States are kept as rows (hidden_size, steps * columns), where
`columns` is the batch size rounded up to whole vectors. So the gradient of a weight is one matrix
product over all steps, which torch computes. Never decides where the kernels are used.

Source of the mathematics: torch's documentation of nn.RNN, nn.GRU and nn.LSTM; the gradients are
backpropagation through time.
"""

from __future__ import annotations

import ctypes
import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from harness.cells.native.library import DtypeName, NativeLibrary

CellName = Literal["rnn", "gru", "lstm"]
LayerWeights = tuple[Tensor, ...]
"""w_ih, w_hh, b_ih and b_hh of a layer."""

DTYPE_NAMES: dict[torch.dtype, DtypeName] = {torch.float32: "f32", torch.float64: "f64"}
CACHE_LINE_BYTES = 64
GATES: dict[CellName, int] = {"rnn": 1, "gru": 3, "lstm": 4}
N_KEPT: dict[CellName, int] = {"rnn": 0, "gru": 4, "lstm": 6}
"""Numbers of a unit and step that the backward pass needs beside the states: see recurrent.c."""
N_GRADS: dict[CellName, int] = {"rnn": 1, "gru": 4, "lstm": 4}
"""Sums of a unit and step: the GRU's candidate has two, one of inputs and one of states."""


class Shape(ctypes.Structure):
    """The sizes of a layer, as recurrent.h has them. `stride` is the length of a row."""

    _fields_ = [
        (name, ctypes.c_int64)
        for name in ("input_size", "hidden_size", "steps", "batch_size", "columns", "stride")
    ]
    input_size: int
    hidden_size: int
    steps: int
    batch_size: int
    columns: int
    stride: int


@dataclasses.dataclass(frozen=True)
class Kernels:
    """The kernels of one cell in one precision."""

    library: NativeLibrary
    cell: CellName
    dtype: torch.dtype

    def function(self, name: str) -> Any:
        """The function `harness_<name>`. Its arguments are addresses."""
        return self.library.function(name, DTYPE_NAMES[self.dtype])

    def run_stack(
        self, inputs: Tensor, weights: Sequence[LayerWeights], *, last_only: bool
    ) -> Tensor:
        """The last layer's states for `inputs` (batch_size, steps, input_size), from zero states.

        Shape: (batch_size, steps, hidden_size), or (batch_size, hidden_size) with `last_only`.
        Differentiable once in the inputs and all weights.
        """
        flat = [weight for layer in weights for weight in layer]
        outputs: Tensor = _Stack.apply(self, last_only, inputs, *flat)  # type: ignore[no-untyped-call]
        return outputs


class _Calls:
    """The kernels for one shape of a layer. Tensors are passed by address."""

    def __init__(self, kernels: Kernels, sizes: tuple[int, int, int, int]) -> None:
        input_size, hidden_size, steps, batch_size = sizes
        self.cell, self.dtype, self.hidden_size = kernels.cell, kernels.dtype, hidden_size
        lanes = kernels.function("lanes")()
        columns = -(-batch_size // lanes) * lanes
        # Rows an even number of cache lines apart would share a few places of the cache.
        line = CACHE_LINE_BYTES // kernels.dtype.itemsize
        n_lines = -(-(steps + 1) * columns // line)
        stride = (n_lines + (n_lines % 2 == 0)) * line
        self.shape = Shape(input_size, hidden_size, steps, batch_size, columns, stride)
        self.width = steps * columns
        self.pointer = ctypes.byref(self.shape)
        self.n_workspace = kernels.function("workspace")(self.pointer)
        self.run_forward = kernels.function(f"{kernels.cell}_forward")
        self.run_backward = kernels.function(f"{kernels.cell}_backward")
        self.run_to_rows = kernels.function("to_rows")
        self.run_to_sequences = kernels.function("to_sequences")

    def new_rows(self, n: int) -> Tensor:
        """`n` rows of numbers that are not set yet."""
        return torch.empty(n, self.shape.stride, dtype=self.dtype)

    def workspace(self) -> Tensor:
        """Memory for one call."""
        return torch.empty(self.n_workspace, dtype=self.dtype)

    def to_rows(self, sequences: Tensor, *, zeros: bool) -> Tensor:
        """Rows of `sequences` (batch_size, steps, input_size).

        Columns beyond the batch are 0, or those of its last sequence.
        """
        rows = self.new_rows(self.shape.input_size)
        self.run_to_rows(self.pointer, sequences.data_ptr(), rows.data_ptr(), zeros)
        return rows

    def to_sequences(self, rows: Tensor) -> Tensor:
        """Rows as (batch_size, steps, input_size)."""
        sizes = (self.shape.batch_size, self.shape.steps, self.shape.input_size)
        sequences = torch.empty(sizes, dtype=self.dtype)
        self.run_to_sequences(self.pointer, rows.data_ptr(), sequences.data_ptr())
        return sequences


_calls = functools.lru_cache(maxsize=256)(_Calls)


class _Layer:
    """One layer's pass, forward and backward."""

    def __init__(self, calls: _Calls, weights: LayerWeights, inputs: Tensor) -> None:
        self.calls, self.weights, self.inputs = calls, weights, inputs
        self.states: Tensor | None = None
        self.kept: Tensor | None = None

    def forward(self, *, gradients: bool, all_states: bool) -> Tensor:
        """The state after the last step (batch_size, hidden_size)."""
        calls, hidden = self.calls, self.calls.hidden_size
        kept = N_KEPT[calls.cell] if gradients else 0
        self.states = calls.new_rows(hidden) if gradients or all_states else None
        self.kept = calls.new_rows(kept * hidden) if kept else None
        last = torch.empty(calls.shape.batch_size, hidden, dtype=calls.dtype)
        arguments = (self.inputs, *self.weights, self.states, self.kept, last, calls.workspace())
        calls.run_forward(calls.pointer, *map(_address, arguments))
        return last

    def backward(self, grad_states: Tensor | None, grad_last: Tensor | None) -> Tensor:
        """The gradients of the sums of all gates, as rows. `kept` is overwritten."""
        calls, n_rows = self.calls, N_GRADS[self.calls.cell] * self.calls.hidden_size
        grads = calls.new_rows(n_rows) if self.kept is None else self.kept
        gradients = (grad_states, grad_last, grads)
        # Named, so that the memory lives as long as the call
        arguments = (self.weights[1], self.states, self.kept, *gradients, calls.workspace())
        calls.run_backward(calls.pointer, *map(_address, arguments))
        return grads[:n_rows, : calls.width]

    def weight_grads(self, grads: Tensor) -> LayerWeights:
        """The gradients of w_ih, w_hh, b_ih and b_hh."""
        assert self.states is not None
        hidden, width = self.calls.hidden_size, self.calls.width
        inputs, before, sums = self.inputs[:, :width].t(), self.states[:, :width].t(), grads.sum(1)
        if self.calls.cell != "gru":
            return grads.mm(inputs), grads.mm(before), sums, sums
        gates, candidate = slice(2 * hidden), slice(3 * hidden, None)
        return (
            torch.cat((grads[gates].mm(inputs), grads[candidate].mm(inputs))),
            grads[: 3 * hidden].mm(before),
            torch.cat((sums[gates], sums[candidate])),
            sums[: 3 * hidden],
        )

    def input_grads(self, grads: Tensor) -> Tensor:
        """The gradients of the inputs, as rows."""
        rows, w_ih = self.calls.new_rows(self.calls.shape.input_size), self.weights[0]
        wanted = rows[:, : self.calls.width]
        if self.calls.cell != "gru":
            torch.mm(w_ih.t(), grads, out=wanted)
        else:
            two = 2 * self.calls.hidden_size
            torch.mm(w_ih[:two].t(), grads[:two], out=wanted)
            wanted.addmm_(w_ih[two:].t(), grads[two + two // 2 :])
        return rows


def _address(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


class _Stack(torch.autograd.Function):
    """The layers of a stack, one after another."""

    @staticmethod
    def forward(
        ctx: Any, kernels: Kernels, last_only: bool, inputs: Tensor, *flat: Tensor
    ) -> Tensor:
        """The last layer's states; `flat` holds four weights for each layer."""
        inputs, flat = inputs.contiguous(), tuple(weight.contiguous() for weight in flat)
        ctx.kernels, ctx.last_only = kernels, last_only
        ctx.save_for_backward(inputs, *flat)
        gradients = any(ctx.needs_input_grad)
        layers, outputs = _run(kernels, inputs, flat, last_only=last_only, gradients=gradients)
        ctx.layers = layers if gradients else None
        return outputs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients with respect to the inputs (None if not needed) and the weights."""
        kernels, needs_inputs = ctx.kernels, ctx.needs_input_grad[2]
        inputs, *flat = ctx.saved_tensors
        layers: list[_Layer] | None = ctx.layers
        if layers is None:  # the second time
            layers, _ = _run(kernels, inputs, flat, last_only=ctx.last_only, gradients=True)
        ctx.layers = None
        rows: Tensor | None = None
        last: Tensor | None = grad.contiguous()
        if not ctx.last_only:
            assert last is not None
            calls = _calls(kernels, (last.shape[2], last.shape[2], last.shape[1], last.shape[0]))
            rows, last = calls.to_rows(last, zeros=True), None
        found: list[Tensor | None] = []
        for number, layer in reversed(list(enumerate(layers))):
            grads = layer.backward(rows, last)
            found[:0] = layer.weight_grads(grads)
            rows = layer.input_grads(grads) if number or needs_inputs else None
            last = None
        return None, None, None if rows is None else layers[0].calls.to_sequences(rows), *found


def _run(
    kernels: Kernels, inputs: Tensor, flat: Sequence[Tensor], *, last_only: bool, gradients: bool
) -> tuple[list[_Layer], Tensor]:
    """The layers after their forward pass, and the outputs."""
    batch_size, steps, input_size = inputs.shape
    hidden_size = flat[1].shape[1]
    calls = _calls(kernels, (input_size, hidden_size, steps, batch_size))
    above = _calls(kernels, (hidden_size, hidden_size, steps, batch_size))
    rows = calls.to_rows(inputs, zeros=False)
    layers: list[_Layer] = []
    for first in range(0, len(flat), 4):
        layer = _Layer(calls, tuple(flat[first : first + 4]), rows)
        all_states = not last_only or first + 4 < len(flat)
        outputs = layer.forward(gradients=gradients, all_states=all_states)
        layers.append(layer)
        calls = above
        if all_states:
            assert layer.states is not None
            rows = layer.states[:, calls.shape.columns :]  # past the state before any input
    return layers, outputs if last_only else above.to_sequences(rows)
