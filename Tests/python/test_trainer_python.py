"""The Python face of the trainer: runs, callbacks, Ctrl-C, history, saving."""

from __future__ import annotations

import io
import math
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch.nn import functional as F

import graft
from reference_networks import ResNet

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def digits():
    """200 digits to train on and 100 to test."""
    data = load_digits()
    images = (data.images[:300, None] / 16).astype(np.float32)
    return (graft.Dataset.from_arrays(images[:200], data.target[:200], 10),
            graft.Dataset.from_arrays(images[200:], data.target[200:300], 10))


def networks(count: int) -> list[graft.Network]:
    return [graft.resnet(8, 10, (1, 8, 8), base_filters=4, seed=seed) for seed in range(count)]


def make(digits, count: int = 2, **options) -> graft.Trainer:
    settings = dict(epochs=3, batch_size=32, crop_padding=1, flip=False, threads=1)
    return graft.Trainer(networks(count), *digits, **{**settings, **options})


def weights(trainer: graft.Trainer) -> list[np.ndarray]:
    return [array.copy() for network in trainer.networks
            for array in network.state_dict().values()]


def assert_same_bits(one: list[np.ndarray], other: list[np.ndarray]) -> None:
    assert len(one) == len(other)
    for a, b in zip(one, other):
        assert np.array_equal(a, b)


# ---- runs and their history ----------------------------------------------------------------------


def test_a_run_learns_and_leaves_its_history(digits):
    trainer = make(digits, epochs=12, learning_rate=0.05, schedule="step", step_epochs=8,
                   step_factor=0.5, grafting=graft.Grafting(start=2, every=3))
    history = trainer.run()
    assert trainer.epochs_done == 12 and history.epochs == 12 and history.networks == 2
    assert len(history) == 24 and history == trainer.history
    assert [(one.epoch, one.network) for one in history[:3]] == [(1, 0), (1, 1), (2, 0)]
    assert [one.epoch for one in history.network(0) if one.grafted] == [2, 5, 8, 11]
    assert {one.learning_rate for one in history if one.epoch <= 8} == {0.05}
    assert {one.learning_rate for one in history if one.epoch > 8} == {0.025}
    assert history.last().test_accuracy > 0.5 > history[0].test_accuracy
    assert history.best(1).test_accuracy == max(
        one.test_accuracy for one in history.network(1))
    assert all(one.evaluated == "after" and one.seconds > 0 for one in history)
    assert len(history.table().splitlines()) == 25
    assert "12 epochs, 2 networks" in repr(history)


def test_the_last_record_is_what_evaluation_says(digits):
    train, test = digits
    trainer = make(digits, 1, epochs=2)
    last = trainer.run().last()
    loss, accuracy = graft.evaluate(trainer.networks[0], test)
    assert last.test_accuracy == accuracy
    assert math.isclose(last.test_loss, loss, rel_tol=1e-6)
    model = ResNet(8, 10, 1, 4)
    model.load_state_dict({
        name: torch.from_numpy(array) for name, array in
        trainer.networks[0].state_dict().items()})
    model.eval()
    data = load_digits()
    with torch.no_grad():
        logits = model(torch.from_numpy((data.images[200:300, None] / 16).astype(np.float32)))
    labels = torch.from_numpy(data.target[200:300])
    assert math.isclose(loss, F.cross_entropy(logits, labels).item(), rel_tol=1e-4)
    assert accuracy == (logits.argmax(1) == labels).double().mean().item()


def test_without_a_test_set_its_figures_are_nan(digits):
    trainer = graft.Trainer(networks(1), digits[0], epochs=1, batch_size=64)
    history = trainer.run()
    assert "nan" not in history.table()
    record = history.last()
    assert math.isnan(record.test_loss) and math.isnan(record.test_accuracy)
    assert record.train_loss > 0


def test_grafting_makes_two_networks_one_and_three_not(digits):
    pair = make(digits, 2, epochs=1, grafting=graft.Grafting())
    pair.run()
    first, second = (network.state_dict() for network in pair.networks)
    assert all(np.array_equal(first[name], second[name]) for name in first)
    triple = make(digits, 3, epochs=1, grafting=graft.Grafting())
    triple.run()
    first, second, third = (network.state_dict() for network in triple.networks)
    assert not np.array_equal(first["conv1.weight"], second["conv1.weight"])
    assert not np.array_equal(second["conv1.weight"], third["conv1.weight"])
    with pytest.raises(graft.InvalidArgumentError):
        triple.graft_report(2)


