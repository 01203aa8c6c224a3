"""The same seed gives the same bits: twice, at any number of threads, after being interrupted."""

from __future__ import annotations

import dataclasses
import json
import re
import zlib

import numpy as np
import pytest

import graft


def data(count: int = 150, test: int = 60):
    rng = np.random.default_rng(3)
    images = rng.integers(0, 256, (count + test, 3, 10, 10), dtype=np.uint8)
    labels = rng.integers(0, 4, count + test)
    make = graft.Dataset.from_arrays
    return make(images[:count], labels[:count], 4), make(images[count:], labels[count:], 4)


#: All that training can do besides, some of it for each of two networks.
EVERYTHING = {
    "decay_weights_only": [True, False], "weight_decay": [1e-3, 1e-2], "clip_norm": 0.7,
    "label_smoothing": [0.1, 0.2], "ema_decay": 0.8, "ema_every": 2, "evaluate_ema": True,
    "evaluate_steps": 3, "augmentation": [
        graft.Augmentation(2, True, erasing=0.5, mixup=0.4, cutmix=1.0, mixing=0.9),
        graft.Augmentation(1, False, erasing=0.3, mixup=0.2)],
}


def trainer(networks: int = 2, threads: int = 1, epochs: int = 4, **options) -> graft.Trainer:
    train, test = data()
    defaults = {
        "batch_size": 32, "crop_padding": 2, "schedule": "cosine", "warmup_epochs": 1,
        "grafting": graft.Grafting(start=2, every=1), "teaching": "others" if networks > 1 else "given",
    }
    defaults.update(options)
    members = [
        graft.resnet(8, classes=4, input_shape=(3, 10, 10), base_filters=8, seed=seed)
        for seed in range(networks)
    ]
    return graft.Trainer(
        members, train, test, epochs=epochs, threads=threads, seeds=list(range(networks)),
        learning_rate=[0.1 / (1 + k) for k in range(networks)], **defaults,
    )


def weights(run: graft.Trainer) -> list[dict[str, np.ndarray]]:
    return [{n: v.copy() for n, v in net.state_dict().items()} for net in run.networks]


def averages(run: graft.Trainer) -> list[dict[str, np.ndarray]]:
    if not run.settings["ema_decay"]:
        return []
    into = [trainer().networks[0] for _ in run.networks]
    return [{n: v.copy() for n, v in run.ema(k, network).state_dict().items()}
            for k, network in enumerate(into)]


def assert_same(a: graft.Trainer, b: graft.Trainer) -> None:
    for one, other in zip(
        weights(a) + averages(a), weights(b) + averages(b), strict=True):
        for name, value in one.items():
            assert value.tobytes() == other[name].tobytes(), name
    for one, other in zip(a.history, b.history, strict=True):
        assert dataclasses.replace(one, seconds=0) == dataclasses.replace(other, seconds=0)
    assert a.step_history == b.step_history


@pytest.fixture(scope="module")
def unbroken() -> graft.Trainer:
    run = trainer()
    run.run()
    return run


@pytest.mark.parametrize("threads", [1, 2, 3, 4, 7])
def test_at_any_number_of_threads(unbroken, threads) -> None:
    run = trainer(threads=threads)
    run.run()
    assert_same(run, unbroken)


def test_with_everything_on_at_any_number_of_threads() -> None:
    runs = [trainer(threads=threads, **EVERYTHING) for threads in (1, 2, 3, 7)]
    for run in runs:
        run.run()
        assert_same(run, runs[0])
    last = runs[0].history[-1]
    assert 0 < last.clipped <= 1 and last.ema_loss > 0 and len(runs[0].step_history) == 2 * 5


@pytest.mark.parametrize("networks", [1, 3])
def test_with_more_or_fewer_networks(networks) -> None:
    first, second = (trainer(networks, threads) for threads in (1, 2))
    first.run()
    second.run()
    assert_same(first, second)


