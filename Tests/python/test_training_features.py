"""What the trainer can do besides the plain recipe, against a loop of one's own in PyTorch: decay,
smoothing, clipping, mixed images, averages, top-5, evaluations between steps, stopping early."""

from __future__ import annotations

import ctypes
import math
import pickle
from ctypes import byref

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from reference_networks import ResNet, load

import graft
from graft import _structures as s
from graft._library import lib

torch.set_num_threads(1)  # beside ours: two runtimes on the same cores slow each other down
SHAPE, CLASSES, BATCH = (3, 8, 8), 12, 24


def dataset(count: int, seed: int = 0) -> graft.Dataset:
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, *SHAPE), dtype=np.uint8)
    data = graft.Dataset.from_arrays(images, rng.integers(0, CLASSES, count), CLASSES)
    return data.normalise(*data.statistics())


def make(count: int = 1) -> list[graft.Network]:
    return [
        graft.resnet(8, classes=CLASSES, input_shape=SHAPE, base_filters=8, seed=20 + k)
        for k in range(count)]


def trainer(count: int = 1, size: int = 3 * BATCH, test: int = 0, **options) -> graft.Trainer:
    settings = dict(epochs=1, batch_size=BATCH, learning_rate=0.05, schedule="constant")
    return graft.Trainer(
        make(count), dataset(size), dataset(test, 9) if test else None, **{**settings, **options})


def module_of(network: graft.Network) -> ResNet:
    module = ResNet(8, CLASSES, SHAPE[0], 8)
    load(module, network)
    return module.double()


def near(state: dict[str, np.ndarray], module: torch.nn.Module, share: float) -> None:
    for name, value in module.state_dict().items():
        if not value.is_floating_point():  # an average's counter is the network's own
            continue
        expected = value.numpy().astype(np.float64)
        scale = max(np.abs(expected).max(), 1e-2)
        assert np.abs(state[name] - expected).max() <= share * scale, name


def copied(networks: list[graft.Network]) -> list[dict[str, np.ndarray]]:
    return [{n: v.copy() for n, v in network.state_dict().items()} for network in networks]


# ---- everything at once --------------------------------------------------------------------------