def test_the_graft_report_says_what_the_graft_did(digits):
    trainer = make(digits, 2, epochs=2, grafting=graft.Grafting(weighting="constant", constant=0.3))
    trainer.run()
    report = trainer.graft_report(2)
    assert {layer.networks[0].alpha for layer in report} == {float(np.float32(0.3))}


def test_rotation_hands_whole_networks_on(digits):
    class Stop(Exception):
        pass

    states = []

    def callback(progress):
        if progress.phase == "training" and progress.step == progress.steps:
            states.append([{name: array.copy() for name, array in network.state_dict().items()}
                           for network in trainer.networks])

    trainer = make(digits, 2, epochs=1,
                   grafting=graft.Grafting(weighting="constant", constant=0.0))
    trainer.run(callback)
    before = states[-1]
    for index, network in enumerate(trainer.networks):
        for name, array in network.state_dict().items():
            if array.dtype == np.float32:
                assert np.array_equal(array, before[1 - index][name]), name


@pytest.mark.parametrize("options", [
    dict(teaching="predecessor"), dict(teaching="others"), dict(teachers=1),
    dict(teachers=2, distillation=graft.Distillation(4.0, 0.5, 2.0)),
], ids=["predecessor", "others", "given", "two given"])
def test_teachers_change_what_is_learnt_and_not_themselves(digits, options):
    options = dict(options)
    teachers = networks(4)[2:2 + options.pop("teachers", 0)]
    before = [array.copy() for teacher in teachers for array in teacher.state_dict().values()]
    trainer = make(digits, 2, epochs=1, teachers=teachers, **options)
    trainer.run()
    alone = make(digits, 2, epochs=1)
    alone.run()
    assert not np.array_equal(weights(trainer)[0], weights(alone)[0])
    assert trainer.teachers == teachers
    assert_same_bits(before, [
        array for teacher in teachers for array in teacher.state_dict().values()])


# ---- the same bits -------------------------------------------------------------------------------


def test_seeds_and_threads(digits):
    first, again, other = (
        make(digits, epochs=2, grafting=graft.Grafting(), threads=threads, seeds=seeds)
        for threads, seeds in ((1, (5, 6)), (2, (5, 6)), (1, (5, 7))))
    for trainer in (first, again, other):
        trainer.run()
    assert_same_bits(weights(first), weights(again))
    assert not np.array_equal(weights(first)[0], weights(other)[0])


def test_a_cancelled_run_goes_on_to_the_same_bits(digits):
    whole = make(digits, grafting=graft.Grafting(), teaching="others")
    whole.run()
    trainer = make(digits, grafting=graft.Grafting(), teaching="others")
    for epoch, step in ((1, 3), (2, 7)):
        with pytest.raises(graft.CancelledError):
            trainer.run(lambda told: not (told.phase == "training"
                                          and (told.epoch, told.step) == (epoch, step)))
        assert trainer.epochs_done == epoch - 1
    trainer.run()
    assert_same_bits(weights(whole), weights(trainer))
    assert [one.test_loss for one in whole.history] == [
        one.test_loss for one in trainer.history]


def test_save_and_load_go_on_to_the_same_bits(digits, tmp_path):
    options = dict(grafting=graft.Grafting(), directory=tmp_path / "auto", save_every=1)
    whole = make(digits, **options)
    whole.run()
    assert (tmp_path / "auto" / "manifest.json").is_file()
    trainer = make(digits, **options)
    with pytest.raises(graft.CancelledError):
        trainer.run(lambda told: not (told.epoch == 2 and told.step == 4))
    trainer.save(tmp_path / "mid-way")
    fresh = make(digits, **options)
    fresh.load(tmp_path / "mid-way")
    assert fresh.epochs_done == 1
    assert fresh.history == trainer.history
    fresh.run()
    assert_same_bits(weights(whole), weights(fresh))
    loaded = networks(1)[0]
    loaded.load(tmp_path / "mid-way" / "network-0.safetensors")
    with pytest.raises(graft.ShapeMismatchError):
        make(digits, 3, grafting=graft.Grafting()).load(tmp_path / "mid-way")
    with pytest.raises(OSError):
        fresh.load(tmp_path / "nowhere")


# ---- callbacks -----------------------------------------------------------------------------------


def test_callbacks_are_told_every_step(digits):
    told = []
    trainer = make(digits, epochs=2, grafting=graft.Grafting(start=2))
    trainer.run(told.append)
    steps = [(one.epoch, one.step) for one in told if one.phase == "training"]
    assert steps == [(epoch, step) for epoch in (1, 2) for step in range(1, 8)]
    assert {one.steps for one in told if one.phase == "training"} == {7}
    assert [one.epoch for one in told if one.phase == "epoch"] == [1, 2]
    assert [one.epoch for one in told if one.phase == "graft"] == [2]
    assert any(one.phase == "evaluation" for one in told)
    assert all(one.epochs == 2 and math.isfinite(one.loss) for one in told)
    last = [one for one in told if one.phase == "training"][-1]
    assert last.images_per_second > 0 and last.seconds > 0
    assert [one.seconds for one in told] == sorted(one.seconds for one in told)