@pytest.mark.parametrize(
    "make, count",
    [
        (lambda shape: graft.resnet(20, input_shape=shape, shortcut="B", seed=1), 70),
        (lambda shape: graft.mobilenet_v2(input_shape=shape, seed=1), 10),
        (lambda shape: graft.wide_resnet(16, 2, dropout=0.3, input_shape=shape, seed=1), 19),
        (lambda shape: graft.wide_resnet(10, 8, input_shape=shape, seed=1), 5),
        (lambda shape: graft.resnext(11, 4, 8, input_shape=shape, seed=1), 19),
        (lambda shape: graft.densenet(22, input_shape=shape, seed=1), 19),
    ],
    ids=[
        "ResNet-20", "MobileNetV2", "WRN-16-2", "WRN-10-8", "ResNeXt-11 4x8d",
        "DenseNet-BC-22-12"],
)
def test_a_single_network_s_passes(make, count) -> None:
    rng = np.random.default_rng(0)
    images = rng.standard_normal((count, 3, 19, 13)).astype(np.float32)
    gradient = rng.standard_normal((count, 10)).astype(np.float32)
    results = []
    for threads in (1, 2, 3, 4):
        network = make((3, 19, 13))
        network.threads = threads
        logits = network.forward(images, training=True)
        back = network.backward(gradient, input_gradient=True)
        found = [logits, back, *network.gradients().values(), *network.state_dict().values()]
        results.append(b"".join(value.tobytes() for value in found))
    assert all(result == results[0] for result in results)


class Stop(Exception):
    pass


def interrupted(run: graft.Trainer, after: int) -> None:
    """Runs until the callback has been called `after` times."""
    calls = 0

    def callback(progress) -> None:
        nonlocal calls
        calls += 1
        if calls == after:
            raise Stop

    with pytest.raises(Stop):
        run.run(callback)


@pytest.mark.parametrize("options", [
    {"evaluate": "before"}, {"evaluate": "after"}, {**EVERYTHING, "evaluate": "after"}],
    ids=["before", "after", "everything"])
def test_after_interruptions_anywhere(tmp_path, options) -> None:
    whole = trainer(**options)
    calls = 0

    def count(progress) -> None:
        nonlocal calls
        calls += 1

    whole.run(count)
    assert calls > 30
    # (With everything on there are three times as many places: every third is enough.)
    for after in range(1, calls + 1, 3 if "ema_decay" in options else 1):
        # Goes on in the same process ...
        same = trainer(**options)
        interrupted(same, after)
        same.save(tmp_path / "run")
        # ... and in another, from the file.
        other = trainer(**options)
        other.load(tmp_path / "run")
        other.run()
        assert_same(other, whole)
        if after % 5 == 0:
            same.run()
            assert_same(same, whole)
    for epoch in (2, 3, 4):
        assert other.graft_report(epoch).to_dict() == whole.graft_report(epoch).to_dict()


def test_saved_on_the_way(tmp_path, unbroken) -> None:
    """A run that saves after every epoch, killed in the third, goes on from the second."""
    for moment in ("before", "after"):
        run = trainer(directory=tmp_path / moment, save_every=1, save=moment)

        def killed(progress) -> None:
            if progress.epoch == 3 and progress.phase == "training" and progress.step == 2:
                raise Stop

        with pytest.raises(Stop):
            run.run(killed)
        other = trainer(directory=tmp_path / "elsewhere", save_every=1, save=moment)
        other.load(tmp_path / moment)
        assert other.epochs_done == (2 if moment == "after" else 1)
        other.run()
        assert_same(other, unbroken)


def test_a_run_can_be_made_longer_and_take_other_threads(tmp_path) -> None:
    short, long = (trainer(epochs=epochs, schedule="constant") for epochs in (2, 4))
    short.run()
    short.save(tmp_path / "run")
    long.run()
    other = trainer(epochs=4, schedule="constant", threads=2, directory=tmp_path / "other",
                    save_every=1)
    other.load(tmp_path / "run")
    other.run()
    assert_same(other, long)


