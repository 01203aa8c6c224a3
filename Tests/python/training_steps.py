"""Training steps, each begun from PyTorch's state of that step, in PyTorch's float64, its float32, and
ours."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from reference_networks import load
from torch import nn

import graft

OPTIONS = {"lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4, "nesterov": True}


def as_float32(state):
    return {
        name: value.float().numpy() if value.is_floating_point() else value.numpy()
        for name, value in state.items()
    }


def follow(
    network: graft.Network, make: Callable[[], nn.Module], steps: int, batch, passes, distance
) -> tuple[list[float], list[float]]:
    """How far every tensor is from float64's after each step: ours, and PyTorch's float32.

    `batch(step)` gives images and labels, `passes` runs ours forward and backward, `distance` is the
    difference as a share of the largest value.
    """
    sgd = graft.SGD(network, learning_rate=0.1, momentum=0.9, weight_decay=5e-4, nesterov=True)
    exact, single = make(), make()
    load(exact, network)
    exact = exact.double()
    exact_sgd = torch.optim.SGD(exact.parameters(), **OPTIONS)
    single_sgd = torch.optim.SGD(single.parameters(), **OPTIONS)
    buffers = sgd.momentum_buffers()
    far, limit = [], []
    for step in range(steps):
        images, labels = batch(step)
        # All three start from the float64 network's state, momentum included.
        state = {name: value.clone() for name, value in exact.state_dict().items()}
        network.load_state_dict(as_float32(state))
        single.load_state_dict(
            {k: v.float() if v.is_floating_point() else v for k, v in state.items()})
        for (name, value), other in zip(exact.named_parameters(), single.parameters()):
            held = exact_sgd.state[value].get("momentum_buffer")
            if held is not None:
                single_sgd.state[other]["momentum_buffer"] = held.float().clone()
                buffers[name][...] = held.numpy().astype(np.float32)

        _, found = passes(network, images, labels)
        assert [name for name, _ in exact.named_parameters()] == list(found)
        sgd.step()
        for module, optimiser, dtype in (
            (exact, exact_sgd, torch.float64), (single, single_sgd, torch.float32),
        ):
            optimiser.zero_grad()
            loss = F.cross_entropy(
                module(torch.from_numpy(images).to(dtype)), torch.from_numpy(labels))
            loss.backward()
            optimiser.step()
        after, theirs = network.state_dict(), single.state_dict()
        for name, moved in exact.state_dict().items():
            if moved.is_floating_point():
                far.append(distance(after[name], moved))
                limit.append(distance(theirs[name].numpy(), moved))
            else:
                assert int(after[name]) == int(moved)
    return far, limit
