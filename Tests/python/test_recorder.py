"""What a run records, against NumPy and PyTorch on the weights as they were."""

from __future__ import annotations

import copy
import io
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

import graft
import graft.torch

from test_information import numpy_entropy

ROOT = Path(__file__).resolve().parents[2]
LEVELS = (1.0, 0.1, 0.01, 0.001)


@pytest.fixture(scope="module")
def digits():
    data = load_digits()
    images = (data.images[:300, None] / 16).astype(np.float32)
    return (graft.Dataset.from_arrays(images[:200], data.target[:200], 10),
            graft.Dataset.from_arrays(images[200:], data.target[200:300], 10))


def trainer(digits, epochs: int = 3, **options) -> graft.Trainer:
    networks = [graft.resnet(8, 10, (1, 8, 8), base_filters=4, seed=seed) for seed in range(2)]
    settings = dict(epochs=epochs, batch_size=32, crop_padding=1, flip=False, threads=1,
                    schedule="constant", grafting=graft.Grafting(start=2), weight_decay=0.3)
    return graft.Trainer(networks, *digits, **{**settings, **options})


def copied(network: graft.Network) -> dict[str, np.ndarray]:
    return {name: array.copy() for name, array in network.state_dict().items()}


def check_weights(row, states: list[dict[str, np.ndarray]]) -> None:
    """An epoch's measurements are those that NumPy takes of these weights."""
    for k, state in enumerate(states):
        convolutions = [w for w in state.values() if w.ndim == 4]
        norms = [np.abs(w.astype(np.float64)).sum((1, 2, 3)) for w in convolutions]
        assert np.allclose(row.weights.norms[k], np.concatenate(norms), rtol=1e-6)
        assert np.allclose(row.weights.entropy[k], [numpy_entropy(w, 10) for w in convolutions])
        kernels = [np.abs(w.astype(np.float64)).sum((2, 3)) for w in convolutions]
        assert row.weights.slices[k].tolist() == [
            [int((one < level).sum()) for level in LEVELS] for one in kernels]
        scales = [np.abs(state[name.replace("running_var", "weight")])
                  for name in state if name.endswith("running_var")]
        assert row.weights.scales[k].tolist() == [
            [int((one < level).sum()) for level in LEVELS] for one in scales]
        assert np.allclose(row.weights.scale_means[k], [one.mean() for one in scales])


# ---- the library's trainer -----------------------------------------------------------------------


def test_a_trainers_run(digits, tmp_path):
    run = trainer(digits)
    states = {0: [copied(network) for network in run.networks]}

    def keep(progress):
        if progress.phase == "epoch":
            states[progress.epoch] = [copied(network) for network in run.networks]

    recorder = graft.Recorder(tmp_path / "run.npz", gradients=True, settings={"weights": [0, 1]})
    history = run.run([keep, recorder])
    for recording in (recorder.recording, graft.Recording.load(tmp_path / "run.npz")):
        assert [row.epoch for row in recording] == [0, 1, 2, 3]
        assert [row.grafted for row in recording] == [False, False, True, True]
        for epoch, of_epoch in states.items():
            check_weights(recording[epoch], of_epoch)
        for metric in ("train_loss", "test_loss", "train_accuracy", "test_accuracy",
                       "learning_rate"):
            epochs, values = recording.curve(metric)
            assert epochs.tolist() == [1, 2, 3]
            assert values.ravel().tolist() == [getattr(one, metric) for one in history]
        layers = [layer.name for layer in recording.structure.layers]
        report = run.graft_report(3)
        assert layers == [layer.name for layer in report]
        for name, values in recording[3].graft.items():
            assert values.tolist() == [
                [getattr(entry, name) for entry in layer.networks] for layer in report], name
        assert recording[1].graft == {} and recording[0].gradients is None
        assert recording[3].gradients.shape == (2, len(layers))
        assert recording.settings["learning_rate"] == [0.1, 0.1]
        assert recording.settings["grafting"]["start"] == 2
        assert recording.settings["weights"] == [0, 1]
        assert "pytest" in recording.sessions[0]["command"]
        assert recording.sessions[0]["versions"]["torch"] == torch.__version__


def test_the_trainers_gradients(digits):
    """One batch an epoch: the recorded mean is that batch's gradient."""
    run = trainer(digits, epochs=1, batch_size=200)
    recorder = graft.Recorder(gradients=True)
    run.run(recorder)
    for k, network in enumerate(run.networks):
        expected = [np.sqrt((one.astype(np.float64) ** 2).sum())
                    for one in network.gradients().values() if one.ndim == 4]
        assert np.allclose(recorder.recording[1].gradients[k], expected, rtol=1e-5)


