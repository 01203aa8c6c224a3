"""`graft.torch.DistillationLoss` against the formula in plain PyTorch, at extremes in float64."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import graft
import graft.torch
from torch_reference import Residual, image

torch.set_num_threads(1)


def formula(
    z: torch.Tensor, teachers: list[torch.Tensor], labels: torch.Tensor, t: float, wl: float,
    wd: float,
) -> torch.Tensor:
    p = torch.stack([F.softmax(one / t, 1) for one in teachers]).mean(0)
    divergence = F.kl_div(F.log_softmax(z / t, 1), p, reduction="batchmean")
    return wl * F.cross_entropy(z, labels) + wd * t**2 * divergence


def batch(rows: int, classes: int, scale: float, seed: int, count: int = 1):
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(rows, classes, generator=generator) * scale
    teachers = [torch.randn(rows, classes, generator=generator) * scale for _ in range(count)]
    return z, teachers, torch.randint(classes, (rows,), generator=generator)


def value_and_gradient(loss_of, z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    z = z.clone().requires_grad_()
    loss = loss_of(z)
    loss.backward()
    return loss.detach(), z.grad


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("rows, classes, count", [(1, 2, 1), (64, 10, 1), (32, 1000, 3)])
@pytest.mark.parametrize("t, wl, wd", [(2.0, 1.0, 1.0), (1.0, 0.0, 1.0), (4.0, 0.3, 0.9),
                                       (0.5, 1.0, 0.0)])
def test_is_the_formula(dtype, rows, classes, count, t, wl, wd) -> None:
    z, teachers, labels = batch(rows, classes, 3.0, seed=rows, count=count)
    z, teachers = z.to(dtype), [one.to(dtype) for one in teachers]
    loss, gradient = value_and_gradient(
        lambda x: graft.torch.DistillationLoss(t, wl, wd)(x, teachers, labels), z)
    expected, exact = value_and_gradient(
        lambda x: formula(x, [one.double() for one in teachers], labels, t, wl, wd), z.double())
    tolerance = 1e-6 if dtype == torch.float32 else 1e-13
    torch.testing.assert_close(loss.double(), expected, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(gradient.double(), exact, rtol=tolerance, atol=tolerance)
    assert loss.dtype == gradient.dtype == dtype


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("t", [0.05, 2.0, 100.0])
@pytest.mark.parametrize("scale", [1.0, 100.0, 1e4])
def test_extremes(dtype: torch.dtype, t: float, scale: float) -> None:
    z, teachers, labels = batch(16, 50, scale, seed=3, count=2)
    z, teachers = z.to(dtype), [one.to(dtype) for one in teachers]
    loss, gradient = value_and_gradient(
        lambda x: graft.torch.DistillationLoss(t)(x, teachers, labels), z)
    expected, exact = value_and_gradient(
        lambda x: formula(x, [one.double() for one in teachers], labels, t, 1, 1), z.double())
    assert loss.isfinite() and bool(gradient.isfinite().all())
    # The divergence is a small difference of logarithms times T^2: float32 tells it to that.
    size = 1e-6 * max(1.0, t * float(z.float().abs().max()), t**2 / 10)
    torch.testing.assert_close(loss.double(), expected, rtol=2e-6, atol=size)
    unit = 1e-6 if dtype == torch.float32 else torch.finfo(dtype).eps
    torch.testing.assert_close(
        gradient.double(), exact, rtol=2 * unit, atol=2 * unit * float(exact.abs().max()))


def test_the_largest_logits_stay_finite() -> None:
    largest = torch.finfo(torch.float32).max
    z = torch.tensor([[largest, -largest, 0.0], [1e30, 1e30, -1e30]])
    teachers = [torch.tensor([[-largest, largest, 0.0], [1e30, -1e30, 0.0]])]
    for t in (0.05, 2.0):
        loss, gradient = value_and_gradient(
            lambda x: graft.torch.DistillationLoss(t, 0.0)(x, teachers), z)
        assert loss.isfinite() and bool(gradient.isfinite().all())


def test_under_autocast_and_scaled() -> None:
    module = nn.Linear(8, 5)
    x = torch.randn(4, 8)
    with torch.autocast("cpu", torch.bfloat16):
        z = module(x)
        loss = graft.torch.DistillationLoss()(z, [z.detach() * 2], torch.arange(4))
    assert z.dtype == torch.bfloat16 and loss.dtype == torch.float32
    (loss * 2**16).backward()
    assert bool(module.weight.grad.isfinite().all())


def test_second_derivatives() -> None:
    z, teachers, labels = batch(3, 4, 1.0, seed=1)
    z = z.double().requires_grad_()
    teachers = [teachers[0].double()]
    loss = graft.torch.DistillationLoss(1.5)
    assert torch.autograd.gradcheck(lambda x: loss(x, teachers, labels), z)
    assert torch.autograd.gradgradcheck(lambda x: loss(x, teachers, labels), z)


def test_no_gradient_reaches_the_teachers() -> None:
    z, teachers, labels = batch(4, 5, 1.0, seed=0, count=2)
    for teacher in teachers:
        teacher.requires_grad_()
    z.requires_grad_()
    graft.torch.DistillationLoss()(z, teachers, labels).backward()
    assert z.grad is not None and all(teacher.grad is None for teacher in teachers)


def test_ring_and_mutual_forms() -> None:
    zs = [batch(6, 4, 2.0, seed)[0].requires_grad_() for seed in range(3)]
    labels = batch(6, 4, 1.0, 9)[2]
    loss = graft.torch.DistillationLoss(3.0)
    for form, teachers_of in (
        ("ring", lambda k: [zs[k - 1]]), ("mutual", lambda k: [zs[k - 1], zs[k - 2]]),
    ):
        losses = getattr(loss, form)(zs, labels)
        for k, (one, z) in enumerate(zip(losses, zs)):
            expected = formula(z.detach(), [t.detach() for t in teachers_of(k)], labels, 3, 1, 1)
            torch.testing.assert_close(one.detach(), expected, rtol=1e-6, atol=1e-6)
            others = [other for m, other in enumerate(zs) if m != k]
            assert all(g is None for g in torch.autograd.grad(
                one, others, allow_unused=True, retain_graph=True))
    alone = loss.ring(zs[:1], labels)
    torch.testing.assert_close(alone[0], F.cross_entropy(zs[0], labels))


def test_teach() -> None:
    teachers = [Residual(), Residual()]
    teachers[0].bn1.eval()
    means = [teacher.bn2.running_mean.clone() for teacher in teachers]
    logits = graft.torch.teach(teachers, image())
    for teacher, mean, z in zip(teachers, means, logits):
        assert not z.requires_grad and torch.equal(teacher.bn2.running_mean, mean)
        assert teacher.training and teacher.bn2.training
        assert torch.equal(z, teacher.eval()(image()))
        teacher.train()
    assert len(graft.torch.teach(teachers[0], image())) == 1
    teachers[0].bn1.eval()
    graft.torch.teach(teachers[0], image())
    assert not teachers[0].bn1.training and teachers[0].bn2.training
    with pytest.raises(TypeError):
        graft.torch.teach(teachers, image(), 3)
    assert teachers[0].training


def test_as_a_module() -> None:
    loss = graft.torch.DistillationLoss(4.0, 0.5, 2.0)
    assert "temperature=4.0" in repr(loss) and not list(loss.parameters())
    z, teachers, labels = batch(4, 5, 1.0, seed=0)
    compiled = torch.compile(loss, backend="eager")
    torch.testing.assert_close(compiled(z, teachers, labels), loss(z, teachers[0], labels))
    assert loss(z, [], labels) == 0.5 * F.cross_entropy(z, labels)
    shares = F.softmax(torch.randn(4, 5), 1)
    torch.testing.assert_close(
        loss(z, [], shares), 0.5 * F.cross_entropy(z, shares))
    zero = graft.torch.DistillationLoss(1.0, 0.0, 1.0)(z.requires_grad_(), [])
    zero.backward()
    assert zero == 0 and not z.grad.any()


def test_errors() -> None:
    z, teachers, labels = batch(4, 5, 1.0, seed=0)
    for arguments, text in [
        ((0.0,), "temperature"), ((float("nan"),), "temperature"), (("x",), "temperature"),
        ((1.0, -1.0), "label_weight"), ((1.0, 1.0, float("inf")), "distillation_weight")]:
        with pytest.raises(graft.InvalidArgumentError, match=text):
            graft.torch.DistillationLoss(*arguments)
    loss = graft.torch.DistillationLoss()
    for arguments, error, text in [
        ((z, teachers), graft.InvalidArgumentError, "labels is None"),
        ((z, [teachers[0][:3]], labels), graft.ShapeMismatchError, r"teachers\[0\].*\(3, 5\)"),
        ((z, [nn.Linear(2, 2)], labels), graft.InvalidArgumentError, r"teachers\[0\].*Linear"),
        ((z[0], teachers, labels), graft.ShapeMismatchError, "student_logits")]:
        with pytest.raises(error, match=text):
            loss(*arguments)
