"""All parameters of a model as one vector, so that clipping and updating take few operators.

A small model has six to twelve small parameters. For them a call of an operator takes longer than
what it computes, and what torch.optim does in Python takes longer still.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

CLIP_EPSILON = 1e-6  # as in nn.utils.clip_grad_norm_
# What torch.optim calls with fused=True, after 40 us of Python. A torch without them: its own step
KERNELS: dict[type[torch.optim.Optimizer], Callable[..., None] | None] = {
    torch.optim.Adam: getattr(torch, "_fused_adam_", None),
    torch.optim.AdamW: getattr(torch, "_fused_adamw_", None),
}


class FlatOptimizer:
    """An optimiser over the vector; the parameters become views of it.

    All parameters must get gradients in every step. They keep their names, shapes and values, so a
    model is saved and loaded as before.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        make: Callable[[list[nn.Parameter]], torch.optim.Optimizer],
    ) -> None:
        self.parameters = tuple(parameters)
        values = torch.cat([each.detach().flatten() for each in self.parameters])
        self.vector = nn.Parameter(values)
        self.gradient = torch.zeros_like(values)
        self.vector.grad = self.gradient
        first = 0
        for each in self.parameters:
            each.data = values[first : first + each.numel()].view(each.shape)
            first += each.numel()
        self.optimizer = make([self.vector])
        self.param_groups = self.optimizer.param_groups
        self.update: Callable[[], None] | None = None  # after a first step of torch's

    def zero_grad(self) -> None:
        """Forget the gradients of the parameters."""
        for each in self.parameters:
            each.grad = None

    def step(self, max_grad_norm: float) -> None:
        """Update all parameters by their gradients, scaled to a norm of at most `max_grad_norm`.

        0: not scaled. A norm that is NaN makes all gradients NaN, as nn.utils.clip_grad_norm_ does.
        """
        torch.cat([_flat(each) for each in self.parameters], out=self.gradient)
        if max_grad_norm > 0:
            norm = float(torch.linalg.vector_norm(self.gradient))
            scale = max_grad_norm / (norm + CLIP_EPSILON)
            if not scale >= 1:
                self.gradient.mul_(scale)
        if self.update is None:
            self.optimizer.step()
            self.update = self._fast_update()
        else:
            self.update()

    def _fast_update(self) -> Callable[[], None]:
        """The optimiser's step without its Python, on the same state; else that step itself."""
        (group,) = self.param_groups
        kernel = KERNELS.get(type(self.optimizer))
        if kernel is None or not group["fused"]:
            return self.optimizer.step
        state = self.optimizer.state[self.vector]
        count = state["step"]
        tensors = ([each] for each in (self.vector.data, self.gradient))
        moments = ([state[name]] for name in ("exp_avg", "exp_avg_sq"))
        same = {name: group[name] for name in ("weight_decay", "eps", "amsgrad", "maximize")}
        same |= dict(zip(("beta1", "beta2"), group["betas"], strict=True))
        run = functools.partial(kernel, *tensors, *moments, [], [count], **same)

        def update() -> None:
            count.add_(1)
            run(lr=group["lr"])

        return update


def _flat(parameter: nn.Parameter) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad.flatten()


def can_be_flat(model: nn.Module) -> bool:
    """Whether all parameters have one data type and one device, and none of them is shared."""
    parameters = list(model.parameters())
    kinds = {(each.dtype, each.device) for each in parameters}
    storages = {each.untyped_storage().data_ptr() for each in parameters}
    return len(kinds) == 1 and len(storages) == len(parameters)
