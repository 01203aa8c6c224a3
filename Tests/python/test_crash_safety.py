"""Saving that is cut short: by the process's death, a full disk, a file in the way. What stood
there before, or all of what is new, is there and nothing else."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import graft

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "crash"))

import kills  # noqa: E402

RNG = np.random.default_rng(1)


def small(seed: int) -> graft.Network:
    return graft.resnet(8, base_filters=4, input_shape=(1, 8, 8), seed=seed)


def weights(network: graft.Network) -> bytes:
    return b"".join(array.tobytes() for array in network.state_dict().values())


def trainer(seed: int = 0) -> graft.Trainer:
    """Two networks, trained for one of two epochs."""
    rng = np.random.default_rng(seed)
    data = graft.Dataset.from_arrays(
        rng.normal(size=(16, 1, 8, 8)).astype(np.float32), np.arange(16) % 10)
    return graft.Trainer(
        [small(seed), small(seed + 1)], data, epochs=2, batch_size=8, crop_padding=1, threads=1,
        grafting=graft.Grafting())


def names(folder: Path) -> list[str]:
    return sorted(child.name for child in folder.iterdir())


# ---- the process dies ----------------------------------------------------------------------------


def kill_while(work, folder: Path, check, rounds: int = 30) -> int:
    """Fork a child that repeats `work` and kill it at a random moment, again and again; after each
    time `check` looks. Returns after how many rounds something half written was left beside."""
    left = 0
    for _ in range(rounds):
        child = os.fork()
        if child == 0:
            try:
                while True:
                    work()
            finally:
                os._exit(1)
        time.sleep(RNG.uniform(0, 0.03))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status), "the child ended by itself: saving failed"
        left += any(".partial-" in name for name in names(folder))
        check()
    return left


def test_a_network_file_is_whole_whenever_the_process_dies(tmp_path):
    networks, path = [small(1), small(2)], tmp_path / "a.safetensors"
    whole = [weights(network) for network in networks]
    networks[0].save(path)
    reader = small(3)

    def work():
        for network in networks:
            network.save(path)

    def check():
        reader.load(path)
        assert weights(reader) in whole

    left = kill_while(work, tmp_path, check)
    assert left > 0, "no child was killed in the middle of saving: the test has shown nothing"
    networks[0].save(path)
    assert names(tmp_path) == ["a.safetensors"]


def test_a_checkpoint_is_whole_whenever_the_process_dies(tmp_path):
    path, saved = tmp_path / "checkpoint", trainer()
    saved.save(path)
    states = [[weights(network) for network in saved.networks]]
    later = trainer()

    def stop_after_one_epoch(progress):
        return later.epochs_done < 1

    with pytest.raises(graft.CancelledError):
        later.run(stop_after_one_epoch)
    states.append([weights(network) for network in later.networks])
    assert states[0] != states[1]
    reader = trainer()

    def work():
        for one in (later, saved):
            one.save(path)

    def check():
        reader.load(path)
        state = [weights(network) for network in reader.networks]
        assert state in states
        assert reader.epochs_done == states.index(state)

    left = kill_while(work, tmp_path, check)
    assert left > 0, "no child was killed in the middle of saving: the test has shown nothing"
    saved.save(path)
    assert names(tmp_path) == ["checkpoint"]
    assert names(path) == [
        "manifest.json", "network-0.safetensors", "network-1.safetensors", "trainer.safetensors"]


def test_a_killed_run_resumes_to_the_unbroken_runs_bits(tmp_path):
    """`make crash` does this a thousand times. It forks: in a process of its own, with few threads."""
    run = subprocess.run(
        [sys.executable, kills.__file__, "40"], capture_output=True, text=True, timeout=120,
        env={**os.environ, "TMPDIR": str(tmp_path)})
    assert run.returncode == 0, run.stderr
    counts = dict(line.split(": ") for line in run.stdout.splitlines() if ": " in line)
    assert int(counts["killed"]) == 40
    assert int(counts["while saving"]) > 0, "none was killed while saving: nothing has been shown"
    assert run.stdout.endswith("40 killed, 0 lost\n")


def test_the_count_of_kills_sees_a_loss(tmp_path):
    """An older checkpoint than the one told to be saved, none at all, and other weights."""
    expected, directory = kills.unbroken(), tmp_path / "checkpoint"
    with pytest.raises(AssertionError, match="epoch 1 was saved, and nothing"):
        kills.check(directory, 1, expected)
    run = kills.trainer(None)
    with pytest.raises(graft.CancelledError):
        run.run(lambda progress: run.epochs_done < 2)
    run.save(directory)
    assert kills.check(directory, 2, expected) == 2
    with pytest.raises(AssertionError, match="epoch 3 was saved, and the checkpoint is of epoch 2"):
        kills.check(directory, 3, expected)
    other = list(expected)
    other[2] = expected[1]
    with pytest.raises(AssertionError, match="epoch 2 is not the unbroken run's"):
        kills.check(directory, 2, other)
    other = [*expected[:-1], expected[0]]
    with pytest.raises(AssertionError, match="resumed at epoch 2, it ends elsewhere"):
        kills.check(directory, 2, other)


# ---- errors while saving -------------------------------------------------------------------------


def test_a_full_disk_leaves_what_was_there(tmp_path):
    """The limit on a file's size stands for a full disk: the write in the middle fails."""
    network, path, checkpoint = small(1), tmp_path / "a.safetensors", tmp_path / "checkpoint"
    network.save(path)
    run = trainer()
    run.save(checkpoint)
    before = {child: child.read_bytes() for child in tmp_path.rglob("*") if child.is_file()}
    old, limits = signal.signal(signal.SIGXFSZ, signal.SIG_IGN), resource.getrlimit(
        resource.RLIMIT_FSIZE)
    try:
        for size in (0, 1, 1000, 10000):
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
            with pytest.raises(graft.FileError, match="File too large") as caught:
                network.save(path)
            assert str(path) in str(caught.value)
            with pytest.raises(graft.FileError, match="File too large"):
                run.save(checkpoint)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, old)
    after = {child: child.read_bytes() for child in tmp_path.rglob("*") if child.is_file()}
    assert after == before
    assert names(tmp_path) == ["a.safetensors", "checkpoint"]


