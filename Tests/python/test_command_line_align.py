"""`python -m graft apply --align` on files of networks that were trained apart."""

from __future__ import annotations

import copy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn
from torch.optim.swa_utils import update_bn

import graft.torch
from graft._cli import main

from test_command_line import command

torch.set_num_threads(1)

STRUCTURE = '''
import torch
from torch import nn


class Network(nn.Module):
    """Two heads that share a weight, and a buffer that no file holds."""

    def __init__(self, width=12):
        super().__init__()
        self.first = nn.Conv2d(2, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.second = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.other_norm = nn.BatchNorm2d(width)
        self.head = nn.Linear(width, 4)
        self.tied = nn.Linear(width, 4)
        self.tied.weight = self.head.weight
        self.register_buffer("shift", torch.full((1,), 0.5), persistent=False)

    def forward(self, x):
        x = torch.relu(self.norm(self.first(x)))
        x = torch.relu(self.other_norm(self.second(x))).mean((2, 3)) + self.shift
        return self.head(x) + torch.relu(self.tied(x))


def network():
    return Network()


def wide():
    return Network(13)


def number():
    return 3


def broken():
    raise RuntimeError("no such luck")
'''
SETTINGS = ["--structure", "nets:network", "--example", "2x6x6"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "nets", raising=False)
    (tmp_path / "nets.py").write_text(STRUCTURE)
    for seed in range(3):
        save(made(seed), tmp_path / f"net{seed}.safetensors")
    return tmp_path


def structure() -> dict[str, object]:
    namespace: dict[str, object] = {}
    exec(STRUCTURE, namespace)
    return namespace


def made(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    module = structure()["network"]()  # type: ignore[operator]
    with torch.no_grad():
        for norm in (module.norm, module.other_norm):
            norm.weight.uniform_(0.5, 1.5)
            norm.bias.normal_()
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 1.5)
    return module


def save(module: nn.Module, path: Path) -> None:
    state = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    save_file(state, path, metadata={"epoch": "7"})


def loaded(path: Path) -> nn.Module:
    module = made(9)
    state = load_file(path) if path.suffix == ".safetensors" else torch.load(
        path, weights_only=True)
    module.load_state_dict(state)
    assert torch.equal(state["tied.weight"], state["head.weight"])
    return module.eval()


def apply(*arguments: object) -> None:
    """In this process: importing torch takes seconds."""
    assert main(["apply", *map(str, arguments)]) == 0


def test_the_files_are_those_of_the_grafter(folder: Path) -> None:
    """Sorted by name, as the package writes them; the structure tells the order."""
    modules = [made(seed) for seed in range(3)]
    inputs = np.random.default_rng(0).standard_normal((150, 2, 6, 6)).astype(np.float32)
    np.save(folder / "inputs.npy", inputs)
    grafter = graft.torch.Grafter(modules, align=True, example_inputs=torch.randn(2, 2, 6, 6))
    report = grafter.step()
    files = [f"net{seed}.safetensors" for seed in range(3)]
    printed = command("apply", *files, *SETTINGS, "--align", "--output", "out", folder=folder)
    for k in (1, 2):
        one = report.alignment[k]
        assert (f"file {k + 1} aligned to file 1: {one.moved} of {one.channels} channels moved; "
                "cosine between the weights") in printed
        assert one.moved > 12
    for name, module in zip(files, modules):
        result = load_file(folder / "out" / name)
        for key, tensor in module.state_dict().items():
            assert torch.equal(result[key], tensor), key
        with safe_open(folder / "out" / name, "np") as file:
            assert file.metadata() == {"epoch": "7"}
    apply(*files, *SETTINGS, "--align", "--statistics", "inputs.npy", "--output", "anew")
    batches = [torch.from_numpy(inputs)]  # 22 beyond a batch of 128 go with it
    for name, module in zip(files, modules):
        update_bn(batches, module)
        result = load_file(folder / "anew" / name)
        for key, tensor in module.state_dict().items():
            torch.testing.assert_close(result[key], tensor, rtol=1e-4, atol=1e-5, msg=key)