@pytest.mark.parametrize("clip", [0.8, math.inf])
def test_an_epoch_of_two_networks_with_everything_on(clip: float) -> None:
    """Each with its own decay, smoothing and augmentation; teachers see the mixed images."""
    decays, spared, smoothing, seeds = [0.02, 0.005], [True, False], [0.1, 0.3], [4, 5]
    augmentations = [
        graft.Augmentation(1, True, erasing=0.5, mixup=0.4),
        graft.Augmentation(2, False, cutmix=1.0, mixing=0.8)]
    given, networks = make(3)[2], make(2)
    modules, teacher = [module_of(network) for network in networks], module_of(given).eval()
    train, test = dataset(4 * BATCH - 5), dataset(90, 3)
    run = graft.Trainer(
        networks, train, test, epochs=1, batch_size=BATCH, learning_rate=0.05, seeds=seeds,
        schedule="constant", weight_decay=decays, decay_weights_only=spared, clip_norm=clip,
        label_smoothing=smoothing, augmentation=augmentations, teachers=[given],
        teaching="others", distillation=graft.Distillation(3.0, 0.7, 0.4),
        ema_decay=0.6, evaluate_ema=True)
    run.run()

    optimisers, averages = [], []
    for module, decay, spare in zip(modules, decays, spared):
        weights = [one for one in module.parameters() if one.dim() > 1]
        others = [one for one in module.parameters() if one.dim() == 1]
        optimisers.append(torch.optim.SGD(
            [{"params": weights, "weight_decay": decay},
             {"params": others, "weight_decay": 0.0 if spare else decay}], lr=0.05, momentum=0.9))
        averages.append(AveragedModel(
            module, multi_avg_fn=get_ema_multi_avg_fn(0.6), use_buffers=True))
    sums = np.zeros((2, 5))
    for step in range(4):
        batches, lessons = [], []
        for k, seed in enumerate(seeds):
            batch = train.augmented_batch(augmentations[k], seed, 1, step, BATCH)
            images = torch.from_numpy(batch.images).double()
            batches.append((images, batch))
            with torch.no_grad():
                answers = [F.softmax(one.eval()(images) / 3.0, 1)
                           for one in (teacher, modules[1 - k])]
            lessons.append(torch.stack(answers).mean(0))
        for k, (images, batch) in enumerate(batches):
            modules[k].train()
            optimisers[k].zero_grad()
            logits = modules[k](images)
            share = torch.from_numpy(batch.shares)[:, None]
            target = share * F.one_hot(torch.from_numpy(batch.labels), CLASSES) + (
                1 - share) * F.one_hot(torch.from_numpy(batch.others), CLASSES)
            distilled = F.kl_div(F.log_softmax(logits / 3.0, 1), lessons[k], reduction="batchmean")
            entropy = F.cross_entropy(logits, target, label_smoothing=smoothing[k])
            loss = 0.7 * entropy + 0.4 * 9.0 * distilled
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_(modules[k].parameters(), clip)
            optimisers[k].step()
            averages[k].update_parameters(modules[k])
            first = F.one_hot(logits.argmax(1), CLASSES)
            five = F.one_hot(logits.topk(5).indices, CLASSES).sum(1)
            count = len(batch.labels)
            sums[k] += [loss.item() * count, (first * target).sum().item(),
                        (five * target).sum().item(), norm.item(), norm.item() > clip]

    assert (0 < sums[:, 4]).all() or clip == math.inf
    images, labels = (torch.from_numpy(one) for one in test.read())
    for k in range(2):
        record = run.history[k]
        assert record.train_loss == pytest.approx(sums[k, 0] / len(train), rel=1e-5)
        assert record.train_accuracy == pytest.approx(sums[k, 1] / len(train), abs=1e-9)
        assert record.train_top5 == pytest.approx(sums[k, 2] / len(train), abs=1e-9)
        assert record.gradient_norm == pytest.approx(sums[k, 3] / 4, rel=1e-4)
        assert record.clipped == sums[k, 4] / 4
        assert run.gradient_norm(k) == pytest.approx(norm.item(), rel=1e-3) or k == 0
        near(networks[k].state_dict(), modules[k], 2e-4)
        average = averages[k].module.eval()
        near(run.ema(k, make()[0]).state_dict(), average, 2e-4)
        for module, figures in (
            (modules[k].eval(), (record.test_loss, record.test_accuracy, record.test_top5)),
            (average, (record.ema_loss, record.ema_accuracy, record.ema_top5)),
        ):
            with torch.no_grad():
                logits = module(images.double())
            hits = logits.topk(5).indices == labels[:, None]
            assert figures[0] == pytest.approx(F.cross_entropy(logits, labels).item(), rel=1e-3)
            assert figures[1] == pytest.approx(hits[:, 0].double().mean().item(), abs=2.1 / 90)
            assert figures[2] == pytest.approx(hits.any(1).double().mean().item(), abs=2.1 / 90)


def test_one_setting_for_all_is_the_same_setting_for_each() -> None:
    runs = []
    for each in (False, True):
        def of(value):
            return [value, value] if each else value
        run = trainer(
            2, weight_decay=of(0.01), decay_weights_only=of(True), label_smoothing=of(0.2),
            augmentation=of(graft.Augmentation(1, True, mixup=1.0)))
        run.run()
        runs.append(run)
    smoothed = trainer(
        2, weight_decay=0.01, decay_weights_only=True, distillation=graft.Distillation(
            label_smoothing=0.2), augmentation=graft.Augmentation(1, True, mixup=1.0))
    smoothed.run()
    for other in (runs[1], smoothed):
        for one, same in zip(copied(runs[0].networks), copied(other.networks)):
            for name in one:
                assert np.array_equal(one[name], same[name]), name


@pytest.mark.parametrize("option", [
    {"weight_decay": [0.01, 0.02]}, {"decay_weights_only": [False, True]},
    {"label_smoothing": [0.0, 0.1]},
    {"augmentation": [graft.Augmentation(4, True), graft.Augmentation(4, True, erasing=0.5)]},
    {"augmentation": [graft.Augmentation(4, True), graft.Augmentation(4, True, mixup=0.2)]}])
def test_what_is_a_network_s_own_is_its_own(option) -> None:
    """Two equal networks on the same data part by it, and the first is what it would be alone."""
    networks = [make()[0], make()[0]]
    run = graft.Trainer(
        networks, dataset(3 * BATCH), epochs=1, batch_size=BATCH, learning_rate=0.05, seeds=[1, 1],
        **option)
    run.run()
    alone = graft.Trainer(
        make(), dataset(3 * BATCH), epochs=1, batch_size=BATCH, learning_rate=0.05, seeds=[1],
        **{name: values[0] for name, values in option.items()})
    alone.run()
    first, second, only = copied([*networks, *alone.networks])
    assert all(np.array_equal(first[name], only[name]) for name in first)
    assert not np.array_equal(first["conv1.weight"], second["conv1.weight"]) or not np.array_equal(
        first["bn1.weight"], second["bn1.weight"])


