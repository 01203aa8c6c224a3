"""`python -m graft` as people run it, its numbers against NumPy's."""

from __future__ import annotations

import csv
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from torch import nn

import graft

from test_grafting import share
from test_information import numpy_entropy

ROOT = Path(__file__).resolve().parents[2]


def command(*arguments: object, folder: Path, status: int = 0, **environment: str) -> str:
    """Run it; returns what it printed, standard error where it is to fail."""
    package = str(Path(graft.__file__).resolve().parents[1])
    variables = {**os.environ, "PYTHONPATH": package, "OMP_NUM_THREADS": "1", **environment}
    if variables.get("GRAFT_LIBRARY"):
        variables["GRAFT_LIBRARY"] = str(Path(variables["GRAFT_LIBRARY"]).resolve())
    result = subprocess.run(
        [sys.executable, "-m", "graft", *map(str, arguments)], cwd=folder, env=variables,
        capture_output=True, text=True, timeout=120)
    assert result.returncode == status, (result.returncode, result.stdout, result.stderr)
    assert "Traceback" not in result.stderr, result.stderr
    return result.stdout if status == 0 else result.stderr


def weights(seed: int) -> dict[str, np.ndarray]:
    """Two convolutions with a norm between them, a dead filter, and a counter."""
    rng = np.random.default_rng(seed)
    network = {
        "conv1.weight": rng.standard_t(3, (8, 3, 3, 3)), "bn1.weight": rng.random(8),
        "bn1.running_mean": rng.standard_normal(8), "conv2.weight": rng.random((6, 8, 3, 3)) - .5,
        "fc.weight": rng.standard_normal((10, 6)), "fc.bias": rng.standard_normal(10)}
    network = {name: array.astype(np.float32) for name, array in network.items()}
    network["conv1.weight"][seed % 8] *= 1e-6
    network["steps"] = np.array(100 + seed)
    return network


FEEDERS = {"conv1.weight": "conv1.weight", "bn1.weight": "conv1.weight",
           "bn1.running_mean": "conv1.weight", "conv2.weight": "conv2.weight",
           "fc.weight": "conv2.weight", "fc.bias": "conv2.weight"}


def grafted(networks: list[dict[str, np.ndarray]], **constants: float) -> list[dict]:
    """What NumPy makes of it, in the order of `weights`."""
    results = []
    for k, own in enumerate(networks):
        other, result = networks[k - 1], dict(own)
        for name, feeder in FEEDERS.items():
            alpha = constants.get("alpha", share(
                numpy_entropy(own[feeder], 10), numpy_entropy(other[feeder], 10), 0.4, 500.0))
            result[name] = (alpha * own[name].astype(np.float64)
                            + (1 - alpha) * other[name].astype(np.float64)).astype(np.float32)
        results.append(result)
    return results


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = []
    for seed in range(3):
        paths.append(tmp_path / f"net{seed}.safetensors")
        save_file(weights(seed), paths[-1], metadata={"format": "pt", "epoch": str(seed)})
    (tmp_path / "order.txt").write_text("\n".join(weights(0)) + "\n")
    return paths


def test_info(tmp_path: Path) -> None:
    lines = dict(line.split(None, 1) for line in command("info", folder=tmp_path).splitlines())
    assert lines["version"] == graft.__version__
    assert lines["instructions"] == graft.instructions()
    assert Path(lines["library"]).name == "libgraft.so" and lines["threads"] == "1"
    assert "3" in command("info", folder=tmp_path, OMP_NUM_THREADS="3").splitlines()[-1]


@pytest.mark.parametrize("arguments", [
    ["--help"], ["report", "--help"], ["apply", "--help"], ["info", "--help"]])
def test_help(arguments: list[str], tmp_path: Path) -> None:
    output = command(*arguments, folder=tmp_path)
    assert output.startswith("usage: python -m graft")


def test_a_command_that_is_none(tmp_path: Path) -> None:
    assert "invalid choice" in command("mend", folder=tmp_path, status=2)
    command(folder=tmp_path, status=2)