def test_a_checkpoint_of_another_run_is_refused(tmp_path) -> None:
    run = trainer()
    run.run(lambda progress: None)
    run.save(tmp_path / "run")

    def refused(other: graft.Trainer, word: str) -> None:
        before = weights(other)
        with pytest.raises(graft.GraftError, match=word):
            other.load(tmp_path / "run")
        for one, same in zip(before, weights(other), strict=True):
            for name, value in one.items():
                np.testing.assert_array_equal(value, same[name])
        assert other.epochs_done == 0

    refused(trainer(batch_size=16), "batch_size")
    refused(trainer(networks=3), "networks")
    refused(trainer(crop_padding=1), "crop_padding")
    refused(trainer(grafting=graft.Grafting(a=0.2)), "graft")
    refused(trainer(epochs=7), "epochs")
    refused(trainer(decay_weights_only=True), "decay_weights_only")
    refused(trainer(clip_norm=2.0), "clip_norm")
    refused(trainer(clip_norm=np.inf), "clip_norm")
    refused(trainer(label_smoothing=0.1), "label_smoothing")
    refused(trainer(ema_decay=0.5), "ema_decay")
    refused(trainer(weight_decay=[5e-4, 5e-4]), "network 0's own")
    refused(trainer(label_smoothing=[0.0, 0.1]), "network 0's own")
    refused(trainer(augmentation=graft.Augmentation(2, True, erasing=0.1)), "augmentation")
    refused(trainer(augmentation=graft.Augmentation(2, True, mixup=0.1)), "augmentation")
    refused(trainer(augmentation=[graft.Augmentation(2), graft.Augmentation(2, cutmix=0.1)]),
            "network 0's own")
    # What is off is off, however it is said, and evaluations may come otherwise.
    trainer(augmentation=graft.Augmentation(2, True, 0.0, (0.1, 0.2)), label_smoothing=0.0,
            evaluate_steps=3).load(tmp_path / "run")
    (tmp_path / "run" / "manifest.json").write_text("{}")
    refused(trainer(), "manifest")


def test_a_checkpoint_with_everything_on_is_told_from_others(tmp_path) -> None:
    run = trainer(**EVERYTHING)
    interrupted(run, 9)
    run.save(tmp_path / "run")
    trainer(**EVERYTHING).load(tmp_path / "run")
    for changed, word in (
        ({"ema_decay": 0.9}, "ema_decay"), ({"ema_every": 3}, "ema_every"),
        ({"ema_decay": 0.0, "evaluate_ema": False}, "ema_decay"),
        ({"clip_norm": 0.8}, "clip_norm"), ({"clip_norm": None}, "clip_norm"),
        ({"label_smoothing": [0.1, 0.3]}, "network 1's own"),
        ({"decay_weights_only": True}, "decay_weights_only"),
    ):
        with pytest.raises(graft.ShapeMismatchError, match=word):
            trainer(**{**EVERYTHING, **changed}).load(tmp_path / "run")
    # The average is a state_dict of its own.
    loaded = trainer().networks[0]
    loaded.load(tmp_path / "run" / "ema-0.safetensors")
    for name, value in averages(run)[0].items():
        assert np.array_equal(value, loaded.state_dict()[name]), name
    (tmp_path / "run" / "ema-1.safetensors").unlink()
    with pytest.raises(OSError):
        trainer(**EVERYTHING).load(tmp_path / "run")


def test_a_checkpoint_of_before_these_figures_is_read(tmp_path) -> None:
    """Resumed in the middle of an epoch's evaluation; what was not written reads as NaN."""
    whole, run = trainer(), trainer()
    whole.run()
    calls = []

    def callback(progress) -> None:
        calls.append(progress.phase)
        if calls.count("epoch") == 1 and progress.phase == "training" and progress.step == 2:
            raise Stop

    with pytest.raises(Stop):
        run.run(callback)
    run.save(tmp_path / "run")
    path = tmp_path / "run" / "manifest.json"
    root = json.loads(path.read_text())
    del root["step_records"], root["checksum"]
    for member in root["members"]:
        for key in ("own", "top5", "norms", "clipped"):
            del member[key]
        assert member["correct"] == int(member["correct"])
        member["correct"] = int(member["correct"])
    for row in root["records"][0]:
        for key in [key for key in row if "top5" in key or key.startswith("ema")]:
            del row[key]
        del row["gradient_norm"], row["clipped"]
    text = json.dumps({**root, "checksum": 0}, separators=(",", ":"))
    path.write_text(resealed(text))
    other = trainer()
    other.load(tmp_path / "run")
    assert np.isnan([other.history[0].train_top5, other.history[0].test_top5]).all()
    other.run()
    for one, same in zip(weights(other), weights(whole), strict=True):
        for name, value in one.items():
            assert value.tobytes() == same[name].tobytes(), name
    assert [r.train_accuracy for r in other.history] == [r.train_accuracy for r in whole.history]
    assert np.isnan(other.history[2].train_top5) and other.history[4].train_top5 == 1


def resealed(text: str) -> str:
    """A manifest whose checksum fits again: the CRC-32 of the text without it and without spaces."""
    plain = re.sub(r'("(?:[^"\\]|\\.)*")|\s+', lambda m: m.group(1) or "", text)
    plain = re.sub(r',"checksum":\d+}$', "}", plain)
    return plain[:-1] + f',"checksum":{zlib.crc32(plain.encode())}}}'


