"""What grafting is compared with: the published loop, vectorised PyTorch, and a bare copy.

Each contender is a function that grafts the networks it was made for once, in place. PyTorch is
given every ease: an entropy is computed once for each network although two networks need it, with
two networks only one blend is computed, and nothing is checked or reported.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

Tensors = list[dict[str, torch.Tensor]]
Contender = Callable[[], object]
BINS, A, C = 10, 0.4, 500.0


def layers(network: dict[str, torch.Tensor]) -> list[str]:
    """Those with information of their own, as the published loop finds them."""
    return [name for name, w in network.items() if w.dim() == 4]


# ---- the published loop --------------------------------------------------------------------------


def published_entropy(x: torch.Tensor, n: int = BINS) -> float:
    """As the authors compute it: for every bin several passes over the weights."""
    x = x.reshape(-1)
    scale = (x.max() - x.min()) / n
    result = torch.zeros(())
    for i in range(n):
        inside = (x >= x.min() + i * scale) * (x < x.min() + (i + 1) * scale)
        p = torch.sum(inside, dtype=torch.float) / len(x)
        if p != 0:
            result -= p * torch.log(p)
    return float(result)


def published(networks: Tensors) -> Contender:
    """The authors' loop for each network, on the state of its predecessor before this graft."""

    def run() -> None:
        mixed = []
        for k, own in enumerate(networks):
            other, model, w = networks[k - 1], {}, 0.5
            for name, u in own.items():
                if u.dim() == 4:
                    difference = published_entropy(u) - published_entropy(other[name])
                    w = round(A / math.pi * math.atan(C * difference) + 0.5, 2)
                model[name] = u * w + other[name] * (1 - w)
            mixed.append(model)
        for own, model in zip(networks, mixed):
            for name, u in own.items():
                u.copy_(model[name])

    return run


# ---- the best of PyTorch -------------------------------------------------------------------------


def histogram_entropies(tensors: list[torch.Tensor]) -> torch.Tensor:
    """A histogram for every tensor, by PyTorch's own."""
    counts = []
    for w in tensors:
        low, high = (float(x) for x in torch.aminmax(w))
        counts.append(torch.histc(w if w.dtype == torch.float32 else w.float(), BINS, low, high))
    return entropies(torch.stack(counts))


def comparing_entropies(tensors: list[torch.Tensor]) -> torch.Tensor:
    """For every tensor a vectorised count of what lies under each edge."""
    counts = []
    for w in tensors:
        low, high = (float(x) for x in torch.aminmax(w))
        width = (high - low) / BINS
        under = [int(torch.count_nonzero(w < low + i * width)) for i in range(1, BINS)]
        edges = [0, *under, w.numel()]
        counts.append([b - a for a, b in zip(edges, edges[1:])])
    return entropies(torch.tensor(counts, dtype=torch.float64))


class BatchedEntropies:
    """All tensors of one pass: a few operations over everything, none for each of them."""

    def __init__(self, tensors: list[torch.Tensor]) -> None:
        self.lengths = torch.tensor([w.numel() for w in tensors])
        self.segments = torch.repeat_interleave(torch.arange(len(tensors)), self.lengths)

    def __call__(self, tensors: list[torch.Tensor]) -> torch.Tensor:
        count = len(tensors)
        flat = torch.cat([w.reshape(-1) for w in tensors]).float()
        low = torch.segment_reduce(flat, "min", lengths=self.lengths)
        high = torch.segment_reduce(flat, "max", lengths=self.lengths)
        scale = BINS / (high - low)
        flat.sub_(low[self.segments]).mul_(scale[self.segments])
        bins = flat.to(torch.int64).clamp_(max=BINS - 1).add_(self.segments, alpha=BINS)
        return entropies(torch.bincount(bins, minlength=count * BINS).view(count, BINS))


def entropies(counts: torch.Tensor) -> torch.Tensor:
    """Of each row of counts."""
    p = counts.double()
    return torch.special.entr(p / p.sum(1, keepdim=True)).sum(1)