def test_report_against_numpy(files: list[Path], tmp_path: Path) -> None:
    output = command(
        "report", *files[:2], "--threshold", "20", "--csv", "r.csv", "--json", "r.json",
        "--png", "r.png", folder=tmp_path)
    rows = list(csv.DictReader((tmp_path / "r.csv").open()))
    document = json.loads((tmp_path / "r.json").read_text())
    assert document["threshold"] == 20 and len(rows) == len(document["layers"]) == 6
    for row, same in zip(rows, document["layers"]):
        seed = int(re.search(r"net(\d)", row["file"])[1])
        w = weights(seed)[row["layer"]]
        norms = np.abs(w.astype(np.float64)).reshape(len(w), -1).sum(1)
        expected = {
            "filters": len(w), "entropy": numpy_entropy(w, 10), "norm_min": norms.min(),
            "norm_mean": norms.mean(), "norm_max": norms.max(), "invalid": (norms < 20).sum(),
            "under_1": (norms < 1).mean(), "under_0_1": (norms < .1).mean(),
            "under_0_01": (norms < .01).mean(), "under_0_001": (norms < .001).mean()}
        for name, value in expected.items():
            assert float(row[name]) == pytest.approx(value, rel=1e-12), (row["layer"], name)
            assert same[name] == pytest.approx(value, rel=1e-12)
        line = next(text for text in output.split("\n\n")[seed].splitlines()
                    if text.startswith(row["layer"]))
        assert line.split()[1:3] == [str(len(w)), f"{expected['entropy']:.4f}"]
    from matplotlib.image import imread
    picture = imread(tmp_path / "r.png")
    colours = np.unique(picture.reshape(-1, picture.shape[2]), axis=0)
    assert picture.shape[0] > 100 and len(colours) > 20


def test_names_cannot_steer_the_terminal(tmp_path: Path) -> None:
    save_file({"a\x1b[31m\n\u202eb": np.ones((2, 2), np.float32)}, tmp_path / "m.safetensors")
    output = command("report", "m.safetensors", folder=tmp_path)
    assert "a\\x1b[31m\\n\\u202eb" in output and "\x1b" not in output and "\u202e" not in output


def test_report_reads_other_types_exactly(tmp_path: Path) -> None:
    from safetensors.torch import save_file as save_torch

    torch.manual_seed(0)
    tensors = {name: torch.randn(4, 5, 3).to(kind) for name, kind in (
        ("half", torch.float16), ("brain", torch.bfloat16))}
    tensors["transposed"] = torch.randn(4, 5, 3)
    save_torch(tensors, tmp_path / "m.safetensors")
    torch.save({"state_dict": tensors, "epoch": 3}, tmp_path / "m.pt")
    for file in ("m.safetensors", "m.pt"):
        command("report", file, "--json", "r.json", "--transposed", "trans*", folder=tmp_path)
        rows = json.loads((tmp_path / "r.json").read_text())["layers"]
        assert {row["layer"] for row in rows} == set(tensors)
        for row in rows:
            w = tensors[row["layer"]].double().numpy()
            axes = (0, 2) if row["layer"] == "transposed" else (1, 2)
            norms = np.abs(w).sum(axes)
            assert row["filters"] == len(norms)
            assert row["norm_max"] == pytest.approx(norms.max(), rel=1e-12)
            assert row["entropy"] == pytest.approx(numpy_entropy(w, 10), rel=1e-12)


def test_apply_against_numpy(files: list[Path], tmp_path: Path) -> None:
    output = command(
        "apply", *files, "--output", "out", "--order", "order.txt", folder=tmp_path)
    assert output.count("wrote") == 3
    for seed, expected in enumerate(grafted([weights(seed) for seed in range(3)])):
        path = tmp_path / "out" / f"net{seed}.safetensors"
        found = load_file(path)
        assert set(found) == set(expected)
        for name, array in expected.items():
            assert found[name].tobytes() == array.tobytes(), (seed, name)
        assert load_file(files[seed])["fc.bias"].tobytes() == weights(seed)["fc.bias"].tobytes()
        with safe_open(path, "np") as opened:
            assert opened.metadata() == {"format": "pt", "epoch": str(seed)}
    assert not [path for path in (tmp_path / "out").iterdir() if path.name.startswith(".")]


def test_apply_options(files: list[Path], tmp_path: Path) -> None:
    command("apply", *files[:2], "--output", "a.safetensors", "b.safetensors", "--order",
            "order.txt", "--weighting", "0.75", "--exclude", "fc.*", folder=tmp_path)
    [first, second] = grafted([weights(0), weights(1)], alpha=0.75)
    for path, expected, seed in (("a", first, 0), ("b", second, 1)):
        found = load_file(tmp_path / f"{path}.safetensors")
        for name, array in expected.items():
            wanted = weights(seed)[name] if name.startswith("fc.") else array
            assert found[name].tobytes() == wanted.tobytes(), name