# ---- averages ------------------------------------------------------------------------------------


@pytest.mark.parametrize("every", [1, 3])
def test_the_average_is_torchs_after_every_step(every: int) -> None:
    run = trainer(1, 5 * BATCH, epochs=2, ema_decay=0.9, ema_every=every)
    network, into = run.networks[0], make()[0]
    module = ResNet(8, CLASSES, SHAPE[0], 8).double()
    average = None
    steps = 0

    def watch(progress: graft.Progress) -> None:
        nonlocal average, steps
        if progress.phase != "training":
            return
        steps += 1
        load(module, network)
        module.double()
        if average is None:
            average = AveragedModel(
                module, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True)
        if steps % every == 0:
            average.update_parameters(module)
        found = run.ema(0, into).state_dict()
        if steps < every:  # before its first update it is the weights
            near(found, module, 0)
        else:
            for name, value in average.module.named_parameters():
                expected = value.detach().numpy()
                assert np.abs(found[name] - expected).max() <= 1e-6 * np.abs(expected).max(), name
        assert found["bn1.num_batches_tracked"] == steps

    run.run(watch)
    assert steps == 10
    assert run.ema(0, network) is network  # into the network in training itself
    for name, value in into.state_dict().items():
        assert np.array_equal(value, network.state_dict()[name])


def test_the_average_is_evaluated_and_the_weights_stay_where_they_are() -> None:
    run = trainer(2, test=300, epochs=3, ema_decay=0.8, evaluate_ema=True, evaluate_steps=2,
                  grafting=graft.Grafting())
    held: list[dict[str, np.ndarray]] = []
    seen = {"evaluation": 0, "evaluated": 0}

    def watch(progress: graft.Progress) -> None:
        nonlocal held
        if progress.phase in ("training", "graft"):
            held = copied(run.networks)
            return
        seen[progress.phase] = seen.get(progress.phase, 0) + 1
        for one, same in zip(held, copied(run.networks)):
            for name in one:
                assert np.array_equal(one[name], same[name])
        if progress.phase == "evaluation":
            assert progress.steps == 3 * 2 * 2  # parts of the test set, networks, averages
        if progress.phase == "evaluated":
            compare(run.step_history[-2:])
        if progress.phase == "epoch":
            compare(run.history[-2:])

    def compare(records) -> None:
        for k, record in enumerate(records):
            own = graft.evaluate(run.networks[k], dataset(300, 9), 128)
            averaged = graft.evaluate(run.ema(k, make()[0]), dataset(300, 9), 128)
            assert (record.network, record.test_loss, record.test_accuracy, record.test_top5) == (
                k, *own, own.top5)
            assert (record.ema_loss, record.ema_accuracy, record.ema_top5) == (
                *averaged, averaged.top5)
            assert own != averaged

    run.run(watch)
    assert seen["evaluation"] == 12 * 6 and seen["evaluated"] == 3


def test_averages_are_refused_where_there_are_none() -> None:
    run = trainer(2)
    run.run()
    with pytest.raises(graft.InvalidStateError, match="ema_decay is 0"):
        run.ema(0, make()[0])
    run = trainer(1, ema_decay=0.5)
    with pytest.raises(graft.ShapeMismatchError, match="structure"):
        run.ema(0, graft.resnet(14, classes=CLASSES, input_shape=SHAPE, base_filters=8))
    with pytest.raises(graft.InvalidStateError, match="into is under construction"):
        run.ema(0, graft.Network(SHAPE))
    with pytest.raises(graft.InvalidArgumentError, match="network is 1"):
        run.ema(1, make()[0])


# ---- top-5 ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [3, 5, 12])
def test_top_five_is_topk_s(classes: int) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, classes, 200)
    data = graft.Dataset.from_arrays(
        rng.standard_normal((200, *SHAPE)).astype(np.float32), labels, classes)
    network = graft.resnet(8, classes=classes, input_shape=SHAPE, base_filters=8, seed=3)
    network.forward(data.read()[0], training=True)
    found = graft.evaluate(network, data, 64)
    logits = torch.from_numpy(network.forward(data.read()[0]))
    hits = logits.topk(min(5, classes)).indices == torch.from_numpy(labels)[:, None]
    assert found.accuracy == hits[:, 0].double().mean().item()
    assert found.top5 == hits.any(1).double().mean().item()
    loss, accuracy = found
    assert (loss, accuracy) == (found.loss, found.accuracy)
    assert pickle.loads(pickle.dumps(found)).top5 == found.top5 and "top5=" in repr(found)


