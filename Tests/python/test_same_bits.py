"""The same seed gives the same bits: twice, at any number of threads, after being interrupted."""

from __future__ import annotations

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


def assert_same(a: graft.Trainer, b: graft.Trainer) -> None:
    for one, other in zip(weights(a), weights(b), strict=True):
        for name, value in one.items():
            assert value.tobytes() == other[name].tobytes(), name
    for one, other in zip(a.history, b.history, strict=True):
        for field in ("train_loss", "train_accuracy", "test_loss", "test_accuracy", "learning_rate"):
            assert getattr(one, field) == getattr(other, field), field


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


@pytest.mark.parametrize("networks", [1, 3])
def test_with_more_or_fewer_networks(networks) -> None:
    first, second = (trainer(networks, threads) for threads in (1, 2))
    first.run()
    second.run()
    assert_same(first, second)


def test_a_single_network_s_passes() -> None:
    rng = np.random.default_rng(0)
    images = rng.standard_normal((70, 3, 19, 13)).astype(np.float32)
    gradient = rng.standard_normal((70, 10)).astype(np.float32)
    results = []
    for threads in (1, 2, 3, 4):
        network = graft.resnet(20, input_shape=(3, 19, 13), shortcut="B", seed=1)
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


@pytest.mark.parametrize("evaluate", ["before", "after"])
def test_after_interruptions_anywhere(tmp_path, evaluate) -> None:
    whole = trainer(evaluate=evaluate)
    calls = 0

    def count(progress) -> None:
        nonlocal calls
        calls += 1

    whole.run(count)
    assert calls > 30
    for after in range(1, calls + 1):
        # Goes on in the same process ...
        same = trainer(evaluate=evaluate)
        interrupted(same, after)
        same.save(tmp_path / "run")
        # ... and in another, from the file.
        other = trainer(evaluate=evaluate)
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
    (tmp_path / "run" / "manifest.json").write_text("{}")
    refused(trainer(), "manifest")


def resealed(text: str) -> str:
    """A manifest whose checksum fits again: the CRC-32 of the text without it and without spaces."""
    plain = re.sub(r'("(?:[^"\\]|\\.)*")|\s+', lambda m: m.group(1) or "", text)
    plain = re.sub(r',"checksum":\d+}$', "}", plain)
    return plain[:-1] + f',"checksum":{zlib.crc32(plain.encode())}}}'


def test_a_manifest_is_data_that_is_checked(tmp_path) -> None:
    run = trainer()
    interrupted(run, 9)
    run.save(tmp_path / "run")
    path = tmp_path / "run" / "manifest.json"
    text = path.read_text()
    path.write_text(resealed(text))
    trainer().load(tmp_path / "run")  # the seal is right

    for pattern, wrong in [
        (r'"images": *\d+', '"images": 9223372036854775807'),
        (r'"correct": *\d+', '"correct": -1'),
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
        other = trainer()
        with pytest.raises((graft.FormatError, graft.UnsupportedError), match="manifest"):
            other.load(tmp_path / "run")
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
