"""The distillation loss and its gradient against PyTorch's own losses in float64."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from ctypes import byref

import numpy as np
import pytest
import torch
from torch.nn import functional

import graft
from graft import _structures as s
from graft._arrays import describe
from graft._library import lib


def torch_loss(
    student: np.ndarray, teachers: list[np.ndarray], labels: np.ndarray | None,
    temperature: float = 2.0, label_weight: float = 1.0, distillation_weight: float = 1.0,
    label_smoothing: float = 0.0,
) -> tuple[float, np.ndarray]:
    z = torch.tensor(student, dtype=torch.float64, requires_grad=True)
    loss = z.sum() * 0
    if label_weight > 0:
        loss = loss + label_weight * functional.cross_entropy(
            z, torch.tensor(labels), label_smoothing=label_smoothing)
    if teachers:
        mean = torch.stack([
            functional.softmax(torch.tensor(t, dtype=torch.float64) / temperature, 1)
            for t in teachers]).mean(0)
        divergence = functional.kl_div(
            functional.log_softmax(z / temperature, 1), mean, reduction="batchmean")
        loss = loss + distillation_weight * temperature**2 * divergence
    loss.backward()
    return float(loss.detach()), z.grad.numpy()


def batch(
    seed: int, rows: int, classes: int, teachers: int, scale: float = 3.0
) -> tuple[np.ndarray, list[np.ndarray], np.ndarray]:
    rng = np.random.default_rng(seed)
    logits = (scale * rng.standard_normal((1 + teachers, rows, classes))).astype(np.float32)
    return logits[0], list(logits[1:]), rng.integers(0, classes, rows)


@pytest.mark.parametrize("teachers", [0, 1, 2, 3])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0, 4.0, 20.0])
@pytest.mark.parametrize(("rows", "classes"), [(1, 1), (1, 10), (7, 3), (128, 100), (33, 1000)])
def test_against_torch(teachers: int, temperature: float, rows: int, classes: int) -> None:
    student, given, labels = batch(teachers, rows, classes, teachers)
    for weights in ((1.0, 1.0), (0.3, 2.5), (0.0, 1.0), (1.0, 0.0)):
        loss, gradient = graft.distillation_loss(student, given, labels, temperature, *weights)
        expected, slope = torch_loss(student, given, labels, temperature, *weights)
        assert loss == pytest.approx(expected, rel=1e-6, abs=1e-9)
        assert gradient.dtype == np.float32 and gradient.shape == student.shape
        np.testing.assert_allclose(gradient, slope, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("smoothing", [1e-6, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("teachers", [0, 2])
@pytest.mark.parametrize(("rows", "classes"), [(1, 1), (7, 3), (33, 1000)])
def test_label_smoothing_is_torchs(
    smoothing: float, teachers: int, rows: int, classes: int
) -> None:
    student, given, labels = batch(teachers, rows, classes, teachers)
    for weight in (1.0, 0.3):
        loss, gradient = graft.distillation_loss(
            student, given, labels, 2.0, weight, label_smoothing=smoothing)
        expected, slope = torch_loss(student, given, labels, 2.0, weight, 1.0, smoothing)
        assert loss == pytest.approx(expected, rel=1e-6, abs=1e-9)
        np.testing.assert_allclose(gradient, slope, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("teachers", [1, 3])
def test_float64(teachers: int) -> None:
    student, given, labels = batch(5, 20, 11, teachers)
    wide = student.astype(np.float64) + 1e-9
    loss, gradient = graft.distillation_loss(wide, [t.astype(np.float64) for t in given], labels)
    expected, slope = torch_loss(wide, given, labels)
    assert loss == pytest.approx(expected, rel=1e-12)
    assert gradient.dtype == np.float64
    np.testing.assert_allclose(gradient, slope, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("teachers", [1, 2])
@pytest.mark.parametrize("scale", [1e2, 1e4, 1e20, 1e38])
@pytest.mark.parametrize("temperature", [0.05, 2.0])
def test_small_temperatures_and_huge_logits(
    teachers: int, scale: float, temperature: float
) -> None:
    student, given, labels = batch(6, 40, 10, teachers, 1.0)
    student, given = student * np.float32(scale), [t * np.float32(scale) for t in given]
    loss, gradient = graft.distillation_loss(student, given, labels, temperature)
    expected, slope = torch_loss(student, given, labels, temperature)
    assert np.isfinite(loss) and np.isfinite(gradient).all()
    assert loss == pytest.approx(expected, rel=1e-6)
    np.testing.assert_allclose(gradient, slope, rtol=1e-6, atol=1e-9)


def test_a_student_like_its_teacher_has_nothing_to_learn() -> None:
    student, _, labels = batch(7, 9, 5, 0)
    for teachers in ([student.copy()], [student.copy()] * 3):
        loss, gradient = graft.distillation_loss(student, teachers, None, label_weight=0)
        assert loss == pytest.approx(0, abs=1e-12)
        np.testing.assert_allclose(gradient, 0, atol=1e-12)


def test_teachers_are_averaged_not_added() -> None:
    student, given, labels = batch(8, 9, 5, 1)
    one = graft.distillation_loss(student, given, labels)
    three = graft.distillation_loss(student, given * 3, labels)
    assert one[0] == pytest.approx(three[0], rel=1e-12)
    np.testing.assert_allclose(one[1], three[1], rtol=1e-6, atol=1e-9)


def test_descending_along_the_gradient_lowers_the_loss() -> None:
    student, given, labels = batch(9, 50, 10, 2)
    before, gradient = graft.distillation_loss(student, given, labels)
    after, _ = graft.distillation_loss(student - gradient, given, labels)
    assert after < before - 0.5 * float((gradient.astype(np.float64) ** 2).sum())


def test_strided_logits_and_torch_tensors() -> None:
    student, given, labels = batch(10, 12, 6, 2)
    expected = graft.distillation_loss(student, given, labels)
    roomy = np.zeros((24, 18), np.float32)
    roomy[::2, ::3] = student
    for z in (roomy[::2, ::3], np.asfortranarray(student), torch.from_numpy(student)):
        loss, gradient = graft.distillation_loss(
            z, [given[0], torch.from_numpy(given[1])], labels.tolist())
        assert loss == expected[0]
        np.testing.assert_array_equal(gradient, expected[1])


def test_one_teacher_needs_no_list() -> None:
    student, given, labels = batch(11, 12, 6, 1)
    assert graft.distillation_loss(student, given[0], labels)[0] == graft.distillation_loss(
        student, given, labels)[0]


def test_the_same_bits_at_any_number_of_threads() -> None:
    student, given, labels = batch(12, 301, 37, 2)
    results = [
        graft.distillation_loss(student, given, labels, threads=threads) for threads in (1, 2, 5)]
    for loss, gradient in results[1:]:
        assert loss == results[0][0]
        np.testing.assert_array_equal(gradient, results[0][1])


def test_probabilities_are_exact_down_to_the_smallest_numbers() -> None:
    """Against long double: from 1 to denormals, and 0 past them; at every place of a vector."""
    for classes in (1500, 1507):
        z = -np.sort(np.random.default_rng(classes).uniform(0, 760, classes))
        z[0], z[1:4] = 0, (-1e-17, -745.1, -1e260)
        _, gradient = graft.distillation_loss(z[None], [], np.array([0]))
        powers = np.exp(z.astype(np.longdouble))
        expected = (powers / powers.sum()).astype(np.float64)
        assert (expected[1:] == 0).any() and ((0 < expected) & (expected < 1e-310)).any()
        np.testing.assert_allclose(gradient[0, 1:], expected[1:], rtol=1e-15, atol=1e-323)


BITS = """
import hashlib
import numpy as np
import graft
digest = hashlib.sha256()
for dtype in (np.float32, np.float64):
    for classes in (5, 16, 301):
        for teachers in (0, 1, 3):
            rng = np.random.default_rng(classes)
            logits = (30 * rng.standard_normal((1 + teachers, 9, classes))).astype(dtype)
            loss, gradient = graft.distillation_loss(
                logits[0], list(logits[1:]), rng.integers(0, classes, 9), 1.7)
            digest.update(np.float64(loss).tobytes() + gradient.tobytes())