def test_of_equal_logits_the_lower_class_comes_first() -> None:
    network = graft.Network((1, 1, 1))
    network.finish(network.linear("head", network.input, 9), seed=0)
    for value in network.state_dict().values():
        value[...] = 0
    for label in range(9):
        data = graft.Dataset.from_arrays(np.ones((1, 1, 1, 1), np.float32), [label], 9)
        found = graft.evaluate(network, data)
        assert (found.accuracy, found.top5) == (label == 0, label < 5)
        assert found.loss == pytest.approx(math.log(9))


# ---- evaluations between steps -------------------------------------------------------------------


@pytest.mark.parametrize("every, expected", [
    (1, [(1, 1), (1, 2), (2, 1), (2, 2), (3, 1), (3, 2)]), (2, [(1, 2), (2, 1), (3, 2)]),
    (4, [(2, 1), (3, 2)]), (3, []), (100, [])])
def test_evaluations_come_when_they_are_due_and_change_nothing(every, expected) -> None:
    """Steps are counted from the run's beginning; at an epoch's end there is the epoch's own."""
    plain, run = (
        trainer(2, 3 * BATCH, 50, epochs=3, evaluate_steps=steps) for steps in (0, every))
    told = []
    plain.run(told.append)
    assert "evaluated" not in {one.phase for one in told} and plain.step_history == []
    told.clear()
    run.run(told.append)
    assert [(one.epoch, one.step) for one in told if one.phase == "evaluated"] == expected
    assert [(one.epoch, one.step, one.network) for one in run.step_history] == [
        (*place, network) for place in expected for network in (0, 1)]
    for one, same in zip(copied(plain.networks), copied(run.networks)):
        for name in one:
            assert np.array_equal(one[name], same[name])
    for one, same in zip(plain.history, run.history):
        assert (one.train_loss, one.test_loss, one.test_top5) == (
            same.train_loss, same.test_loss, same.test_top5)
        assert math.isnan(one.ema_loss) and math.isnan(one.gradient_norm)
    for record in run.step_history:
        assert 0 < record.test_loss < 10 and record.test_accuracy <= record.test_top5
        assert record.train_loss > 0 and math.isnan(record.ema_loss)


def test_without_a_test_set_nothing_is_evaluated_between_steps() -> None:
    run = trainer(1, evaluate_steps=1)
    told = []
    run.run(told.append)
    assert {one.phase for one in told} == {"training", "epoch"} and run.step_history == []


# ---- stopping early ------------------------------------------------------------------------------


def test_a_callback_stops_a_run_early_and_a_further_one_goes_on() -> None:
    """Once the test loss has been no better for two epochs."""
    run = trainer(2, 3 * BATCH, 60, epochs=30, learning_rate=0.2)
    losses: list[float] = []

    def patience(progress: graft.Progress) -> bool:
        if progress.phase == "epoch":
            losses.append(run.record(progress.epoch).test_loss)
        return len(losses) - 1 - int(np.argmin(losses)) < 2 if losses else True

    with pytest.raises(graft.CancelledError, match="callback asked to stop in epoch"):
        run.run(patience)
    stopped = run.epochs_done
    assert 2 < stopped < 30 and len(losses) == stopped == run.history.epochs
    assert [one.test_loss for one in run.history.network(0)] == losses
    assert min(losses[-2:]) >= min(losses[:-2])
    run.run()
    whole = trainer(2, 3 * BATCH, 60, epochs=30, learning_rate=0.2)
    whole.run()
    assert [one.test_loss for one in run.history] == [one.test_loss for one in whole.history]


def test_a_callback_stops_a_run_between_two_steps() -> None:
    run = trainer(1, 4 * BATCH, 60, epochs=2, evaluate_steps=1)
    with pytest.raises(graft.CancelledError):
        run.run(lambda progress: not (progress.phase == "evaluated" and progress.step == 2))
    assert run.epochs_done == 0 and len(run.step_history) == 2
    run.run()
    assert [one.step for one in run.step_history] == [1, 2, 3, 1, 2, 3]


# ---- what is wrong -------------------------------------------------------------------------------


def test_a_gradient_that_is_not_finite_says_where() -> None:
    run = trainer(1, clip_norm=1.0, distillation=graft.Distillation(label_weight=3e38))
    run.networks[0].state_dict()["linear.weight"][:] *= 1000
    before = copied(run.networks)[0]
    with pytest.raises(graft.NotFiniteError, match="network 0, epoch 1, batch 1: the gradients'"):
        run.run()
    for name, value in run.networks[0].state_dict().items():
        assert np.array_equal(value, before[name])


