"""The loss that keeps the valid filters good while others are grafted, as a PyTorch module."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, Union

import torch
from torch import Tensor, nn
from torch.nn import functional

from .._checks import number
from .._errors import InvalidArgumentError, ShapeMismatchError

Teachers = Union[Tensor, Sequence[Tensor]]


class DistillationLoss(nn.Module):
    """label_weight CE(z, y) + distillation_weight T^2 KL(p_T || softmax(z / T)).

    p_T is the mean of the teachers' softmax at temperature T. Both terms are means over the batch
    (`KLDivLoss` calls that "batchmean"). The paper writes the second term as a cross entropy, which
    differs by the teachers' entropy and has the same gradient. No gradient flows to the teachers.

    Logits of half precision are computed with in float32, and the loss is float32 then; values and
    gradients stay finite for logits of any size.

    Parameters
    ----------
    temperature
        T > 0.
    label_weight, distillation_weight
        >= 0; the paper's are 1 and 1.

    Examples
    --------
    >>> loss_function = graft.torch.DistillationLoss()
    >>> loss = loss_function(student(x), graft.torch.teach([teacher], x), y)
    """

    def __init__(
        self, temperature: float = 2.0, label_weight: float = 1.0, distillation_weight: float = 1.0
    ) -> None:
        super().__init__()
        self.temperature = number(temperature, "temperature")
        self.label_weight = number(label_weight, "label_weight")
        self.distillation_weight = number(distillation_weight, "distillation_weight")
        if not 0 < self.temperature < float("inf"):
            raise InvalidArgumentError(
                f"temperature is {temperature}; it must be finite and over 0")
        for name in ("label_weight", "distillation_weight"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise InvalidArgumentError(
                    f"{name} is {getattr(self, name)}; it must be finite and at least 0")

    def extra_repr(self) -> str:
        return (
            f"temperature={self.temperature}, label_weight={self.label_weight}, "
            f"distillation_weight={self.distillation_weight}")

    def forward(
        self, student_logits: Tensor, teachers: Teachers, labels: Tensor | None = None
    ) -> Tensor:
        """The loss of one student.

        Parameters
        ----------
        student_logits
            batch x classes.
        teachers
            Logits of the same shape, or a list of such; an empty list leaves the second term out.
        labels
            Class numbers, one a row (or shares of classes, as `cross_entropy` takes them); None
            only where `label_weight` is 0.
        """
        given = [teachers] if isinstance(teachers, Tensor) else list(teachers)
        _check(student_logits, given, labels, self.label_weight)
        z = _shifted(student_logits, self.temperature)
        loss = 0 * z[0, 0]
        if self.label_weight > 0 and labels is not None:
            loss = loss + self.label_weight * functional.cross_entropy(z, labels)
        if given and self.distillation_weight > 0:
            scale = self.distillation_weight * self.temperature**2
            loss = loss + scale * self._divergence(z, given)
        return loss

    def _divergence(self, z: Tensor, teachers: list[Tensor]) -> Tensor:
        """KL(p_T || softmax(z / T)), the mean over the batch; z as `_shifted` leaves it."""
        with torch.no_grad():
            log_p = torch.stack([
                functional.log_softmax(
                    _shifted(teacher, self.temperature).to(z.dtype) / self.temperature, 1)
                for teacher in teachers])
            log_p = log_p.logsumexp(0) - math.log(len(teachers)) if len(teachers) > 1 else log_p[0]
        log_q = functional.log_softmax(z / self.temperature, 1)
        # All logarithms are finite, so that what has no share adds 0.
        return (log_p.exp() * (log_p - log_q)).sum(1).mean()

    def ring(self, logits: Sequence[Tensor], labels: Tensor | None = None) -> list[Tensor]:
        """The losses of K networks on one batch, each taught by its predecessor in the ring."""
        return [self(z, [logits[k - 1]] if len(logits) > 1 else [], labels)
                for k, z in enumerate(logits)]

    def mutual(self, logits: Sequence[Tensor], labels: Tensor | None = None) -> list[Tensor]:
        """The losses of K networks on one batch, each taught by all the others."""
        return [
            self(z, [other for m, other in enumerate(logits) if m != k], labels)
            for k, z in enumerate(logits)]


def teach(teachers: nn.Module | Iterable[nn.Module], *args: Any, **kwargs: Any) -> list[Tensor]:
    """The teachers' logits for a batch: in evaluation mode, without gradients.

    Every module is in the mode that it was in afterwards.

    Parameters
    ----------
    teachers
        One network or several.
    args, kwargs
        What their `forward` takes.
    """
    given = [teachers] if isinstance(teachers, nn.Module) else list(teachers)
    logits = []
    for teacher in given:
        training = [module for module in teacher.modules() if module.training]
        try:
            teacher.eval()
            with torch.no_grad():
                logits.append(teacher(*args, **kwargs))
        finally:
            for module in training:
                module.training = True
    return logits


def _precise(logits: Tensor) -> Tensor:
    return logits if logits.dtype == torch.float64 else logits.float()


def _shifted(logits: Tensor, temperature: float) -> Tensor:
    """Logits less their row's maximum: the softmax is the same and cannot overflow, at
    `temperature` neither. What lies so far below that its share is 0 is cut off."""
    logits = _precise(logits)
    return (logits - logits.detach().amax(1, keepdim=True)).clamp(min=-1e30 * min(temperature, 1))


def _check(
    student: Tensor, teachers: list[Tensor], labels: Tensor | None, label_weight: float
) -> None:
    if student.dim() != 2 or 0 in student.shape:
        raise ShapeMismatchError(
            f"student_logits has shape {tuple(student.shape)}; it must be batch x classes")
    for m, teacher in enumerate(teachers):
        if not isinstance(teacher, Tensor):
            raise InvalidArgumentError(
                f"teachers[{m}] is {type(teacher).__name__!r}: it must be logits (see teach)")
        if teacher.shape != student.shape:
            raise ShapeMismatchError(
                f"teachers[{m}] has shape {tuple(teacher.shape)}, and student_logits "
                f"{tuple(student.shape)}")
    if labels is None and label_weight > 0:
        raise InvalidArgumentError("labels is None; it may be only where label_weight is 0")