def test_a_permuted_copy_comes_back_in_every_format(folder: Path) -> None:
    first = made(0)
    other = copy.deepcopy(first)
    groups = graft.torch.permutation_groups(other, torch.randn(1, 2, 6, 6))
    graft.torch.permute(other, groups, groups.random(4))
    x = torch.randn(3, 2, 6, 6)
    for suffix, dtype in (("pt", torch.float64), ("safetensors", torch.bfloat16)):
        paths = [folder / f"{name}.{suffix}" for name in ("a", "b")]
        for path, module in zip(paths, (first, other)):
            state = {name: tensor.to(dtype) if tensor.is_floating_point() else tensor
                     for name, tensor in copy.deepcopy(module).state_dict().items()}
            torch.save(state, path) if suffix == "pt" else save_file(
                {name: tensor.clone() for name, tensor in state.items()}, path)
        apply(*paths, *SETTINGS, "--align", "--output", "out")
        expected = loaded(paths[0])(x).detach()
        for path in paths:
            got = loaded(folder / "out" / path.name)(x).detach()
            assert float((got - expected).abs().max()) < 1e-4
        apply(*paths, *SETTINGS, "--output", "plain")
        plain = loaded(folder / "plain" / f"b.{suffix}")(x).detach()
        assert float((plain - expected).abs().max()) > 1e-2


def test_a_dry_run_writes_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.read_bytes() for path in folder.glob("*.safetensors")}
    apply(*before, *SETTINGS, "--align", "--dry-run", "--plan")
    printed = capsys.readouterr().out
    assert "aligned to file 1" in printed and "classifier" in printed
    assert {path: path.read_bytes() for path in folder.glob("*.safetensors")} == before


def test_bad_input_is_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = ["net0.safetensors", "net1.safetensors"]
    np.save(folder / "counts.npy", np.zeros((4, 2, 6, 6), np.int64))
    np.save(folder / "channels.npy", np.zeros((4, 3, 6, 6), np.float32))
    (folder / "text.npy").write_text("no array")

    def refused(match: str, *arguments: str) -> None:
        assert main(["apply", *files, *arguments, "--output", "out"]) == 1
        message = capsys.readouterr().err
        assert message.startswith("error: ") and match in message, message
        assert not (folder / "out").exists()

    refused("--align needs --structure", "--align")
    refused("--statistics needs --structure", "--statistics", "counts.npy")
    refused("--align needs --example", "--align", "--structure", "nets:network")
    refused("allowed is MODULE:FUNCTION", "--structure", "nets")
    refused("has no say", "--structure", "nets:network", "--order", "stored")
    for bad in ("3x", "axb", "0x3"):
        refused(f"--example is {bad!r}", "--structure", "nets:network", "--example", bad)
    refused("No module named 'nothing'", "--structure", "nothing:network")
    refused("no attribute 'nothing'", "--structure", "nets:nothing")
    refused("raises RuntimeError: no such luck", "--structure", "nets:broken")
    refused("returns 'int'", "--structure", "nets:number")
    refused("and in --structure nets:wide", "--structure", "nets:wide")
    refused("forward pass raises", "--structure", "nets:network", "--align", "--example", "3x6x6")
    refused("floating-point", *SETTINGS, "--statistics", "counts.npy")
    refused("is no .npy file", *SETTINGS, "--statistics", "text.npy")
    refused("cannot be read", *SETTINGS, "--statistics", "none.npy")
    refused("--statistics: the forward pass", *SETTINGS, "--statistics", "channels.npy")
    extra = load_file(folder / "net1.safetensors")
    extra["more"] = extra.pop("tied.bias")
    save_file(extra, folder / "net1.safetensors")
    refused("net1.safetensors lacks 'tied.bias'", *SETTINGS, "--align")