def test_a_read_only_directory_leaves_what_was_there(tmp_path):
    """Where nothing may be written, the file and the checkpoint that are there stay."""
    folder = tmp_path / "readonly"
    folder.mkdir()
    network, run = small(1), trainer()
    network.save(folder / "a.safetensors")
    run.save(folder / "checkpoint")
    everything = [folder, *folder.rglob("*")]
    before = {path: path.read_bytes() for path in everything if path.is_file()}
    for path in everything:
        path.chmod(0o555 if path.is_dir() else 0o444)
    process = os.fork()
    if process == 0:
        status = 1
        try:
            # The superuser may write anywhere: be nobody. Paths are relative, since nobody may not
            # walk through the folders above.
            os.chdir(folder)
            if os.geteuid() == 0:
                os.setgroups([])
                os.setresgid(65534, 65534, 65534)
                os.setresuid(65534, 65534, 65534)
            for save, path in ((network.save, "a.safetensors"), (run.save, "checkpoint"),
                               (network.save, "new.safetensors"), (run.save, "new")):
                with pytest.raises(graft.FileError, match="Permission denied") as caught:
                    save(path)
                assert path in str(caught.value)
            status = 0
        finally:
            os._exit(status)
    _, status = os.waitpid(process, 0)
    for path in everything:
        path.chmod(0o755 if path.is_dir() else 0o644)
    assert status == 0
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert names(folder) == ["a.safetensors", "checkpoint"]


def test_other_files_in_a_checkpoint_are_kept(tmp_path):
    run, path = trainer(), tmp_path / "checkpoint"
    run.save(path)
    (path / "notes.txt").write_text("mine")
    (path / "network-7.safetensors").write_text("of an earlier run with more networks")
    run.save(path)
    assert (path / "notes.txt").read_text() == "mine"
    assert not (path / "network-7.safetensors").exists()