def vectorised(
    networks: Tensors, measure: Callable[[list[torch.Tensor]], torch.Tensor]
) -> Contender:
    """Entropies by `measure`, then a foreach blend in place."""
    names = [name for name, w in networks[0].items() if w.is_floating_point()]
    own_layers = layers(networks[0])
    # Which layer's coefficient each tensor takes; the last place is that of tensors before any.
    place, feeder = len(own_layers), []
    for name in names:
        place = own_layers.index(name) if name in own_layers else place
        feeder.append(place)
    values = [[network[name] for name in names] for network in networks]
    measured = [network[name] for network in networks for name in own_layers]

    def blend(k: int, other: list[torch.Tensor], share: list[float]) -> None:
        torch._foreach_lerp_(values[k], other, [share[layer] for layer in feeder])

    def run() -> None:
        known = measure(measured).view(len(networks), len(own_layers))
        others = torch.atan(C * (known - known.roll(1, 0))).mul_(-A / math.pi).add_(0.5)
        shares = [[*row, 0.5] for row in others.tolist()]  # of the predecessor
        if len(networks) == 2:  # both become the same
            blend(1, values[0], shares[1])
            torch._foreach_copy_(values[0], values[1])
            return
        last = [w.clone() for w in values[-1]]
        for k in range(len(networks) - 1, 0, -1):
            blend(k, values[k - 1], shares[k])
        blend(0, last, shares[0])

    return run


def torch_ways(networks: Tensors) -> dict[str, Contender]:
    """Every vectorised way; the best of them is the peer."""
    own_layers = layers(networks[0])
    batched = BatchedEntropies([network[name] for network in networks for name in own_layers])
    ways = {"histc": histogram_entropies, "compare": comparing_entropies, "batched": batched}
    return {name: vectorised(networks, measure) for name, measure in ways.items()}


# ---- a copy --------------------------------------------------------------------------------------


def copies(networks: Tensors) -> dict[str, Contender]:
    """All weights read and written once: the least that changing them in place can take."""
    flat = torch.cat([w.reshape(-1) for network in networks for w in network.values()
                      if w.is_floating_point()])
    target = torch.empty_like(flat)
    return {
        "PyTorch, all threads": lambda: target.copy_(flat),
        "NumPy, one thread": lambda a=target.view(torch.uint8).numpy(),
        b=flat.view(torch.uint8).numpy(): a.__setitem__(slice(None), b),
    }


# ---- distillation --------------------------------------------------------------------------------


def autograd_loss(
    student: torch.Tensor, teacher: torch.Tensor, labels: torch.Tensor, temperature: float
) -> Contender:
    """The loss as one writes it, its gradient by autograd."""
    import torch.nn.functional as F

    def run() -> torch.Tensor | None:
        z = student.detach().requires_grad_()
        soft = F.kl_div(
            F.log_softmax(z / temperature, 1), F.softmax(teacher / temperature, 1),
            reduction="batchmean")
        (F.cross_entropy(z, labels) + temperature**2 * soft).backward()
        return z.grad

    return run


def closed_loss(
    student: torch.Tensor, teacher: torch.Tensor, labels: torch.Tensor, temperature: float
) -> Contender:
    """The same with the gradient written out, in as few passes as PyTorch's operations allow."""
    rows = torch.arange(len(labels))

    def run() -> tuple[torch.Tensor, torch.Tensor]:
        hard = torch.log_softmax(student, 1)
        soft = torch.log_softmax(student / temperature, 1)
        target = torch.log_softmax(teacher / temperature, 1)
        p = target.exp()
        divergence = (p * target.sub_(soft)).sum()
        loss = (temperature**2 * divergence - hard[rows, labels].sum()) / len(labels)
        gradient = hard.exp_()
        gradient[rows, labels] -= 1
        gradient.add_(soft.exp_().sub_(p), alpha=temperature)
        return loss, gradient.div_(len(labels))

    return run