def test_an_exception_in_a_callback_comes_out_and_nothing_is_lost(digits):
    class Mine(Exception):
        pass

    error = Mine("with its words")

    def callback(progress):
        if progress.epoch == 2 and progress.step == 2:
            raise error

    whole = make(digits)
    whole.run()
    trainer = make(digits)
    with pytest.raises(Mine) as caught:
        trainer.run(callback)
    assert caught.value is error
    assert any(entry.name == "callback" for entry in caught.traceback)
    assert trainer.epochs_done == 1
    trainer.run()
    assert_same_bits(weights(whole), weights(trainer))


def test_a_callback_may_look_and_save_but_not_run(digits, tmp_path):
    seen = []

    def callback(progress):
        if progress.phase == "epoch":
            seen.append(trainer.history.epochs)
            seen.append(float(trainer.networks[0].state_dict()["conv1.weight"].sum()))
            trainer.save(tmp_path / "here")
            with pytest.raises(graft.InvalidStateError):
                trainer.run()

    trainer = make(digits, epochs=1)
    trainer.run(callback)
    assert seen[0] == 1 and math.isfinite(seen[1])
    fresh = make(digits, epochs=1)
    fresh.load(tmp_path / "here")
    assert fresh.epochs_done == 1


def interrupt(after: float) -> threading.Thread:
    thread = threading.Thread(
        target=lambda: (time.sleep(after), os.kill(os.getpid(), signal.SIGINT)))
    thread.start()
    return thread


def test_a_step_that_fails_in_one_network_is_taken_again_by_that_one(digits, tmp_path):
    trainer = make(digits)
    second = trainer.networks[1].state_dict()
    weight = second["conv1.weight"]
    kept = weight.copy()
    weight[...] = np.nan
    with pytest.raises(graft.NotFiniteError, match="network 1, epoch 1, batch 1"):
        trainer.run()
    # Network 0 has taken the step: a checkpoint of the two would be of no moment of the run.
    with pytest.raises(graft.InvalidStateError, match="run again, or load"):
        trainer.save(tmp_path / "run")
    assert not (tmp_path / "run").exists()
    weight[...] = kept
    assert all(np.isfinite(array).all() for array in second.values())  # statistics as before
    trainer.run()
    whole = make(digits)
    whole.run()
    assert_same_bits(weights(whole), weights(trainer))


@pytest.fixture
def interruptible():
    """Python's own handler, also where this process was started with the signal ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_stops_at_a_batch_and_nothing_is_lost(digits, interruptible):
    options = dict(epochs=400, grafting=graft.Grafting())
    before = signal.getsignal(signal.SIGINT)
    trainer = make(digits, **options)
    thread = interrupt(0.5)
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        trainer.run()
    assert time.monotonic() - start < 5
    thread.join()
    done = trainer.epochs_done
    assert 0 < done < 400
    assert signal.getsignal(signal.SIGINT) is before

    def stop(progress):
        return not (progress.epoch == done + 2 and progress.phase == "epoch")

    with pytest.raises(graft.CancelledError):
        trainer.run(stop)
    whole = make(digits, **options)
    with pytest.raises(graft.CancelledError):
        whole.run(stop)
    assert trainer.epochs_done == whole.epochs_done == done + 2
    assert_same_bits(weights(whole), weights(trainer))


def test_ctrl_c_within_a_callback(digits, interruptible):
    def callback(progress):
        if progress.epoch == 2:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)  # Python's own handler would have raised by here
            later.append(progress.step)

    later = []
    trainer = make(digits)
    with pytest.raises(KeyboardInterrupt):
        trainer.run(callback)
    assert later == [1] and trainer.epochs_done == 1


def test_a_handler_of_the_users_own_is_called(digits):
    calls = []
    before = signal.signal(signal.SIGINT, lambda number, frame: calls.append(number))
    try:
        trainer = make(digits, epochs=1)
        trainer.run(lambda told: os.kill(os.getpid(), signal.SIGINT) if told.step == 1
                    and told.phase == "training" else None)
        assert calls == [signal.SIGINT] and trainer.epochs_done == 1
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_run_in_another_thread(digits):
    trainer = make(digits)
    thread = threading.Thread(target=trainer.run)
    thread.start()
    thread.join()
    whole = make(digits)
    whole.run()
    assert_same_bits(weights(whole), weights(trainer))


def test_ctrl_c_from_a_terminal_ends_a_program(tmp_path, interruptible):
    program = """
