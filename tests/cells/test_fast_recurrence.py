"""harness.cells.fast_recurrence: torch's states and every gradient, at any shape.

And it stands aside where it loses.
"""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from harness.cells import CELLS, TorchCell, fast_recurrence
from harness.cells.fast_recurrence import RECURRENCES, use_fast_recurrence
from harness.training.model import ModelConfig
from harness.training.training_loop import Training, TrainingConfig


@pytest.fixture(autouse=True)
def _no_native_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine without the library."""
    monkeypatch.setenv("HARNESS_NATIVE", "0")


MODULES = (nn.RNN, nn.GRU)
Module = type[nn.RNN] | type[nn.GRU]


def both(module: Module, sizes: tuple[int, int, int], dtype: torch.dtype) -> list[TorchCell]:
    """The same cell twice: torch's way, and ours."""
    torch.manual_seed(sum(sizes))
    by_torch = TorchCell(module, *sizes).to(dtype)
    ours = copy.deepcopy(by_torch)
    assert use_fast_recurrence(ours)
    assert ours.recurrence is RECURRENCES[module]
    return [by_torch, ours]


def found(cell: TorchCell, inputs: Tensor, weight: Tensor) -> list[Tensor]:
    """States, gradient by the inputs and gradients by the weights, of a weighted sum."""
    inputs = inputs.clone().requires_grad_()
    states = cell(inputs)
    (states * weight).sum().backward()
    grads = [inputs.grad, *(own.grad for own in cell.parameters())]
    return [states.detach(), *(grad for grad in grads if grad is not None)]


@given(
    module=st.sampled_from(MODULES),
    sizes=st.tuples(st.integers(1, 5), st.integers(1, 7), st.integers(1, 3)),
    batch=st.tuples(st.integers(1, 5), st.integers(1, 9)),
    block=st.integers(1, 100),
)
def test_states_and_gradients_are_torchs(
    module: Module, sizes: tuple[int, int, int], batch: tuple[int, int], block: int
) -> None:
    """In float64, of any shape, however many blocks of steps there are."""
    batch_size, length = batch
    inputs = torch.randn(batch_size, length, sizes[0], dtype=torch.float64)
    weight = torch.randn(batch_size, length, sizes[1], dtype=torch.float64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fast_recurrence, "BLOCK", block)
        expected, got = (found(cell, inputs, weight) for cell in both(module, sizes, torch.float64))
    assert len(got) == len(expected) == 2 + 4 * sizes[2]
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("module", MODULES)
def test_float32_is_as_near_to_float64_as_torch_is(module: Module) -> None:
    """Rounding is no worse: errors are norms, relative, the greatest of all tensors."""
    inputs, weight = torch.randn(32, 200, 4), torch.randn(32, 200, 48)
    by_torch, ours = both(module, (4, 48, 2), torch.float32)
    exact = found(copy.deepcopy(by_torch).double(), inputs.double(), weight.double())

    def error(cell: TorchCell) -> float:
        pairs = zip(found(cell, inputs, weight), exact, strict=True)
        return max(float((one - other).norm() / other.norm()) for one, other in pairs)

    assert error(ours) < max(3 * error(by_torch), 1e-6)


@pytest.mark.parametrize("module", MODULES)
def test_gradients_are_those_of_finite_differences(module: Module) -> None:
    """With no word from torch's own gradients."""
    _, ours = both(module, (2, 3, 1), torch.float64)
    weights = [own.detach().requires_grad_() for own in ours.parameters()]
    inputs = torch.randn(4, 2, 3, dtype=torch.float64, requires_grad=True)
    layer = RECURRENCES[module].layer
    assert torch.autograd.gradcheck(layer.apply, (inputs, *weights))


@pytest.mark.parametrize(("batch_size", "hidden_size"), [(8193, 1), (2, 257)])
def test_torch_runs_what_it_runs_faster(batch_size: int, hidden_size: int) -> None:
    """A large state, or a large matrix: it is in the products that the time goes."""
    _, ours = both(nn.RNN, (1, hidden_size, 1), torch.float32)
    with torch.no_grad():
        assert ours(torch.zeros(1, 2, 1)).shape == (1, 2, hidden_size)
    node = ours(torch.zeros(batch_size, 2, 1)).grad_fn
    assert node is not None
    assert "RNNLayer" not in names_of(node)


@pytest.mark.parametrize("module", MODULES)
def test_a_quarter_as_large_a_state_without_gradients(
    module: Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forward alone there is less to win; and the cell says which it is."""
    own = RECURRENCES[module]
    inputs = torch.zeros(2049, 1, 1)
    assert own.suits(inputs, 1, gradients=True)
    assert own.suits(inputs[:-1], 1, gradients=False)
    assert not own.suits(inputs, 1, gradients=False)

    _, ours = both(module, (1, 1, 1), torch.float32)
    monkeypatch.setattr(fast_recurrence.HandWritten, "__call__", lambda *_, **_options: "ours")
    assert ours(inputs) == "ours"
    with torch.inference_mode():
        assert isinstance(ours(inputs), Tensor)


def names_of(node: torch.autograd.graph.Node) -> str:
    """The names of a graph's nodes."""
    below = [names_of(each) for each, _ in node.next_functions if each is not None]
    return " ".join([node.name(), *below])


def test_only_torchs_rnn_and_gru_are_hastened() -> None:
    """The LSTM and every plugged-in cell keep their own loop."""
    assert not use_fast_recurrence(nn.GRU(1, 1))
    assert not use_fast_recurrence(CELLS["lstm"].factory(1, 1, 1))

    class Inherited(TorchCell):
        """A cell of a user's, which may have a first state of its own."""

    assert not use_fast_recurrence(Inherited(nn.GRU, 1, 1, 1))


@pytest.mark.parametrize(
    "module",
    [
        nn.RNN(1, 2, nonlinearity="relu", batch_first=True),
        nn.GRU(1, 2, num_layers=2, dropout=0.5, batch_first=True),
        nn.GRU(1, 2, bias=False, batch_first=True),
        nn.RNN(1, 2, bidirectional=True, batch_first=True),
    ],
)
def test_another_module_in_the_cell_is_left_alone(module: nn.RNNBase) -> None:
    """A factory may put one in that means something else by the same weights."""
    cell = TorchCell(nn.GRU, 1, 2, 1)
    cell.module = module  # type: ignore[assignment]
    assert not use_fast_recurrence(cell)
    assert cell.recurrence is None


@pytest.mark.parametrize("cell", ["rnn", "gru"])
def test_training_takes_it_and_finds_what_torch_finds(
    cell: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same losses but for rounding."""
    model = ModelConfig("delayed_recall", cell, hidden_size=8, num_layers=2, sequence_length=12)
    config = TrainingConfig(
        model, learning_rate=0.01, seed=3, batch_size=16, sequences=320, evaluate_every=80
    )

    def losses() -> list[float]:
        return [each.loss for each in Training(config).evaluations()]

    assert Training(config).model.cell.recurrence is not None
    ours = losses()
    monkeypatch.setattr("harness.training.training_loop.use_fast_recurrence", lambda cell: False)
    assert Training(config).model.cell.recurrence is None
    assert ours == pytest.approx(losses(), rel=1e-4)
    assert ours != losses()  # the last digits differ: it did run