@pytest.mark.parametrize("option, text", [
    ({"clip_norm": -1.0}, "clip_norm is -1"), ({"clip_norm": math.nan}, "clip_norm is nan"),
    ({"label_smoothing": 1.5}, "label_smoothing is 1.5"),
    ({"label_smoothing": [0.1, -0.5]}, "label_smoothing is -0.5"),
    ({"label_smoothing": [0.1]}, "label_smoothing has 1 values for 2"),
    ({"label_smoothing": ["much", 0.1]}, r"label_smoothing\[0\] is 'much'"),
    ({"weight_decay": [0.1, -2.0]}, "weight_decay is -2"),
    ({"weight_decay": -1.0}, "weight_decay is -1"),
    ({"ema_decay": 1.0}, "ema_decay is 1.0"), ({"ema_decay": -0.5}, "ema_decay is -0.5"),
    ({"ema_decay": math.nan}, "ema_decay is nan"),
    ({"ema_decay": 0.5, "ema_every": 0}, "ema_every is 0"),
    ({"evaluate_ema": True}, "evaluate_ema is 1 and ema_decay is 0"),
    ({"evaluate_steps": -1}, "evaluate_steps is -1"),
    ({"evaluate_steps": 0.5}, "evaluate_steps is 0.5"),
    ({"augmentation": graft.Augmentation(mixup=-1)}, "mixup is -1"),
    ({"augmentation": [graft.Augmentation(), graft.Augmentation(erasing=2)]}, "erasing is 2"),
    ({"augmentation": 4}, "augmentation is 'int'"),
])
def test_wrong_settings_are_named(option, text) -> None:
    with pytest.raises(graft.InvalidArgumentError, match=text):
        trainer(2, **option)


def test_a_network_s_own_settings_are_checked_in_c_too() -> None:
    run, network = trainer(), make(2)[1]
    for field, wrong, text in (
        ("weight_decay", -0.5, b"weight_decay is -0.5"), ("weight_decay", math.nan, b"nan"),
        ("decay_weights_only", 2, b"decay_weights_only is 2"),
        ("decay_weights_only", -2, b"decay_weights_only is -2"),
        ("label_smoothing", -0.5, b"label_smoothing is -0.5"),
        ("label_smoothing", math.nan, b"label_smoothing is nan"),
    ):
        options = s.MemberOptions()
        lib.graft_member_options_init(byref(options), ctypes.sizeof(options))
        setattr(options, field, wrong)
        assert lib.graft_trainer_add(run, network, byref(options)) == 1
        assert text in lib.graft_last_error()
    with pytest.raises(graft.InvalidStateError, match="clip_norm"):
        run.gradient_norm()
    with pytest.raises(graft.InvalidArgumentError, match="network is 7"):
        run.gradient_norm(7)


def test_programs_of_earlier_headers_get_what_they_got() -> None:
    """Structs that end where they used to: nothing behind their end is read or written."""
    data = dataset(2 * BATCH)
    states = []
    for cut in (False, True):
        options, member = s.TrainerOptions(), s.MemberOptions()
        for one, init, end in (
            (options, "graft_trainer_options_init", s.TrainerOptions.decay_weights_only.offset),
            (member, "graft_member_options_init", s.MemberOptions.weight_decay.offset),
        ):
            if cut:
                ctypes.memset(byref(one), 0xA5, ctypes.sizeof(one))
            getattr(lib, init)(byref(one), end if cut else ctypes.sizeof(one))
            assert one.struct_size == (end if cut else ctypes.sizeof(one))
        options.epochs, options.batch_size = 1, BATCH
        handle, network = ctypes.c_void_p(), make()[0]
        assert lib.graft_trainer_create(
            byref(options), None, None, data._handle, None, byref(handle)) == 0
        assert lib.graft_trainer_add(handle, network, byref(member)) == 0
        assert lib.graft_trainer_run(handle, s.Callback(), None) == 0
        record = s.EpochRecord()
        record.test_top5 = record.clipped = 77
        record.struct_size = s.EpochRecord.train_top5.offset
        assert lib.graft_trainer_record(handle, 1, 0, byref(record)) == 0
        assert record.test_top5 == record.clipped == 77 and record.train_loss > 0
        lib.graft_trainer_destroy(handle)
        states.append(b"".join(value.tobytes() for value in network.state_dict().values()))
    assert states[0] == states[1]