def test_a_resumed_run_goes_on_recording(digits, tmp_path):
    whole = graft.Recorder()
    trainer(digits, epochs=4).run(whole)

    first = trainer(digits, epochs=2)
    first.run(graft.Recorder(tmp_path / "run.npz"))
    first.save(tmp_path / "checkpoint")
    ahead = trainer(digits, epochs=3)  # recorded further than the checkpoint goes
    ahead.load(tmp_path / "checkpoint")
    ahead.run(graft.Recorder(tmp_path / "run.npz", if_exists="resume"))
    assert graft.Recording.load(tmp_path / "run.npz").last == 3

    again = trainer(digits, epochs=4)
    again.load(tmp_path / "checkpoint")
    again.run(graft.Recorder(tmp_path / "run.npz", if_exists="resume"))
    resumed = graft.Recording.load(tmp_path / "run.npz")
    assert [row.epoch for row in resumed] == [0, 1, 2, 3, 4] and len(resumed.sessions) == 3
    for row, same in zip(resumed, whole.recording):
        assert np.array_equal(row.weights.norms, same.weights.norms), row.epoch
        assert {name: values.tolist() for name, values in row.graft.items()} == {
            name: values.tolist() for name, values in same.graft.items()}
        assert row.metrics.get("test_loss", np.zeros(2)).tolist() == same.metrics.get(
            "test_loss", np.zeros(2)).tolist()


def test_a_recorder_that_comes_late_takes_over_what_the_trainer_remembers(digits):
    run = trainer(digits, epochs=3)
    with pytest.raises(graft.CancelledError):
        run.run(lambda progress: not (progress.phase == "epoch" and progress.epoch == 2))
    recorder = graft.Recorder(every=2)
    run.run(recorder)
    recording = recorder.recording
    assert [row.epoch for row in recording] == [1, 2, 3]
    assert [row.weights is not None for row in recording] == [False, False, True]
    assert [bool(row.graft) for row in recording] == [False, True, True]
    assert recording.curve("train_loss")[1].ravel().tolist() == [
        one.train_loss for one in run.history]


# ---- a PyTorch loop ------------------------------------------------------------------------------


