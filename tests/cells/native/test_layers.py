"""The native kernels against torch's modules: states and every gradient, at any shape."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from harness.cells import CELLS, TorchCell
from harness.cells.native.library import NativeLibrary, native_status
from harness.cells.native.recurrence import CELL_NAMES, NativeRecurrence
from tests.cells.native.here import LEVELS, NEEDS_KERNELS

Module = type[nn.RNN] | type[nn.GRU] | type[nn.LSTM]
MODULES: Sequence[Module] = (nn.RNN, nn.GRU, nn.LSTM)
pytestmark = NEEDS_KERNELS


def both(module: Module, sizes: tuple[int, int, int], level: str) -> list[TorchCell]:
    """The same cell twice in float32: torch's module, and the kernels of a level."""
    torch.manual_seed(sum(sizes))
    by_torch = TorchCell(module, *sizes)
    ours = copy.deepcopy(by_torch)
    ours.recurrence = NativeRecurrence(NativeLibrary(level), CELL_NAMES[module], everywhere=True)
    return [by_torch, ours]


def _weight(cell: TorchCell, name: str) -> nn.Parameter:
    """A weight of the cell's module."""
    return cell.module.get_parameter(name)


def found(cell: TorchCell, inputs: Tensor, grad: Tensor) -> list[Tensor]:
    """States, gradient by the inputs and gradients by the weights, for a gradient of the states."""
    inputs = inputs.clone().requires_grad_()
    states = cell(inputs, last_only=grad.dim() == 2)
    return [states.detach(), *torch.autograd.grad(states, [inputs, *cell.parameters()], grad)]