print(graft.instructions(), digest.hexdigest())
"""


def test_instruction_sets_give_the_same_bits() -> None:
    seen = {}
    for level in ("baseline", "avx2", "avx512"):
        found, seen[level] = subprocess.run(
            [sys.executable, "-c", BITS], check=True, capture_output=True, text=True, env={
                **os.environ, "GRAFT_INSTRUCTIONS": level,
                "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}).stdout.split()
        assert level != "baseline" or found == level
    assert len(set(seen.values())) == 1, seen


def call(student: np.ndarray, teachers: list[np.ndarray], labels: np.ndarray | None,
         gradient: np.ndarray | None, options: s.DistillationOptions | None = None,
         ) -> tuple[int, float]:
    """The C function itself."""
    given = [describe(t) for t in teachers]
    pointers = (ctypes.POINTER(s.Tensor) * max(len(given), 1))(
        *[ctypes.pointer(t.tensor) for t in given])
    loss = ctypes.c_double(-7)
    z = describe(student)
    into = describe(gradient) if gradient is not None else None
    status = lib.graft_distillation_loss(
        z.pointer, pointers if given else None, len(given),
        None if labels is None else labels.ctypes.data_as(ctypes.POINTER(ctypes.c_int64)),
        None if options is None else byref(options), byref(loss),
        None if into is None else into.pointer)
    return status, loss.value


def test_the_gradient_may_take_the_students_memory() -> None:
    student, given, labels = batch(13, 12, 6, 2)
    expected, gradient = graft.distillation_loss(student, given, labels)
    mine = student.copy()
    assert call(mine, given, labels, mine) == (0, expected)
    np.testing.assert_array_equal(mine, gradient)
    assert call(student, given, labels, None) == (0, expected)


def test_errors_write_nothing() -> None:
    student, given, labels = batch(14, 12, 6, 2)
    gradient = np.full_like(student, 9)

    def expect(status: int, text: bytes, *arguments: object, **changes: object) -> None:
        options = s.DistillationOptions()
        lib.graft_distillation_options_init(byref(options), ctypes.sizeof(options))
        for name, value in changes.items():
            setattr(options, name, value)
        assert call(*arguments, options) == (status, -7)
        assert text in lib.graft_last_error()
        assert (gradient == 9).all()

    invalid, mismatch, not_finite, unsupported = 1, 2, 3, 8
    for bad in (np.nan, np.inf):
        spoilt = student.copy()
        spoilt[11, 5] = bad
        expect(not_finite, b"student: row 11", spoilt, given, labels, gradient)
        expect(not_finite, b"teachers[1]: row 11", student, [given[0], spoilt], labels, gradient)
    for bad_label in (-1, 6, 2**63 - 1):
        wrong = labels.copy()
        wrong[3] = bad_label
        expect(invalid, b"labels[3]", student, given, wrong, gradient)
    expect(invalid, b"labels is NULL", student, given, None, gradient)
    expect(mismatch, b"teachers[0]", student, [given[0][:, :5]], labels, gradient)
    expect(mismatch, b"teachers[0]", student, [given[0].astype("f8")], labels, gradient)
    expect(mismatch, b"gradient", student, given, labels, gradient[:, :5])
    expect(invalid, b"batch x classes", student[0], given, labels, gradient)
    expect(invalid, b"batch x classes", student[:0], [], labels, gradient[:0])
    expect(unsupported, b"float16", student.astype("f2"), [], labels, gradient)
    expect(invalid, b"share", student, [gradient], labels, gradient)
    shared = np.zeros((13, 6), np.float32)
    expect(invalid, b"gradient and student", shared[1:], given, labels, shared[:-1])
    for value in (0.0, -1.0, np.nan, np.inf, 1e200):
        expect(invalid, b"temperature", student, given, labels, gradient, temperature=value)
    expect(invalid, b"label_weight", student, given, labels, gradient, label_weight=-1.0)
    expect(invalid, b"distillation_weight", student, given, labels, gradient,
           distillation_weight=np.nan)
    for value in (-0.1, 1.1, np.nan, np.inf):
        expect(invalid, b"label_smoothing", student, given, labels, gradient,
               label_smoothing=value)
    expect(invalid, b"too large", student, given, labels, gradient, label_weight=1e300)
    expect(invalid, b"threads", student, given, labels, gradient, threads=-2)
    expect(invalid, b"struct_size", student, given, labels, gradient, struct_size=0)
    loss = ctypes.c_double(-7)
    z = describe(student)
    assert lib.graft_distillation_loss(None, None, 0, None, None, byref(loss), None) == invalid
    assert lib.graft_distillation_loss(z.pointer, None, 1, None, None, byref(loss), None) == invalid
    assert lib.graft_distillation_loss(
        z.pointer, None, 2**64 - 1, None, None, byref(loss), None) == invalid
    assert lib.graft_distillation_loss(z.pointer, None, 0, None, None, None, None) == invalid
    lib.graft_distillation_options_init(None, 8)


def test_a_program_of_an_earlier_header_is_read_no_further_than_it_knows() -> None:
    """label_smoothing came later: what lies behind the older, smaller struct is not the caller's."""
    student, given, labels = batch(16, 12, 6, 1)
    options = s.DistillationOptions()
    lib.graft_distillation_options_init(byref(options), ctypes.sizeof(options))
    options.label_smoothing = 0.7
    smoothed = call(student, given, labels, None, options)
    options.struct_size = s.DistillationOptions.label_smoothing.offset
    assert call(student, given, labels, None, options) == call(student, given, labels, None)
    assert smoothed[1] != call(student, given, labels, None)[1]


def test_python_errors_are_named() -> None:
    student, given, labels = batch(15, 12, 6, 1)
    with pytest.raises(graft.ShapeMismatchError, match="labels has 11"):
        graft.distillation_loss(student, given, labels[:11])
    with pytest.raises(graft.InvalidArgumentError, match="integers"):
        graft.distillation_loss(student, given, labels.astype(np.float32))
    with pytest.raises(graft.InvalidArgumentError, match="temperature is 'hot'"):
        graft.distillation_loss(student, given, labels, "hot")  # type: ignore[arg-type]
    assert graft.distillation_loss(student, given, None, label_weight=0)[0] > 0