class Net(nn.Module):
    """Activations as modules, as functions, one of them twice; filters and scales near zero."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 8, 3, bias=False), nn.BatchNorm2d(8)
        self.act, self.six = nn.ReLU(), nn.ReLU6()
        self.narrow = nn.Conv2d(8, 4, 3)
        self.head = nn.Linear(4, 10)
        with torch.no_grad():
            self.norm.bias[2] = -100  # behind the ReLU that is dead
            self.norm.weight[3] = 1e-4
            self.conv.weight[5] *= 1e-5
            self.narrow.bias[1] = 100  # saturates the ReLU6

    def forward(self, x):
        x = self.act(self.norm(self.conv(x)))
        x = self.act(self.six(self.narrow(x)))
        return self.head(torch.tanh(F.relu(x)).mean((2, 3)))


def test_a_pytorch_loop_with_a_watch(tmp_path):
    torch.manual_seed(0)
    models = [Net(), Net()]
    optimizers = [torch.optim.SGD(model.parameters(), 0.01) for model in models]
    watch = graft.torch.Watch(models)
    recorder = graft.Recorder(tmp_path / "run.npz", watch=watch, names=["a", "b"])
    grafter = graft.torch.Grafter(models, start=2, recorder=recorder, c=50.0)
    x, y = torch.randn(2, 32, 1, 8, 8), torch.randint(10, (2, 32))
    for epoch in (1, 2):
        expected, norms = [], []
        for model, optimizer in zip(models, optimizers):
            seen = dict(dead=torch.ones(8, dtype=torch.bool), near=[])
            of_layer = []
            for batch in range(2):
                reference = copy.deepcopy(model)
                for module in reference.modules():
                    module._forward_hooks.clear()
                    module._forward_pre_hooks.clear()
                first = reference.act(reference.norm(reference.conv(x[batch])))
                seen["dead"] &= ~(first > 0).any(0).flatten(1).any(1)
                six = reference.six(reference.narrow(first))
                seen["near"].append(float((six >= 6 * 0.99).double().mean()))
                optimizer.zero_grad()
                F.cross_entropy(model(x[batch]), y[batch]).backward()
                of_layer.append([float(p.grad.double().norm()) for p in (
                    model.conv.weight, model.narrow.weight)])
                optimizer.step()
            expected.append(seen)
            norms.append(np.mean(of_layer, 0))
        recorder.log(epoch, test_accuracy=[0.5, torch.tensor(0.25)], learning_rate=0.01)
        report = grafter.step()
        row = recorder.recording[epoch]
        check_weights(row, [{name: tensor.numpy() for name, tensor in model.state_dict().items()}
                            for model in models])
        assert recorder.recording.watched == [
            ("act", 8), ("six", 4), ("act (2)", 4), ("relu", 4), ("tanh", 4)]
        for k in range(2):
            assert expected[k]["dead"][2] and row.activity["silent"][k, 0] == int(
                expected[k]["dead"].sum())
            assert row.activity["saturated"][k, 1] == pytest.approx(np.mean(expected[k]["near"]))
            assert row.activity["saturated"][k, 1] >= 0.25
        assert np.allclose(row.gradients, norms)
        assert row.metrics["test_accuracy"].tolist() == [0.5, 0.25]
        assert (report is None) == (epoch == 1) == (not row.grafted)
    assert row.weights.scales[0, 0, 2] >= 1 and row.weights.norms[0, 5] < 0.1
    with torch.no_grad():  # evaluation is not watched
        models[0](x[0])
    assert watch.take()["units"] == []
    watch.close()
    assert not any(module._forward_hooks for model in models for module in model.modules())
    recording = graft.Recording.load(tmp_path / "run.npz")
    assert recording.networks == ["a", "b"] and recording[2].activity.keys() == {
        "silent", "saturated"}
    assert recording.settings["grafting"]["c"] == 50.0


def test_units_lie_along_the_last_dimension_after_a_linear_layer():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 7), nn.ReLU())
    with torch.no_grad():
        model[0].bias[:3] = -100
    watch = graft.torch.Watch(model, gradients=False)
    model(torch.randn(4, 9, 5))
    assert watch.take() == {
        "gradients": None, "units": [("1", 7)], "silent": [[3.0]], "saturated": [[0.0]]}


def test_any_arrays_by_epoch_and_a_loop_without_grafter():
    rng = np.random.default_rng(0)
    recorder = graft.Recorder()
    for epoch in (10, 20):
        states = [{"w": rng.random((4, 3, 3, 3)).astype(np.float32)} for _ in range(3)]
        report = graft.graft(states)
        recorder.record(states, epoch, report=report, loss=[1, 2, 3])
    recording = recorder.recording
    assert [row.epoch for row in recording] == [10, 20] and len(recording.networks) == 3
    assert recording[20].graft["alpha"].tolist() == [[entry.alpha for entry in report[0].networks]]
    recorder.record(states, 15)
    assert [row.epoch for row in recording] == [10, 15]  # gone through again from there


# ---- live ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["torch", "tensorboardX"])
def test_tensorboard(kind, digits, tmp_path):
    if kind == "torch":
        where = tmp_path
    else:
        from tensorboardX import SummaryWriter
        where = SummaryWriter(str(tmp_path))
    run = trainer(digits, epochs=2)
    board = graft.TensorBoard(where, threshold=1.0)
    run.run(graft.Recorder(live=board))
    board.close()
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    events = EventAccumulator(str(tmp_path)).Reload()
    for k in range(2):
        assert [(one.step, one.value) for one in events.Scalars(f"test_loss/network_{k}")] == [
            (epoch, pytest.approx(run.record(epoch, k).test_loss)) for epoch in (1, 2)]
        norms = np.concatenate([np.abs(w).sum((1, 2, 3)) for w in run.networks[k].state_dict(
            ).values() if w.ndim == 4])
        assert events.Scalars(f"invalid_filters/network_{k}")[-1].value == (norms < 1).sum()
        [*_, last] = events.Histograms(f"log10_l1_norms/network_{k}")
        assert last.step == 2 and last.histogram_value.num == len(norms)
        assert last.histogram_value.sum == pytest.approx(np.log10(norms).sum(), rel=1e-4)
        alpha = run.graft_report(2)["conv1.weight"].networks[k].alpha
        assert events.Scalars(f"alpha/network_{k}/conv1.weight")[-1].value == pytest.approx(alpha)


def test_the_terminals_table(digits):
    file = io.StringIO()
    run = trainer(digits, epochs=2)
    run.run(graft.Recorder(live=[graft.EpochTable(file, threshold=1.0)]))
    lines = file.getvalue().splitlines()
    assert len(lines) == 1 + 2 * 3 and len(set(map(len, lines))) == 1
    last = run.record(2, 1)
    report = run.graft_report(2)
    alpha = np.mean([layer.networks[1].alpha for layer in report])
    entropy = sum(layer.networks[1].entropy_after for layer in report)
    assert re.split(r" {2,}", lines[-1].strip())[0] == "2"
    for figure in (f"{last.train_loss:.4f}", f"{last.test_accuracy:.2%}", f"{alpha:.3f}",
                   f"{entropy:.3f}"):
        assert figure in lines[-1], figure


# ---- what does not fit ---------------------------------------------------------------------------


def test_files(digits, tmp_path):
    path = tmp_path / "run.npz"
    graft.Recorder(path).record({"w": np.ones((2, 2, 2, 2), np.float32)})
    with pytest.raises(graft.InvalidArgumentError, match="resume.*replace"):
        graft.Recorder(path)
    graft.Recorder(path, if_exists="replace").log(1, loss=1.0)
    assert graft.Recording.load(path).structure is None
    assert [name for name in os.listdir(tmp_path) if name.startswith(".")] == []
    with pytest.raises(graft.FileError, match="no folder"):
        graft.Recorder(tmp_path / "none" / "run.npz")
    with pytest.raises(graft.FileError):
        graft.Recording.load(tmp_path / "none.npz")
    np.savez(tmp_path / "other.npz", a=np.ones(3))
    np.save(tmp_path / "array.npy", np.ones(3))
    for name in ("other.npz", "array.npy"):
        with pytest.raises(graft.FormatError, match="no recording"):
            graft.Recording.load(tmp_path / name)


def test_a_broken_file_is_refused(tmp_path):
    path = tmp_path / "run.npz"
    states = [{"w": np.random.default_rng(0).random((4, 3, 3, 3)).astype(np.float32)}] * 2
    graft.Recorder(path).record(states, 1, loss=1.0)
    good = path.read_bytes()
    rng = np.random.default_rng(1)
    for _ in range(60):
        bad = bytearray(good)
        if rng.random() < 0.3:
            del bad[int(rng.integers(len(bad))):]
        for place in rng.integers(max(len(bad), 1), size=4):
            if bad:
                bad[place] = rng.integers(256)
        path.write_bytes(bad)
        try:
            graft.Recording.load(path)
        except (graft.FormatError, graft.FileError, graft.UnsupportedError) as error:
            assert str(path) in str(error)
    arrays = dict(np.load(io.BytesIO(good)))
    arrays["weights/norms"] = arrays["weights/norms"][:, :, :-1]
    np.savez(path, **arrays)
    with pytest.raises(graft.FormatError, match="weights/norms"):
        graft.Recording.load(path)


def test_bad_arguments(digits):
    conv = {"w": np.ones((2, 2, 2, 2), np.float32)}
    for call, message in (
        (lambda: graft.Recorder(every=0), "every is 0"),
        (lambda: graft.Recorder(if_exists="ask"), "if_exists is 'ask'"),
        (lambda: graft.Recorder().record(3), r"models\[0\] is 'int'"),
        (lambda: graft.Recorder().record([]), "models is empty"),
        (lambda: graft.Recorder().record([conv], -1), "epoch is -1"),
        (lambda: graft.Recorder().record([{"b": np.ones(3)}]), "no layer"),
        (lambda: graft.Recorder(names=["a"]).record([conv, conv]), "1 names for 2"),
        (lambda: graft.Recorder().record([conv, conv], loss=[1, 2, 3]), "3 values for 2"),
        (lambda: graft.Recorder().record([conv], loss="low"), "loss is 'low'"),
        (lambda: graft.Recorder().recording, "nothing has been recorded"),
        (lambda: graft.Recorder().save(), "path is None"),
    ):
        with pytest.raises(graft.InvalidArgumentError, match=message):
            call()
    recorder = graft.Recorder()
    recorder.record([conv, conv])
    with pytest.raises(graft.ShapeMismatchError, match="1 networks; the recording is of 2"):
        recorder.record(conv)
    with pytest.raises(graft.ShapeMismatchError, match=r"networks\[1\]: w has shape"):
        recorder.record([conv, {"w": np.ones((3, 2, 2, 2), np.float32)}])
    with pytest.raises(graft.NotFiniteError, match=r"networks\[0\]: w: "):
        recorder.record([{"w": np.full((2, 2, 2, 2), np.nan, np.float32)}, conv])
    with pytest.raises(graft.InvalidArgumentError, match="Recorder"):
        graft.torch.Grafter([Net(), Net()], recorder="run.npz")
    with pytest.raises(graft.InvalidArgumentError, match="Module"):
        graft.torch.Watch([3])


def test_import_graft_brings_none_of_it():
    program = ("import sys, graft\n"
               "assert not any(name.startswith(('graft._record', 'graft._page', 'bokeh',"
               " 'matplotlib', 'tensorboard', 'torch')) for name in sys.modules)\n"
               "assert {'Recorder', 'TensorBoard'} <= set(dir(graft))\n"
               "graft.Recorder\nassert 'graft._record' in sys.modules\n")
    subprocess.run([sys.executable, "-c", program], check=True, env={
        **os.environ, "PYTHONPATH": str(ROOT / "bindings" / "python")})
