"""Layers of nn.RNN and nn.GRU with their gradients written out, for a CPU without native kernels.

torch runs an LSTM on a CPU as one fused program. It runs an RNN and a GRU step by step, as dozens
of small operators that autograd records. Where a state is small, calling them takes longer than
computing them. Here a step takes 2 operators forward and 2 backward (RNN), or 5 and 3 (GRU).
Whatever does not depend on the step before is computed for many steps at once. All tensors are
(sequence_length, hidden_size, batch_size), so that a step reads and writes one piece of memory.

`use_fast_recurrence` replaces torch's loop by the native kernels, or where there are none by this
one, at the shapes where it was measured to be faster:
by 1.3 times or more at most of them (results/reference/faster_steps). Source of the mathematics:
torch's documentation of nn.RNN and nn.GRU. The gradients are backpropagation through time; `to_x`
is the gradient of the loss with respect to x.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable

from harness.cells import TorchCell
from harness.cells.native.library import native_status
from harness.cells.native.recurrence import native_recurrence

BLOCK = 1 << 18
"""Numbers of a state's history that the backward pass handles together.

A large block means few products for the gradients of the weights. What a block needs, up to eleven
times as much, still fits into a last-level cache of 16 MB or more.
"""

Gradients = tuple[Tensor | None, ...]


@dataclasses.dataclass(frozen=True)
class HandWritten:
    """A hand-written recurrence, and the shapes at which it is faster than torch's.

    `most_numbers` bounds batch_size times hidden_size; without gradients a quarter of it, because
    the forward pass alone saves fewer operators. `most_hidden` bounds hidden_size. Beyond these
    limits nearly all time is spent in matrix products, which are the same. Source:
    results/reference/faster_steps.
    """

    layer: type[torch.autograd.Function]
    most_numbers: int = 8192
    most_hidden: int = 256

    def suits(self, inputs: Tensor, hidden_size: int, *, gradients: bool) -> bool:
        """Whether it is faster at this shape, with or without gradients."""
        most = self.most_numbers if gradients else self.most_numbers // 4
        return hidden_size <= self.most_hidden and len(inputs) * hidden_size <= most

    def __call__(
        self, inputs: Tensor, weights: Sequence[tuple[Tensor, ...]], *, last_only: bool
    ) -> Tensor:
        """The last layer's states for `inputs` (batch first), from zero states."""
        states = inputs.permute(1, 2, 0).contiguous()
        for own in weights:
            states = self.layer.apply(states, *own)
        return states[-1].t() if last_only else states.permute(2, 0, 1)


def use_fast_recurrence(cell: nn.Module) -> bool:
    """Let torch's own cell use the native kernels, else a hand-written recurrence if it has one.

    Returns whether it may. Only for models on a CPU. The weights stay the module's: saving, loading
    and optimising work as before. A plugged-in cell is left alone.
    """
    if type(cell) is not TorchCell or not _is_plain(cell.module):
        return False
    kind = type(cell.module)
    cell.recurrence = native_recurrence(kind) or RECURRENCES.get(kind)
    return cell.recurrence is not None


def use_native_kernels(cell: nn.Module) -> bool:
    """Let torch's own cell use the native kernels at every shape; returns whether it may."""
    if type(cell) is not TorchCell or not _is_plain(cell.module):
        return False
    cell.recurrence = native_recurrence(type(cell.module), everywhere=True)
    return cell.recurrence is not None


def describe_recurrence(device: str) -> str:
    """What trains torch's own cells on a device: "torch", or what replaces it at some shapes."""
    if device != "cpu":
        return "torch"
    status = native_status()
    if status.level:
        return f"native kernels ({status.level}), else torch"
    return f"own for small RNN and GRU, else torch; no native kernels: {status.why_none}"


def _is_plain(module: nn.RNNBase) -> bool:
    """Whether a module has the default options of its class, except for its sizes."""
    usual = module.bias and not module.bidirectional and not module.dropout and not module.proj_size
    return usual and module.mode in ("RNN_TANH", "GRU", "LSTM")