def deviation(got: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """The largest difference, relative to the largest element of its tensor."""
    pairs = zip(got, expected, strict=True)
    return max(float((a - b).abs().max() / b.abs().max().clamp_min(1e-30)) for a, b in pairs)


@settings(max_examples=40)
@given(
    module=st.sampled_from(MODULES),
    level=st.sampled_from(LEVELS or ["none"]),
    sizes=st.tuples(st.integers(1, 20), st.integers(1, 40), st.integers(1, 3)),
    batch=st.tuples(st.integers(1, 70), st.integers(1, 40)),
    last_only=st.booleans(),
)
def test_float64_is_torchs(
    module: Module,
    level: str,
    sizes: tuple[int, int, int],
    batch: tuple[int, int],
    last_only: bool,
) -> None:
    """To 1e-11, at every instruction set, whatever the shape."""
    by_torch, ours = (cell.double() for cell in both(module, sizes, level))
    inputs = torch.randn(*batch, sizes[0], dtype=torch.float64)
    shape = (batch[0], sizes[1]) if last_only else (*batch, sizes[1])
    grad = torch.randn(shape, dtype=torch.float64)
    assert deviation(found(ours, inputs, grad), found(by_torch, inputs, grad)) < 1e-11


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", ["rnn", "gru", "lstm"])
@settings(max_examples=15)
@given(
    hidden_size=st.integers(8, 96),
    num_layers=st.integers(1, 2),
    batch=st.tuples(st.integers(1, 40), st.integers(1, 200)),
    data=st.data(),
)
def test_float32_is_near_float64(
    name: str,
    level: str,
    hidden_size: int,
    num_layers: int,
    batch: tuple[int, int],
    data: st.DataObject,
) -> None:
    """To 1e-5 of each tensor's largest element, or four times as far as torch's own float32 is.

    With every initialisation of the library.
    """
    initialization = data.draw(st.sampled_from(sorted(CELLS[name].initializations)))
    module = next(module for module, known in CELL_NAMES.items() if known == name)
    by_torch, ours = both(module, (4, hidden_size, num_layers), level)  # type: ignore[arg-type]
    CELLS[name].initializations[initialization](ours, batch[1], torch.Generator().manual_seed(1))
    by_torch.load_state_dict(ours.state_dict())
    inputs, grad = torch.randn(*batch, 4), torch.randn(batch[0], hidden_size)
    exact = found(copy.deepcopy(by_torch).double(), inputs.double(), grad.double())
    near = max(1e-5, 4 * deviation(found(by_torch, inputs, grad), exact))
    assert deviation(found(ours, inputs, grad), exact) < near


@pytest.mark.parametrize("module", MODULES)
def test_gradients_are_those_of_finite_differences(module: Module) -> None:
    """Without torch's gradients as a reference; the graph is passed through several times."""
    _, ours = both(module, (2, 3, 2), native_status().level)
    ours = ours.double()
    inputs = torch.randn(4, 5, 2, dtype=torch.float64, requires_grad=True)
    assert ours.recurrence is not None
    recurrence, weights = ours.recurrence, list(ours.parameters())

    def states(inputs: Tensor, *weights: Tensor) -> Tensor:
        return recurrence(inputs, [weights[:4], weights[4:]], last_only=False)

    assert torch.autograd.gradcheck(states, (inputs, *weights))


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_nan_and_infinity_pass_through(module: Module, level: str, value: float) -> None:
    """They reach the same states as with torch, and the same gradients are not finite.

    Where torch has 0 times infinity, the kernels can have the least sigmoid times infinity.
    """
    by_torch, ours = both(module, (3, 5, 1), level)
    inputs = torch.randn(19, 7, 3)
    inputs[17, 3, 1] = value
    for cell in (by_torch, ours):
        with torch.no_grad():
            _weight(cell, "weight_ih_l0").abs_()
    got, expected = (found(cell, inputs, torch.ones(19, 7, 5)) for cell in (ours, by_torch))
    torch.testing.assert_close(got[0], expected[0], equal_nan=True)
    for one, other in zip(got, expected, strict=True):
        assert torch.equal(one.isfinite(), other.isfinite())


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("module", MODULES)
def test_an_infinite_weight_gives_what_torch_gives(module: Module, level: str) -> None:
    """The columns that fill up the last vector bring no NaN into the gradients."""
    by_torch, ours = both(module, (2, 3, 1), level)
    for cell in (by_torch, ours):
        with torch.no_grad():
            _weight(cell, "weight_ih_l0")[0, 0] = float("inf")
    inputs = torch.rand(3, 4, 2) + 0.5
    got, expected = (found(cell, inputs, torch.ones(3, 3)) for cell in (ours, by_torch))
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(one, other, equal_nan=True)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("module", MODULES)
def test_same_result_whatever_ran_before(module: Module, level: str) -> None:
    """Bit by bit, after other shapes, and in memory that holds other numbers."""
    _, ours = both(module, (3, 20, 2), level)
    _, other = both(module, (5, 33, 1), level)
    inputs, grad = torch.randn(21, 30, 3), torch.randn(21, 20)
    first = found(ours, inputs, grad)
    for batch_size in (1, 64):
        found(other, torch.full((batch_size, 50, 5), 1e30), torch.ones(batch_size, 33))
        for one, two in zip(first, found(ours, inputs, grad), strict=True):
            assert torch.equal(one, two)


@pytest.mark.parametrize("module", MODULES)
def test_without_gradients_the_states_are_the_same(module: Module) -> None:
    """An evaluation finds what training finds."""
    _, ours = both(module, (3, 20, 2), native_status().level)
    inputs = torch.randn(21, 30, 3)
    with torch.inference_mode():
        alone = [ours(inputs), ours(inputs, last_only=True)]
    assert torch.equal(alone[0], ours(inputs))
    assert torch.equal(alone[1], ours(inputs, last_only=True))


def test_what_the_kernels_cannot_run_is_torchs() -> None:
    """Half precision, no steps or no sequences: torch's module runs them or raises its error."""
    _, ours = both(nn.GRU, (3, 4, 1), native_status().level)
    assert ours.to(torch.bfloat16)(torch.zeros(2, 3, 3, dtype=torch.bfloat16)).shape == (2, 3, 4)
    assert ours.float()(torch.zeros(0, 3, 3)).shape == (0, 3, 4)


def test_non_contiguous_inputs_and_weights() -> None:
    """Views are read as what they show."""
    by_torch, ours = both(nn.LSTM, (6, 5, 1), native_status().level)
    inputs, grad = torch.randn(7, 6, 9).transpose(1, 2), torch.randn(5, 7).t()
    for cell in (by_torch, ours):
        weight = _weight(cell, "weight_hh_l0")
        weight.data = weight.data.t().contiguous().t()
    assert deviation(found(ours, inputs, grad), found(by_torch, inputs, grad)) < 1e-5