import numpy as np, graft
images = np.random.default_rng(0).random((256, 1, 8, 8), np.float32)
data = graft.Dataset.from_arrays(images, np.arange(256) % 10, 10)
trainer = graft.Trainer([graft.resnet(8, 10, (1, 8, 8), base_filters=4)], data, epochs=100000)
trainer.run(lambda told: print("step", flush=True), progress=True)
"""
    environment = dict(os.environ, PYTHONPATH=str(ROOT / "bindings" / "python"))
    process = subprocess.Popen(
        [sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "step\n"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == -signal.SIGINT
    assert "KeyboardInterrupt" in errors and "ignored" not in errors


# ---- progress ------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("tqdm", [True, False])
def test_the_progress_bar_shows_rate_and_time_left(digits, tqdm):
    terminal = Terminal()
    bar = graft.ProgressBar("digits", file=terminal, tqdm=tqdm)
    make(digits, epochs=2).run(bar)
    bar.close()
    text = terminal.getvalue()
    assert "digits epoch 2/2" in text and "100%" in text and "loss" in text
    assert "img/s" in text if tqdm else "images/s" in text and "0:00 left" in text


def test_progress_elsewhere_writes_few_lines(digits):
    log = io.StringIO()
    bar = graft.ProgressBar(file=log)
    make(digits, epochs=2).run(bar)
    bar.close()
    lines = log.getvalue().splitlines()
    assert 1 <= len(lines) <= 2 and "100%" in lines[-1] and "\r" not in log.getvalue()


def test_progress_goes_to_standard_error(digits, capsys):
    make(digits, epochs=1).run(progress=True)
    captured = capsys.readouterr()
    assert "epoch 1/1" in captured.err and captured.out == ""


# ---- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize("options, words", [
    (dict(epochs=0), "epochs"), (dict(epochs=1.5), "epochs"), (dict(batch_size=0), "batch_size"),
    (dict(learning_rate=-1.0), "learning_rate"), (dict(learning_rate=[0.1]), "learning_rate"),
    (dict(seeds=[1, -1]), "seeds\\[1\\]"), (dict(seeds=[1, 2, 3]), "seeds has 3 values"),
    (dict(schedule="linear"), "schedule is 'linear'; allowed are 'constant', 'step', 'cosine'"),
    (dict(teaching="nobody"), "teaching"), (dict(evaluate="never"), "evaluate"),
    (dict(momentum=1.0), "momentum"), (dict(grafting=True), "grafting"),
    (dict(grafting=graft.Grafting(a=2.0)), "a is 2"),
    (dict(grafting=graft.Grafting(source="star")), "source"),
    (dict(distillation=graft.Distillation(temperature=0.0)), "temperature"),
    (dict(teachers=["me"]), "teachers\\[0\\]"), (dict(crop_padding=-1), "crop_padding"),
    (dict(threads=10**6), "threads"), (dict(save_every=1), "directory"),
])
def test_wrong_options_are_named(digits, options, words):
    with pytest.raises(ValueError, match=words) as caught:
        make(digits, **options)
    assert isinstance(caught.value, graft.GraftError)


def test_networks_that_differ_cannot_graft(digits):
    different = [graft.resnet(8, 10, (1, 8, 8), base_filters=filters) for filters in (4, 6)]
    with pytest.raises(graft.GraftError):
        graft.Trainer(different, *digits, epochs=1, grafting=graft.Grafting()).run()
    with pytest.raises(graft.GraftError):
        graft.Trainer([graft.resnet(8, 10, (3, 8, 8))], *digits, epochs=1).run()
    with pytest.raises(ValueError, match="networks\\[0\\]"):
        graft.Trainer(["network"], *digits)
    with pytest.raises(ValueError, match="train is 'int'"):
        graft.Trainer(networks(1), 3)


def test_a_loss_that_is_not_finite_is_named(digits):
    trainer = make(digits, 1, epochs=5, learning_rate=1e30, weight_decay=0.0)
    with pytest.raises(graft.NotFiniteError, match="(?s)network 0.*epoch"):
        trainer.run()


def test_a_trainer_keeps_what_it_needs(digits):
    trainer = graft.Trainer(
        networks(2), graft.Dataset.from_arrays(np.zeros((40, 1, 8, 8), np.float32),
                                          np.zeros(40, np.int64), 10),
        epochs=1, teachers=networks(1))
    import gc
    gc.collect()
    assert trainer.run().epochs == 1