class RNNLayer(torch.autograd.Function):
    """A layer of nn.RNN from a zero state: h_t = tanh(W_ih x_t + b_ih + W_hh h_(t-1) + b_hh).

    `inputs` is (sequence_length, input_size, batch_size); weights and biases are nn.RNN's. The
    result is (sequence_length, hidden_size, batch_size).
    """

    @staticmethod
    def forward(ctx: FunctionCtx, inputs: Tensor, *weights: Tensor) -> Tensor:
        """Every step's state; `weights` are w_ih, w_hh, b_ih and b_hh."""
        w_ih, w_hh, b_ih, b_hh = weights
        states = _project(inputs, w_ih, b_ih + b_hh)
        first, *others = states.unbind()
        state = first.tanh_()
        for step in others:
            state = step.addmm_(w_hh, state).tanh_()
        ctx.save_for_backward(inputs, w_ih, w_hh, states)
        return states

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Gradients:
        """The gradients with respect to inputs (None if not needed), weights and biases."""
        inputs, w_ih, w_hh, states = ctx.saved_tensors
        sums = _Sums(inputs, w_ih, w_hh, wants_inputs=ctx.needs_input_grad[0])
        transposed = w_hh.t()
        # A copy: gradients from later steps are added in place.
        to_states = grad.clone(memory_format=torch.contiguous_format)
        to_each = to_states.unbind()
        for low, high in _blocks(states):
            now = states[low:high]
            grad_gates = torch.mul(now, now).neg_().add_(1.0)  # tanh' of its own value
            for step, to_gate in zip(
                range(high - 1, low - 1, -1), reversed(grad_gates.unbind()), strict=True
            ):
                to_gate.mul_(to_each[step])
                if step:
                    to_each[step - 1].addmm_(transposed, to_gate)
            sums.add_recurrent(grad_gates, _before(states, low, high))
            sums.add_inputs(grad_gates, low, high)
        return sums.inputs, sums.w_ih, sums.w_hh, sums.b_ih, sums.b_hh


class GRULayer(torch.autograd.Function):
    """A layer of nn.GRU from a zero state.

    n = tanh(W_in x + b_in + r (W_hn h + b_hn)) and h' = (1 - z) n + z h, where r and z are sigmoids
    of W_i x + b_i + W_h h + b_h. The blocks of the weights are in torch's order: r, z, n. `inputs`
    is (sequence_length, input_size, batch_size); the result is (sequence_length, hidden_size,
    batch_size).
    """

    @staticmethod
    def forward(ctx: FunctionCtx, inputs: Tensor, *weights: Tensor) -> Tensor:
        """Every step's state; `weights` are w_ih, w_hh, b_ih and b_hh."""
        w_ih, w_hh, b_ih, b_hh = weights
        two = 2 * w_hh.shape[1]
        # Three blocks: the gates r and z before the sigmoid, and W_hn h + b_hn.
        biases = torch.cat((b_ih[:two] + b_hh[:two], b_hh[two:]))
        gates = biases[:, None].repeat(inputs.shape[0], 1, inputs.shape[2])
        gates[:, :two].baddbmm_(_each(w_ih[:two], inputs), inputs)
        new = _project(inputs, w_ih[two:], b_ih[two:])
        states = torch.empty_like(new)
        state = torch.zeros_like(new[0])
        steps = (gates, gates[:, :two], *gates.chunk(3, dim=1), new, states)
        for all_gates, opened, reset, update, through, candidate, out in zip(
            *(each.unbind() for each in steps), strict=True
        ):
            all_gates.addmm_(w_hh, state)
            opened.sigmoid_()
            candidate.addcmul_(reset, through).tanh_()
            state = torch.lerp(candidate, state, update, out=out)
        ctx.save_for_backward(inputs, w_ih, w_hh, gates, new, states)
        return states

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Gradients:
        """The gradients with respect to inputs (None if not needed), weights and biases."""
        inputs, w_ih, w_hh, gates, new, states = ctx.saved_tensors
        sums = _Sums(inputs, w_ih, w_hh, wants_inputs=ctx.needs_input_grad[0])
        transposed = w_hh.t()
        # A copy: gradients from later steps are added in place.
        to_states = grad.clone(memory_format=torch.contiguous_format)
        to_each = to_states.unbind()
        for low, high in _blocks(states):
            before, candidate = _before(states, low, high), new[low:high]
            reset, update, through = gates[low:high].chunk(3, dim=1)
            # Gradient of each block for a gradient of 1 to the state; multiplied step by step.
            grad_gates = torch.empty_like(gates[low:high])
            to_reset, to_update, to_through = grad_gates.chunk(3, dim=1)
            to_candidate = (1.0 - update).mul_(torch.mul(candidate, candidate).neg_().add_(1.0))
            torch.mul(to_candidate, reset, out=to_through)
            torch.mul(to_through, through, out=to_reset).mul_(1.0 - reset)
            torch.sub(before, candidate, out=to_update).mul_(update).mul_(1.0 - update)
            blocks = grad_gates.view(high - low, 3, *states.shape[1:])
            steps = zip(grad_gates.unbind(), blocks.unbind(), update.unbind(), strict=True)
            for step, (all_gates, three, kept) in zip(
                range(high - 1, low - 1, -1), reversed(list(steps)), strict=True
            ):
                three.mul_(to_each[step])
                if step:
                    to_state = to_each[step - 1]
                    to_state.addcmul_(to_each[step], kept).addmm_(transposed, all_gates)
            sums.add_recurrent(grad_gates, before)
            torch.mul(to_candidate, to_states[low:high], out=to_through)  # past the reset gate
            sums.add_inputs(grad_gates, low, high)
        return sums.inputs, sums.w_ih, sums.w_hh, sums.b_ih, sums.b_hh