def test_apply_takes_numbered_sources_and_keeps_zeros(files: list[Path], tmp_path: Path) -> None:
    networks = [weights(seed) for seed in range(3)]
    networks[0]["conv2.weight"][::2] = 0
    save_file(networks[0], files[0])
    output = command("apply", *files, "--output", "out", "--order", "order.txt", "--source",
                     "3,1,2", "--weighting", "0.25", "--keep-zeros", folder=tmp_path)
    assert re.search(r"^conv1.weight +1 +3 +0.2500", output, re.M)
    for k in range(3):
        found = load_file(tmp_path / "out" / f"net{k}.safetensors")
        for name in FEEDERS:
            own, other = (networks[one][name].astype(np.float64) for one in (k, (k + 2) % 3))
            wanted = (0.25 * own + 0.75 * other).astype(np.float32)
            if own.ndim > 1:
                wanted[own == 0] = 0
            assert np.array_equal(found[name], wanted), (k, name)
    for source in ("mean", "others", "exponential"):
        command("apply", *files, "--order", "order.txt", "--dry-run", "--source", source,
                folder=tmp_path)


def test_apply_to_bfloat16(tmp_path: Path) -> None:
    from safetensors.torch import load_file as load_torch, save_file as save_torch

    tensors = [{"w": torch.randn(4, 5, 3).to(torch.bfloat16)} for _ in range(2)]
    for k in range(2):
        save_torch(tensors[k], tmp_path / f"{k}.safetensors")
    command("apply", "0.safetensors", "1.safetensors", "--output", "out", "--weighting", "0.25",
            folder=tmp_path)
    found = load_torch(tmp_path / "out" / "1.safetensors")["w"]
    wanted = 0.25 * tensors[1]["w"].double() + 0.75 * tensors[0]["w"].double()
    assert found.dtype == torch.bfloat16 and torch.equal(found, wanted.to(torch.bfloat16))


def test_a_dry_run_writes_nothing(files: list[Path], tmp_path: Path) -> None:
    before = sorted(tmp_path.iterdir())
    output = command("apply", *files[:2], "--order", "order.txt", "--dry-run", "--plan",
                     folder=tmp_path)
    assert sorted(tmp_path.iterdir()) == before
    entropy = [numpy_entropy(weights(seed)["conv1.weight"], 10) for seed in range(2)]
    assert f"{share(*entropy, 0.4, 500.0):.4f}" in output
    assert re.search(r"^bn1.weight +follows +order +conv1.weight$", output, re.M)


def test_files_sorted_by_name_need_an_order(files: list[Path], tmp_path: Path) -> None:
    message = command("apply", *files[:2], "--output", "out", folder=tmp_path, status=1)
    assert "sorted by name" in message and "--order" in message
    assert not (tmp_path / "out").exists()
    command("apply", *files[:2], "--output", "out", "--order", "stored", folder=tmp_path)


def test_the_engines_own_files_need_no_order_and_load_again(tmp_path: Path) -> None:
    networks = [graft.resnet(8, input_shape=(1, 8, 8), seed=seed) for seed in range(2)]
    for seed, network in enumerate(networks):
        network.save(tmp_path / f"{seed}.safetensors")
    command("apply", "0.safetensors", "1.safetensors", "--output", "out", "--weighting", "0.25",
            folder=tmp_path)
    loaded = graft.resnet(8, input_shape=(1, 8, 8), seed=9)
    loaded.load(tmp_path / "out" / "1.safetensors")
    for name, own in networks[1].state_dict().items():
        if own.dtype == np.float32:
            other = networks[0].state_dict()[name].astype(np.float64)
            expected = (0.25 * own.astype(np.float64) + 0.75 * other).astype(np.float32)
            assert np.array_equal(loaded.state_dict()[name], expected), name


def test_torch_files(tmp_path: Path) -> None:
    torch.manual_seed(1)
    modules = [nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4)) for _ in range(2)]
    for k, module in enumerate(modules):
        torch.save({"state_dict": module.state_dict(), "epoch": k}, tmp_path / f"{k}.pt")
    command("apply", "0.pt", "1.pt", "--output", "out", folder=tmp_path)
    states = [module.state_dict() for module in modules]
    entropy = [numpy_entropy(state["0.weight"].numpy(), 10) for state in states]
    alpha = share(*entropy, 0.4, 500.0)
    found = torch.load(tmp_path / "out" / "1.pt", weights_only=True)
    assert found["epoch"] == 1
    for name in ("0.weight", "0.bias", "1.weight", "1.running_var"):
        expected = alpha * states[0][name].double() + (1 - alpha) * states[1][name].double()
        assert torch.equal(found["state_dict"][name], expected.float()), name
    torch.save(nn.Linear(2, 2), tmp_path / "code.pt")
    assert "weights_only" in command("report", "code.pt", folder=tmp_path, status=1)