def test_a_directory_of_somebody_elses_is_not_replaced(tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    for path in (tmp_path, tmp_path / "thesis.tex"):
        with pytest.raises(graft.InvalidArgumentError, match="thesis.tex"):
            trainer().save(path)
    assert names(tmp_path) == ["thesis.tex"] and (tmp_path / "thesis.tex").read_text() == "mine"


def test_no_descriptor_is_left(tmp_path):
    network, run = small(1), trainer()
    open_files = Path("/proc/self/fd")
    before = len(list(open_files.iterdir()))
    for _ in range(5):
        network.save(tmp_path / "a")
        network.load(tmp_path / "a")
        run.save(tmp_path / "c")
        run.load(tmp_path / "c")
        for call in (network.load, run.load, lambda path: network.save(path / "a")):
            with pytest.raises(graft.GraftError):
                call(tmp_path / "none")
        with pytest.raises(graft.FormatError):
            graft.Dataset.idx(tmp_path / "a", tmp_path / "a")
    assert len(list(open_files.iterdir())) == before


def test_descriptors_are_not_inherited(tmp_path):
    """A program that the host starts in the middle must not keep a checkpoint's lock."""
    source = (
        "import graft, os, subprocess, sys, threading\n"
        "network = graft.resnet(8, base_filters=4)\n"
        "stop = threading.Event()\n"
        "def save():\n"
        "    while not stop.is_set(): network.save(sys.argv[1])\n"
        "thread = threading.Thread(target=save)\n"
        "thread.start()\n"
        "seen = set()\n"
        "for _ in range(10):\n"
        "    text = subprocess.run(['ls', '-l', '/proc/self/fd'], capture_output=True, text=True,\n"
        "        close_fds=False).stdout\n"
        "    seen.update(line for line in text.splitlines() if sys.argv[1] in line)\n"
        "stop.set()\n"
        "thread.join()\n"
        "print(len(seen))\n")
    result = subprocess.run(
        [sys.executable, "-c", source, str(tmp_path / "a")], capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(Path(graft.__file__).parents[1])}, check=True)
    assert result.stdout.strip() == "0"


# ---- the host's working directory and locale -----------------------------------------------------


def test_the_working_directory_may_change_at_any_time(tmp_path, monkeypatch):
    """A relative path stands for what it names when the call, or the trainer, is made."""
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    monkeypatch.chdir(here)
    rng = np.random.default_rng(0)
    data = graft.Dataset.from_arrays(rng.normal(size=(16, 1, 8, 8)), np.arange(16) % 10)
    run = graft.Trainer(
        [small(0)], data, epochs=1, batch_size=8, threads=1, directory="run", save_every=1)
    monkeypatch.chdir(there)
    run.run()
    assert names(there) == [] and names(here) == ["run"]

    stop, network = threading.Event(), small(1)

    def wander():
        while not stop.is_set():
            os.chdir(here)
            os.chdir(there)

    thread = threading.Thread(target=wander)
    thread.start()
    try:
        for _ in range(100):
            network.save("network")
            run.save("checkpoint")
    finally:
        stop.set()
        thread.join()
    found = {place: names(place) for place in (here, there)}
    assert set(found[here]) | set(found[there]) == {"run", "network", "checkpoint"}
    for place in (here, there):
        if "network" in found[place]:
            reader = small(2)
            reader.load(place / "network")
            assert weights(reader) == weights(network)


def test_messages_are_english_in_any_locale(tmp_path):
    """What the system has to say comes untranslated; numbers of a checkpoint keep their points."""
    source = (
        "import locale, sys, graft\n"
        "locale.setlocale(locale.LC_ALL, '')\n"
        "try: graft.resnet(8).load('/nowhere/x')\n"
        "except graft.FileError as error: print(error)\n")
    result = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, check=True,
        env={**os.environ, "LC_ALL": "C.UTF-8", "LANGUAGE": "de:fr",
             "PYTHONPATH": str(Path(graft.__file__).parents[1])})
    assert result.stdout == "cannot open /nowhere/x: No such file or directory\n"