def test_a_manifest_is_data_that_is_checked(tmp_path) -> None:
    run = trainer(**EVERYTHING)
    interrupted(run, 14)
    run.save(tmp_path / "run")
    path = tmp_path / "run" / "manifest.json"
    text = path.read_text()
    path.write_text(resealed(text))
    trainer(**EVERYTHING).load(tmp_path / "run")  # the seal is right

    for pattern, wrong in [
        (r'"images": *\d+', '"images": 9223372036854775807'),
        (r'"correct": *[\d.]+', '"correct": -1'),
        (r'"correct": *[\d.]+', '"correct": 1000'),
        (r'"top5": *[\d.]+', '"top5": -1'),
        (r'"top5": *[\d.]+', '"top5": "all"'),
        (r'"norms": *[\d.]+', '"norms": -1'),
        (r'"norms": *[\d.]+', '"norms": null'),
        (r'"clipped": *\d+', '"clipped": 1000'),
        (r'"clipped": *\d+', '"clipped": -1'),
        (r'"test_top5": *[\d.]+', '"test_top5": {}'),
        (r'"ema_loss": *[\d.]+', '"ema_loss": []'),
        (r'"step": *\d+', '"step": 0'),
        (r'"step_records": *\[', '"step_records": [[], '),
        (r'"steps": *\d+', '"steps": 9223372036854775807'),
        (r'"batch": *\d+', '"batch": 1000'),
        (r'"stage": *\d+', '"stage": 77'),
        (r'"epochs_done": *\d+', '"epochs_done": 4'),
        (r'"version": *1', '"version": 2'),
        (r'"report_epochs": *\[', '"report_epochs": [-3'),
        (r'"seconds"', '"minutes"'),
    ]:
        changed, times = re.subn(pattern, wrong, text)
        assert times, pattern
        path.write_text(resealed(changed))
        other = trainer(**EVERYTHING)
        with pytest.raises((graft.FormatError, graft.UnsupportedError), match="manifest") as caught:
            other.load(tmp_path / "run")
        assert "checksum" not in str(caught.value), pattern
        assert other.epochs_done == 0
    path.write_text(text.replace('"images"', '"Images"', 1))
    with pytest.raises(graft.FormatError, match="checksum"):
        trainer().load(tmp_path / "run")


# ---- grafting's other choices --------------------------------------------------------------------


def residual_plan(state: dict[str, np.ndarray]) -> graft.Plan:
    """By order, and what order does not tell: which batch norm feeds which convolution alone (after
    a sum no single one does)."""
    plan = graft.Plan(state)
    for name in state:
        if name.endswith(".conv2.weight"):
            plan.set_scales(name, name.replace("conv", "bn"), name.replace("conv2", "bn1"))
    first = next(name for name in state if name.endswith(".conv1.weight"))
    plan.set_scales(first, first.replace("conv", "bn"), "bn1.weight")
    return plan


@pytest.mark.parametrize("settings", [
    {"source": "mean", "weighting": "constant", "constant": 0.9},
    {"source": "exponential", "every": 2},
    {"source": [1, 2, 0], "weighting": "l1", "c": 0.01},
    {"source": "others", "weighting": "filter_entropy", "c": 1.0},
    {"source": "internal", "threshold": 100.0},
    {"source": "noise", "noise": 0.1, "seed": 5, "threshold": 100.0},
    {"weighting": "constant", "constant": 0.5, "keep_zeros": True},
    {"weighting": "filter"},
])
def test_a_trainers_graft_is_the_graft_of_its_networks(settings) -> None:
    """At an epoch's end, what `graft.graft` makes of the networks as they were before it."""
    run = trainer(3, epochs=4, grafting=graft.Grafting(**settings))
    every = settings.get("every", 1)
    own = {key: value for key, value in settings.items() if key != "every"}
    held: list[dict[str, np.ndarray]] = []
    compared = 0

    def watch(progress: graft.Progress) -> None:
        nonlocal held, compared
        if progress.phase == "training" and progress.step == progress.steps:
            held = weights(run)
        if progress.phase == "graft":
            step = (progress.epoch - 1) // every
            if settings.get("source") == "noise":
                step = progress.epoch
            graft.graft(held, residual_plan(held[0]), step=step, **own)
            for k, mine in enumerate(weights(run)):
                for name, value in held[k].items():
                    assert value.tobytes() == mine[name].tobytes(), (k, name)
            compared += 1

    run.run(watch)
    assert compared == 4 // every