def broken(path: Path, kind: str) -> None:
    data = path.read_bytes()
    if kind == "short":
        path.write_bytes(data[:-4])
    elif kind == "header":
        path.write_bytes((2**60).to_bytes(8, "little") + data[8:])
    elif kind == "json":
        path.write_bytes(data[:8] + b"!" + data[9:])
    elif kind == "empty":
        path.write_bytes(b"")
    else:
        path.write_bytes(re.sub(rb'\[(\d+,)(\d+)\]\}', rb'[\g<1>9]}', data, count=1))


@pytest.mark.parametrize("kind", ["short", "header", "json", "empty", "offsets"])
def test_broken_files(kind: str, files: list[Path], tmp_path: Path) -> None:
    broken(files[1], kind)
    message = command("apply", *files[:2], "--output", "out", "--order", "stored",
                      folder=tmp_path, status=1)
    assert message.startswith("error: ") and "net1.safetensors" in message


def test_refusals_name_what_does_not_fit(files: list[Path], tmp_path: Path) -> None:
    other = weights(1)
    other["conv2.weight"] = other["conv2.weight"][:5]
    save_file(other, tmp_path / "shape.safetensors")
    del other["conv2.weight"]
    save_file(other, tmp_path / "lacks.safetensors")
    spoilt = weights(2)
    spoilt["conv2.weight"][0] = np.nan
    save_file(spoilt, tmp_path / "nan.safetensors")
    for name in ("shape", "lacks", "nan"):
        message = command("apply", files[0], f"{name}.safetensors", "--output", "out", "--order",
                          "stored", folder=tmp_path, status=1)
        assert "conv2.weight" in message
        assert not (tmp_path / "out").exists()
    assert "conv2.weight" in command("report", "nan.safetensors", folder=tmp_path, status=1)
    assert "no such file" in command("report", "none.safetensors", folder=tmp_path, status=1)
    assert "source" in command("apply", *files[:2], "--output", "out", "--order", "stored",
                               "--source", "sky", folder=tmp_path, status=1)


def test_what_exists_is_not_replaced_unasked(files: list[Path], tmp_path: Path) -> None:
    before = files[0].read_bytes()
    arguments = ["apply", *files[:2], "--output", ".", "--order", "order.txt"]
    assert "exists" in command(*arguments, folder=tmp_path, status=1)
    assert files[0].read_bytes() == before
    command(*arguments, "--force", folder=tmp_path)
    assert load_file(files[0])["fc.bias"].tobytes() == load_file(files[1])["fc.bias"].tobytes()


def test_a_failed_write_leaves_nothing(files: list[Path], tmp_path: Path) -> None:
    (tmp_path / "taken.safetensors").mkdir()
    message = command(
        "apply", *files[:2], "--output", "new.safetensors", "taken.safetensors", "--force",
        "--order", "stored", folder=tmp_path, status=1)
    assert "taken.safetensors" in message and not (tmp_path / "new.safetensors").exists()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_the_page(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "command-line.md").read_text()
    blocks = re.findall(r"^```(sh|python)\n(.*?)^```$", page, re.M | re.S)
    assert len(blocks) == 8 and page.count("```") == 16
    state: dict[str, object] = {}
    previous = os.getcwd()
    os.chdir(tmp_path)
    try:
        for language, block in blocks:
            if language == "python":
                exec(block, state)
                continue
            for line in block.splitlines():
                assert line.startswith("python -m graft ")
                command(*shlex.split(line)[3:], folder=tmp_path)
    finally:
        os.chdir(previous)
    from_pt = torch.load(tmp_path / "grafted" / "network1.pt", weights_only=True)
    from_safetensors = load_file(tmp_path / "grafted" / "network1.safetensors")
    assert len(from_pt) == len(from_safetensors) == 9
    for name, tensor in from_pt.items():
        assert np.array_equal(tensor.numpy(), from_safetensors[name]), name
