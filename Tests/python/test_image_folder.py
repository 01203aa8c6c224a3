"""Directories of images: torchvision's order and pixels; batches; what is damaged is named."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_torch_models import PACKAGES, TESTS, install

import graft

SIZES = [(24, 24), (40, 25), (25, 40), (33, 57), (10, 13), (24, 31), (101, 24)]


def write(folder: Path, extension: str = ".png") -> None:
    """Three classes, folders within them, names whose order is easily mistaken, other files."""
    rng = np.random.default_rng(0)
    modes = ["RGB", "L", "RGBA", "P", "1"]
    places = [
        "b/10.jpg", "b/9.PNG", "b/deep/er/x.png", "b/deep.png", "B/z.jpeg", "B/a.bmp", "a/1.png",
        "a/2.jpg", "a/ä.png", "a/3.png", "a/sub/0.jpg"]
    for index, place in enumerate(places):
        path = folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        height, width = SIZES[index % len(SIZES)]
        # Smooth enough for JPEG, different enough for every mistake to show.
        down, across = np.mgrid[:height, :width]
        pixels = np.stack(
            [128 + 90 * np.sin(down * a + across * b + c) for a, b, c in rng.random((3, 3))], -1)
        image = Image.fromarray(pixels.astype(np.uint8))
        if path.suffix.lower() == ".png":
            image = image.convert(modes[index % len(modes)])
        image.save(path)
    (folder / "a" / "notes.txt").write_text("no image")
    (folder / "readme.md").write_text("no folder")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("images")
    write(path)
    return path


@pytest.fixture(scope="module")
def torchvision(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    """What torchvision makes of it at 24 x 24."""
    install()
    output = tmp_path_factory.mktemp("torchvision") / "folder.npz"
    subprocess.run(
        [sys.executable, TESTS / "folder_models.py", folder, "24", output], check=True,
        env={**os.environ, "PYTHONPATH": str(PACKAGES)})
    return dict(np.load(output))


def test_order_and_pixels_are_torchvisions(folder: Path, torchvision) -> None:
    images = graft.ImageFolder(folder, 24)
    assert images.classes == torchvision["classes"].tolist() == ["B", "a", "b"]
    assert images.paths == torchvision["paths"].tolist()
    np.testing.assert_array_equal(images.labels, torchvision["labels"])
    pixels, labels = images.read()
    np.testing.assert_array_equal(pixels.transpose(0, 2, 3, 1), torchvision["images"])
    np.testing.assert_array_equal(labels, torchvision["labels"])
    data = images.dataset()
    assert data.shape == (11, 3, 24, 24) == (len(images), *images.shape) and data.classes == 3
    np.testing.assert_array_equal(data.labels, torchvision["labels"])
    shown = (torchvision["images"].transpose(0, 3, 1, 2) / 255).astype(np.float32)
    np.testing.assert_array_equal(data.read()[0], shown)
    assert repr(images) == "<graft.ImageFolder: 11 images, 3 x 24 x 24, 3 classes>"


def test_other_sizes_and_grey(folder: Path) -> None:
    stretched = graft.ImageFolder(folder, (7, 30), fit="stretch", threads=3)
    wide = graft.ImageFolder(folder, (12, 50), mode="L")
    for index, path in enumerate(stretched.paths):
        image = Image.open(path).convert("RGB").resize((30, 7), Image.Resampling.BILINEAR)
        np.testing.assert_array_equal(
            stretched.read([index])[0][0].transpose(1, 2, 0), np.asarray(image))
        grey = Image.open(path).convert("L")
        share = max(12 / grey.height, 50 / grey.width)
        scaled = max(50, int(share * grey.width + 1e-9)), max(12, int(share * grey.height + 1e-9))
        left, top = round((scaled[0] - 50) / 2), round((scaled[1] - 12) / 2)
        if (grey.width, grey.height) != (50, 12):
            grey = grey.resize(scaled, Image.Resampling.BILINEAR)
            grey = grey.crop((left, top, left + 50, top + 12))
        np.testing.assert_array_equal(wide.read([index])[0][0, 0], np.asarray(grey))
    assert wide.shape == (1, 12, 50)
    assert wide.dataset().channels == 1


def test_images_are_decoded_where_the_data_set_keeps_them(folder: Path, monkeypatch) -> None:
    """On several threads, into memory that is written once."""
    images = graft.ImageFolder(folder, 24, threads=4)
    monkeypatch.setattr("graft._image_folder._PIECE", 1)
    places, threads = [], set()
    original = images._one

    def spy(index: int, into: np.ndarray) -> None:
        places.append((index, into.ctypes.data))
        threads.add(threading.get_ident())
        original(index, into)

    monkeypatch.setattr(images, "_one", spy)
    data = images.dataset()
    first = dict(places)[0]
    assert sorted(places) == [(index, first + index * 24 * 24 * 3) for index in range(11)]
    assert threading.get_ident() not in threads
    np.testing.assert_array_equal(
        data.read()[0], (images.read()[0] / 255).astype(np.float32))


def test_batches_are_what_the_data_set_shows(folder: Path) -> None:
    images = graft.ImageFolder(folder, 24)
    mean, deviation = [0.5, 0.4, 0.3], [0.2, 0.25, 0.3]
    expected, labels = images.dataset().normalise(mean, deviation).read()
    for ahead in (0, 1, 9):
        got = list(images.batches(4, mean=mean, deviation=deviation, ahead=ahead))
        assert [len(batch) for batch, _ in got] == [4, 4, 3]
        np.testing.assert_array_equal(np.concatenate([batch for batch, _ in got]), expected)
        np.testing.assert_array_equal(np.concatenate([numbers for _, numbers in got]), labels)
    batch = got[0][0]
    assert batch.transpose(0, 2, 3, 1).flags.c_contiguous  # as the engine has it
    network = graft.resnet(8, classes=3, input_shape=images.shape, base_filters=4)
    assert network.forward(batch).shape == (4, 3)


def test_batches_are_shuffled_by_their_seed(folder: Path) -> None:
    images = graft.ImageFolder(folder, 8)
    pixels = (images.read()[0] / 255).astype(np.float32)

    def order(seed: int | None) -> list[int]:
        shown = np.concatenate([batch for batch, _ in images.batches(3, seed=seed)])
        return [int(np.flatnonzero((pixels == one).all((1, 2, 3)))[0]) for one in shown]

    assert order(None) == list(range(11))
    assert sorted(order(1)) == list(range(11)) and order(1) != list(range(11))
    assert order(1) == order(1) != order(2)
    numbers = np.concatenate([labels for _, labels in images.batches(3, seed=1)])
    np.testing.assert_array_equal(numbers, images.labels[order(1)])


def test_a_network_learns_from_a_folder(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    for colour in ("blue", "red"):
        (tmp_path / colour).mkdir()
        for index in range(40):
            pixels = rng.integers(0, 120, (12, 12, 3))
            pixels[..., 0 if colour == "red" else 2] += 60
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / colour / f"{index}.png")
    data = graft.ImageFolder(tmp_path).dataset()
    network = graft.resnet(8, classes=2, input_shape=(3, 12, 12), base_filters=4, seed=1)
    graft.Trainer([network], data, epochs=4, batch_size=16, learning_rate=0.05).run()
    assert graft.evaluate(network, data).accuracy > 0.95


def test_a_test_set_takes_the_training_sets_classes(tmp_path: Path) -> None:
    for place in ("train/a/1.png", "train/b/1.png", "train/c/1.png", "test/c/1.png", "test/a/1.png"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(tmp_path / place)
    train = graft.ImageFolder(tmp_path / "train")
    test = graft.ImageFolder(tmp_path / "test", classes=train.classes)
    assert test.classes == ["a", "b", "c"] and test.labels.tolist() == [0, 2]
    assert test.dataset().classes == 3
    with pytest.raises(graft.InvalidArgumentError, match="holds 'b', which is not among classes"):
        graft.ImageFolder(tmp_path / "train", classes=test.classes[::2])
    with pytest.raises(graft.InvalidArgumentError, match="a name twice"):
        graft.ImageFolder(tmp_path / "train", classes=["a", "b", "c", "a"])


def test_what_is_damaged_is_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(graft.FormatError, match="say which size they are to have"):
        graft.ImageFolder(folder).dataset()
    with pytest.raises(graft.FileError, match="nowhere"):
        graft.ImageFolder(tmp_path / "nowhere")
    with pytest.raises(graft.FormatError, match="holds no folders"):
        graft.ImageFolder(tmp_path)
    (tmp_path / "a").mkdir()
    with pytest.raises(graft.FormatError, match="a holds no image"):
        graft.ImageFolder(tmp_path)
    whole = (folder / "a" / "2.jpg").read_bytes()
    for name, content in (
        ("cut.jpg", whole[: len(whole) // 2]), ("text.png", b"no picture"), ("empty.png", b""),
        ("header.png", (folder / "a" / "1.png").read_bytes()[:40]),
    ):
        (tmp_path / "a" / name).write_bytes(content)
        images = graft.ImageFolder(tmp_path, 8)
        for call in (images.dataset, images.read, lambda: list(images.batches(1))):
            with pytest.raises(graft.FormatError, match=name):
                call()
        (tmp_path / "a" / name).unlink()
    (tmp_path / "a" / "gone.png").write_bytes(b"x")
    images = graft.ImageFolder(tmp_path, 8)
    (tmp_path / "a" / "gone.png").unlink()
    with pytest.raises(graft.FileError, match="gone.png"):
        images.dataset()


@pytest.mark.parametrize("options, words", [
    ({"fit": "squash"}, "fit is 'squash'"), ({"mode": "CMYK"}, "mode is 'CMYK'"),
    ({"size": 0}, "size is 0"), ({"size": (3, 40000)}, "size is"), ({"size": (1, 2, 3)}, "size is"),
    ({"threads": -1}, "threads is -1"), ({"threads": "many"}, "threads is 'many'"),
])
def test_wrong_arguments_are_named(folder: Path, options, words) -> None:
    with pytest.raises(graft.InvalidArgumentError, match=words):
        graft.ImageFolder(folder, **{"size": 8, **options})


def test_wrong_batches_are_named(folder: Path, monkeypatch) -> None:
    images = graft.ImageFolder(folder, 8)
    for options, words in (
        ({"batch_size": 0}, "batch_size is 0"), ({"batch_size": 1, "ahead": -1}, "ahead -1"),
        ({"batch_size": 1, "mean": [1, 2]}, "mean has shape"),
        ({"batch_size": 1, "deviation": 0}, "deviation finite and above 0"),
        ({"batch_size": 1, "seed": -1}, "seed is -1"),
    ):
        with pytest.raises(ValueError, match=words):
            images.batches(**options)
    with pytest.raises(graft.InvalidArgumentError, match="indices holds 11; there are images 0"):
        images.read([0, 11])
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(graft.UnsupportedError, match=r"filtergraft\[images\]"):
        graft.ImageFolder(folder, 8)


def test_one_who_stops_early_leaves_no_threads(folder: Path) -> None:
    images = graft.ImageFolder(folder, 8)
    for _ in images.batches(2):
        break
    names = [thread.name for thread in threading.enumerate()]
    assert not any(name.startswith("graft-decode") for name in names)