class _Sums:
    """The gradients of a layer's inputs and weights, summed block by block of steps."""

    def __init__(self, inputs: Tensor, w_ih: Tensor, w_hh: Tensor, *, wants_inputs: bool) -> None:
        self.given, self.weights = inputs, w_ih
        self.inputs = torch.empty_like(inputs) if wants_inputs else None
        self.w_ih, self.w_hh = torch.zeros_like(w_ih), torch.zeros_like(w_hh)
        self.b_ih, self.b_hh = w_ih.new_zeros(len(w_ih)), w_hh.new_zeros(len(w_hh))

    def add_recurrent(self, grad_gates: Tensor, before: Tensor) -> None:
        """Add a block of steps, given the gradients of its products with the states before."""
        flat = _flat(grad_gates)
        self.w_hh.addmm_(flat, _flat(before).t())
        self.b_hh += flat.sum(1)

    def add_inputs(self, grad_gates: Tensor, low: int, high: int) -> None:
        """Add the steps `low` to `high`, given the gradients of their products with the inputs."""
        flat = _flat(grad_gates)
        self.w_ih.addmm_(flat, _flat(self.given[low:high]).t())
        self.b_ih += flat.sum(1)
        if self.inputs is not None:
            weights = self.weights.t()
            torch.bmm(_each(weights, grad_gates), grad_gates, out=self.inputs[low:high])


def _project(inputs: Tensor, weights: Tensor, bias: Tensor) -> Tensor:
    """weights @ inputs + bias of every step."""
    shape = (inputs.shape[0], len(weights), inputs.shape[2])
    return torch.baddbmm(bias[:, None].expand(shape), _each(weights, inputs), inputs)


def _each(weights: Tensor, steps: Tensor) -> Tensor:
    """The same weights for each step, without a copy."""
    return weights.expand(len(steps), *weights.shape)


def _before(states: Tensor, low: int, high: int) -> Tensor:
    """The state before each step from `low` to `high`: zero before the first."""
    if low:
        return states[low - 1 : high - 1]
    return torch.cat((torch.zeros_like(states[:1]), states[: high - 1]))


def _flat(steps: Tensor) -> Tensor:
    """(steps, size, batch_size) to (size, steps * batch_size)."""
    return steps.transpose(0, 1).flatten(1)


def _blocks(states: Tensor) -> Iterator[tuple[int, int]]:
    """Ranges of steps, from the last to the first."""
    length = max(1, BLOCK // states[0].numel())
    for high in range(len(states), 0, -length):
        yield max(0, high - length), high


RECURRENCES: Mapping[type[nn.Module], HandWritten] = {
    nn.RNN: HandWritten(RNNLayer),
    nn.GRU: HandWritten(GRULayer),
}
