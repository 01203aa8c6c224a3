"""The engine's optimiser."""

from __future__ import annotations

from ctypes import byref, c_double
from typing import Any

import numpy as np

from . import _checks
from ._errors import check
from ._handles import Handle
from ._library import defaults, lib
from ._network import Network
from ._structures import SgdOptions

__all__ = ["SGD"]


class SGD:
    """Stochastic gradient descent with momentum, as torch.optim.SGD computes it.

    Parameters
    ----------
    network
        Whose parameters it changes; held.
    learning_rate, momentum, weight_decay, nesterov
        As torch.optim.SGD.
    decay_weights_only
        True spares batch norms and biases the decay.
    clip_norm
        The greatest l2 norm of all gradients together, as ``torch.nn.utils.clip_grad_norm_``; None
        neither measures nor clips, infinity measures only.

    Examples
    --------
    >>> optimiser = SGD(network, learning_rate=0.1)
    >>> logits = network.forward(images, training=True)
    >>> loss, gradient = distillation_loss(logits, [], labels)
    >>> network.backward(gradient)
    >>> optimiser.step()
    """

    def __init__(
        self, network: Network, learning_rate: float = 0.1, momentum: float = 0.9,
        weight_decay: float = 5e-4, nesterov: bool = False, decay_weights_only: bool = False,
        clip_norm: float | None = None,
    ) -> None:
        options = defaults(SgdOptions, "graft_sgd_options_init")
        options.learning_rate = _checks.number(learning_rate, "learning_rate")
        options.momentum = _checks.number(momentum, "momentum")
        options.weight_decay = _checks.number(weight_decay, "weight_decay")
        options.nesterov = bool(nesterov)
        options.decay_weights_only = bool(decay_weights_only)
        options.clip_norm = 0 if clip_norm is None else _checks.number(clip_norm, "clip_norm")
        self._network = _checks.instance(network, Network, "network")
        self._learning_rate = float(learning_rate)
        self._handle = Handle("graft_sgd_create", "graft_sgd_destroy", network, byref(options))

    @property
    def _as_parameter_(self) -> Any:
        return self._handle._as_parameter_

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next step."""
        return self._learning_rate

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        check(lib.graft_sgd_set_learning_rate(self, value))
        self._learning_rate = float(value)

    def step(self) -> None:
        """One step with the gradients of the network's last backward pass.

        Raises
        ------
        NotFiniteError
            If `clip_norm` is set and the gradients' norm is not finite.
        """
        check(lib.graft_sgd_step(self))

    @property
    def gradient_norm(self) -> float:
        """The l2 norm of all gradients together in the last step, before clipping.

        Raises
        ------
        InvalidStateError
            Without `clip_norm`, and before the first step.
        """
        norm = c_double()
        check(lib.graft_sgd_gradient_norm(self, byref(norm)))
        return norm.value

    def momentum_buffers(self) -> dict[str, np.ndarray]:
        """The parameters' momentum buffers by name: the optimiser's own memory."""
        return self._network._parameters("graft_sgd_momentum", self)
