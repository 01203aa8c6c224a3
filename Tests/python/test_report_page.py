"""`graft.report`: its numbers against NumPy on the weights, its page in a browser."""

from __future__ import annotations

import base64
import csv
import json
import math
import os
import queue
import re
import shutil
import subprocess
import sys
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import torch
from torch import nn

import graft
import graft.torch

from test_information import numpy_entropy

LEVELS = (1.0, 0.1, 0.01, 0.001)
SHAPES = {"conv1.weight": (6, 3, 3, 3), "layer.conv2.weight": (8, 6, 3, 3)}
HOSTILE = "</script><b id=escaped>& a name that needs more than a line, and then one more again"
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


def weights(rng: np.random.Generator, epoch: int) -> dict[str, np.ndarray]:
    """Filter 0 of each layer dies at epoch 2 and is back at 4; filter 1 dies at 3 for good."""
    state = {}
    for name, shape in SHAPES.items():
        layer = rng.normal(0, 0.1, shape).astype(np.float32)
        layer[0] *= 1e-3 if epoch in (2, 3) else 1
        layer[1] *= 1e-5 if epoch >= 3 else 1
        layer[2, 0] *= 1e-4
        state[name] = layer
        owner = name.replace("conv", "bn").removesuffix("weight")
        state |= {f"{owner}weight": np.linspace(-1, 1e-3, shape[0], dtype=np.float32),
                  f"{owner}bias": np.zeros(shape[0], np.float32),
                  f"{owner}running_mean": np.zeros(shape[0], np.float32),
                  f"{owner}running_var": np.ones(shape[0], np.float32)}
    return state


class Run:
    """A recorded run, and what its weights were."""

    def __init__(self, seed: int, names: list[str], epochs: int) -> None:
        rng = np.random.default_rng(seed)
        self.names = names
        self.recorder = graft.Recorder(names=names, settings={"seed": seed}, command="train it")
        self.states: list[list[dict[str, np.ndarray]]] = []
        self.accuracy = rng.random((epochs + 1, len(names)))
        for epoch in range(epochs + 1):
            states = [weights(rng, epoch) for _ in names]
            report = graft.graft(states) if len(names) > 1 and epoch % 2 else None
            self.states.append([{k: v.copy() for k, v in one.items()} for one in states])
            self.recorder.record(states, epoch, report=report, train_loss=1 / (epoch + 1),
                                 test_accuracy=self.accuracy[epoch])

    def norms(self, k: int, epoch: int = -1) -> np.ndarray:
        return np.concatenate([
            np.abs(self.states[epoch][k][name].astype(np.float64)).sum((1, 2, 3))
            for name in SHAPES])


@pytest.fixture(scope="module")
def runs() -> dict[str, Run]:
    return {"baseline": Run(1, ["alone"], 6), "grafted": Run(2, [HOSTILE, "second"], 6)}


@pytest.fixture(scope="module")
def written(runs, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    page = graft.report({name: run.recorder for name, run in runs.items()}, folder / "page.html",
                        figures=folder / "figures", tables=folder / "tables")
    assert page == folder / "page.html"
    return folder


@pytest.fixture(scope="module")
def numbers(written) -> dict:
    return json.loads((written / "tables" / "numbers.json").read_text())


def each(runs: dict[str, Run]):
    """Name on the page, run, number in the run."""
    yield "baseline", runs["baseline"], 0
    for k, name in enumerate(runs["grafted"].names):
        yield f"grafted, {name}", runs["grafted"], k


# ---- numbers -------------------------------------------------------------------------------------


def test_cultivation_fixes_its_sets_by_the_reference(runs, numbers):
    invalid = runs["baseline"].norms(0) < 0.1
    assert 0 < invalid.sum() < 14 and numbers["reference"] == "baseline"
    expected = {
        name: (run.norms(k)[~invalid].mean(), run.norms(k)[invalid].mean(),
               run.accuracy[-1, k]) for name, run, k in each(runs)}
    assert [row["network"] for row in numbers["cultivation"]] == list(expected)
    for row in numbers["cultivation"]:
        assert np.allclose([row["valid"], row["invalid"], row["accuracy"]],
                           expected[row["network"]], rtol=1e-6)
        assert row["invalid_filters"] == invalid.sum()
        assert row["valid_filters"] == (~invalid).sum()


def test_another_reference(runs, tmp_path):
    graft.report({name: run.recorder for name, run in runs.items()}, tmp_path / "page.html",
                 reference="grafted, second", threshold=2.0, tables=tmp_path)
    low = runs["grafted"].norms(1) < 2.0
    rows = json.loads((tmp_path / "numbers.json").read_text())["cultivation"]
    assert rows[0]["invalid"] == pytest.approx(runs["baseline"].norms(0)[low].mean(), rel=1e-6)


def test_shares_of_filters_and_of_slices(runs, numbers):
    found = {(row["network"], row["epoch"]): row for row in numbers["shares"]}
    for name, run, k in each(runs):
        for epoch in range(7):
            row, norms = found[name, epoch], run.norms(k, epoch)
            slices = np.concatenate([
                np.abs(run.states[epoch][k][layer]).sum((2, 3)).ravel() for layer in SHAPES])
            for level in LEVELS:
                column = f"under_{level:g}".replace(".", "_")
                assert row[column] == pytest.approx((norms < level).mean())
                assert row[f"slices_{column}"] == pytest.approx((slices < level).mean())


def test_filters_that_died_and_came_back(runs, numbers):
    expected = set()
    for name, run, k in each(runs):
        for epoch in range(1, 7):
            for layer in SHAPES:
                was, now = (
                    np.abs(run.states[at][k][layer].astype(np.float64)).sum((1, 2, 3)) < 0.1
                    for at in (epoch - 1, epoch))
                expected |= {
                    (name, epoch, layer, int(j), "died" if now[j] else "came back")
                    for j in np.flatnonzero(was != now)}
    assert {(row["network"], row["epoch"], row["layer"], row["filter"], row["what"])
            for row in numbers["changes"]} == expected
    assert {what for *_, what in expected} == {"died", "came back"}


def test_panels_show_whole_lines_under_whole_names():
    """The first network's range and a short title are not everybody's."""
    from matplotlib.figure import Figure as Canvas

    from graft._page._analysis import subjects
    from graft._page._figures import Figures

    still = graft.Recorder()
    rng = np.random.default_rng(0)
    for epoch in range(7):
        still.record([weights(rng, 0)], epoch)
    grafted = Run(3, ["first", "second"], 6).recorder.recording
    grafted = {f"grafted and distilled, {part}": grafted for part in ("once", "twice")}
    networks = subjects({"baseline": still.recording} | grafted)
    drawn = Figures(networks, 0.1, png=False)
    canvas = Canvas()
    drawn._draw = lambda *arguments: arguments[-1](canvas)
    list(drawn.changes())
    panels = canvas.axes[:len(networks)]
    most = [line.get_ydata().max() for axes in panels for line in axes.get_lines()[:1]]
    assert most[0] == 0 and max(most) == 4
    assert all(axes.get_ylim()[0] == 0 and axes.get_ylim()[1] > 4 for axes in panels)
    titles = [axes.get_title(loc="left") for axes in panels]
    assert len(set(titles)) == len(networks)
    assert titles[2].split() == "grafted and distilled, once, second".split()
    assert max(len(line) for line in titles[2].splitlines()) <= 14


def test_entropies_and_grafts(runs, numbers):
    totals = {(row["network"], row["epoch"]): row["entropy"] for row in numbers["epochs"]}
    for name, run, k in each(runs):
        for epoch, states in enumerate(run.states):
            expected = sum(numpy_entropy(states[k][layer], 10) for layer in SHAPES)
            assert totals[name, epoch] == pytest.approx(expected, rel=1e-6)
    alphas: dict = {}
    for row in numbers["grafts"]:
        alphas.setdefault((row["epoch"], row["layer"]), []).append(row["alpha"])
    assert {epoch for epoch, _ in alphas} == {1, 3, 5}
    assert all(len(two) == 2 and sum(two) == pytest.approx(1) for two in alphas.values())


def test_csv_files_hold_what_the_json_file_holds(written, numbers):
    tables = {path.stem: path for path in (written / "tables").glob("*.csv")}
    assert {"cultivation", "epochs", "shares", "changes", "grafts", "layers", "norms",
            "scales"} <= set(tables)
    for name, path in tables.items():
        rows = list(csv.DictReader(path.read_text().splitlines()))
        assert len(rows) == len(numbers[name])
        for row, same in zip(rows, numbers[name]):
            for column, value in same.items():
                assert row[column] == ("" if value is None else str(value)), (name, column)


def test_figures_are_images(written):
    names = {path.stem for path in (written / "figures").glob("*.png")}
    assert {"accuracy", "loss", "alpha", "entropy", "entropy-layers", "shares", "changes",
            "filter-map"} <= names
    for path in (written / "figures").iterdir():
        assert path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 5000


def map_data(page: Path) -> dict:
    [text] = re.findall(r'id="filter-map-data">(.*?)</script>', page.read_text(), re.S)
    return json.loads(text)


def test_the_filter_maps_data_say_exactly_who_is_invalid(runs, written):
    told = map_data(written / "page.html")
    edges = np.array(told["edges"])
    for one, (name, run, k) in zip(told["networks"], each(runs)):
        assert one["name"] == name
        data = np.frombuffer(zlib.decompress(base64.b64decode(
            told["streams"][one["stream"]])), np.uint8).reshape(7, 14)
        steps = np.cumsum(data, axis=0, dtype=np.uint8)
        for epoch in range(7):
            norms = run.norms(k, epoch)
            for level in LEVELS:
                first = np.argmin(np.abs(edges - level)) + 1
                assert ((steps[epoch] < first) == (norms < level)).all()
            inside = steps[epoch] > 0
            lower = edges[steps[epoch][inside] - 1]
            assert (lower <= norms[inside] * (1 + 1e-5)).all()
            assert (norms[inside] < lower * 1.1).all()


# ---- the page in a browser -----------------------------------------------------------------------

PROBE = """<script>
const waiting = setInterval(() => {
  const map = document.getElementById("filter-map");
  if (!map.dataset.ready) return;
  clearInterval(waiting);
  const counts = () => [...map.querySelectorAll("canvas[role=img][aria-label*=' invalid']")].map(
    (one) => one.getAttribute("aria-label"));
  const slider = map.querySelector("input"), threshold = map.querySelector("select");
  const said = {width: innerWidth, ready: map.dataset.ready, last: counts()};
  slider.value = 2; slider.dispatchEvent(new Event("input"));
  requestAnimationFrame(() => {
    said.epoch = map.querySelector("output").textContent;
    said.second = counts();
    threshold.value = "1.0"; threshold.dispatchEvent(new Event("change"));
    said.underOne = counts();
    const canvas = map.querySelector("figure canvas");
    const box = canvas.getBoundingClientRect();
    canvas.dispatchEvent(new MouseEvent(
      "click", {clientX: box.right - 3, clientY: box.top + 10, bubbles: true}));
    said.history = map.querySelector("[data-part=history]").textContent;
    said.lines = map.querySelectorAll("[data-part=history] polyline").length;
    said.overflow = document.documentElement.scrollWidth - innerWidth;
    said.page = getComputedStyle(document.body).backgroundColor;
    const tick = document.querySelector("figure svg text");
    said.ink = getComputedStyle(tick).fill;
    said.figures = [...document.querySelectorAll("figure svg")].every(
      (svg) => svg.getBoundingClientRect().height > 100);
    said.resources = performance.getEntriesByType("resource").map((one) => one.name)
      .filter((name) => !name.startsWith("data:"));
    said.escaped = document.getElementById("escaped") !== null;
    const tops = new Map();  // of the rows of layers, by the line of panels
    for (const one of map.querySelectorAll("figure")) {
      const top = one.querySelector("canvas").getBoundingClientRect().top;
      tops.set(one.offsetTop, (tops.get(one.offsetTop) ?? new Set()).add(top));
    }
    said.aligned = [...tops.values()].every((one) => one.size === 1);
    said.across = new Set([...map.querySelectorAll("figure")].map((one) => one.offsetLeft)).size;
    parent.postMessage(said, "*");
  });
}, 50);
</script></body>"""

HARNESS = """<body>
<iframe src="page.html" width="1280" height="900"></iframe>
<iframe src="page.html" width="390" height="900"></iframe><script>
const said = [];
addEventListener("message", (event) => {
  if (said.push(event.data) === 2) fetch("/said", {method: "POST", body: JSON.stringify(said)});
});</script></body>"""


class Host(ThreadingHTTPServer):
    """Serves a page in two frames, and keeps what is asked for and what the frames said."""

    def __init__(self, page: str) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = {"/": HARNESS, "/page.html": page.replace("</body>", PROBE)}
        self.asked: list[str] = []
        self.said: queue.Queue[list[dict]] = queue.Queue()


class Handler(BaseHTTPRequestHandler):
    server: Host

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        self.send_response(200 if self.path in self.server.files else 404)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.end_headers()
        self.wfile.write(self.server.files.get(self.path, "").encode())

    def do_POST(self) -> None:
        text = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.end_headers()
        self.server.said.put(json.loads(text))

    def log_message(self, *_: object) -> None:
        pass


def browse(page: str, folder: Path, dark: bool = False) -> tuple[list[dict], list[str]]:
    """What a page, wide and narrow, says of itself, and what the browser complains of."""
    assert CHROMIUM, "these tests need a Chromium: apt-get install chromium"
    folder.mkdir()
    with Host(page) as host, open(folder / "log.txt", "w+") as log:
        Thread(target=host.serve_forever, daemon=True).start()
        browser = subprocess.Popen(
            [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
             "--no-first-run", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
             f"--user-data-dir={folder / 'profile'}", "--window-size=1400,2000",
             f"--blink-settings=preferredColorScheme={0 if dark else 1}",
             "--enable-logging=stderr", f"http://127.0.0.1:{host.server_port}/"],
            stdout=subprocess.DEVNULL, stderr=log)
        try:
            said = host.said.get(timeout=60)
        finally:
            browser.terminate()
            browser.wait(30)
            host.shutdown()
        assert set(host.asked) - {"/favicon.ico"} == {"/", "/page.html"}  # the frames' own page
        log.seek(0)
        return (sorted(said, key=lambda one: -one["width"]),
                [line for line in log if "CONSOLE" in line])


@pytest.fixture(scope="module", params=["light", "dark"])
def seen(request, written, tmp_path_factory):
    folder = tmp_path_factory.mktemp("browser") / request.param
    said, complaints = browse((written / "page.html").read_text(), folder, request.param == "dark")
    assert not complaints
    return request.param, said


def test_the_page_in_a_browser(runs, seen):
    scheme, both = seen
    assert [one["width"] for one in both] == [1280, 390]

    def counts(epoch: int, level: float) -> list[str]:
        found = []
        for name, run, k in each(runs):
            low = int((run.norms(k, epoch) < level).sum())
            found.append(f"{name} {low} of 14 invalid ({100 * low / 14:.{1 if low else 0}f} %)")
        return found

    for one in both:
        assert one["ready"] == "true" and one["figures"] and not one["escaped"]
        assert one["overflow"] <= 0 and one["resources"] == []
        assert one["last"] == counts(-1, 0.1)
        assert one["aligned"]
        assert one["epoch"] == "epoch 2" and one["second"] == counts(2, 0.1)
        assert one["underOne"] == counts(2, 1.0)
        assert "filter 5 of conv1.weight" in one["history"] and one["lines"] == 3
        page, ink = (
            sum(map(int, re.findall(r"\d+", one[name])[:3])) / 3 for name in ("page", "ink"))
        assert (page < 60 and ink > 180) if scheme == "dark" else (page > 240 and ink < 60)
    assert [one["across"] for one in both] == [3, 1]


def test_the_browser_would_complain_of_what_the_page_asked_of_a_network(written, tmp_path):
    page = (written / "page.html").read_text()
    for more in ('<img src="https://example.invalid/a.png">', "<script>throw 1</script>"):
        _, complaints = browse(page.replace("</main>", f"{more}</main>"), tmp_path / more[1:4])
        assert len(complaints) >= 2  # wide and narrow


def test_the_page_refers_to_nothing_outside(written):
    text = (written / "page.html").read_text()
    assert "default-src 'none'" in text
    for attribute in re.findall(r'(?:src|href)="([^"]*)"', text):
        assert attribute.startswith(("#", "data:")), attribute
    for run in ("train it", "seed", graft.__version__, np.__version__):
        assert run in text


# ---- what may be given ---------------------------------------------------------------------------


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(),
                         nn.Linear(4 * 36, 3))


def test_a_grafters_loop(tmp_path):
    networks = [network(seed) for seed in range(2)]
    recorder = graft.Recorder()
    grafter = graft.torch.Grafter(networks, recorder=recorder)
    for _ in range(3):
        grafter.step()
    graft.report(grafter, tmp_path / "page.html", tables=tmp_path)
    rows = json.loads((tmp_path / "numbers.json").read_text())["layers"]
    assert [row["norm_max"] for row in rows if row["layer"] == "0.weight"] == pytest.approx([
        one[0].weight.detach().abs().sum((1, 2, 3)).max().item() for one in networks])
    with pytest.raises(graft.InvalidArgumentError, match="no recorder"):
        graft.report(graft.torch.Grafter(networks), tmp_path / "page.html")


def test_what_a_watch_saw(tmp_path):
    """A unit that cannot fire, and the figures of it."""
    networks = [network(seed) for seed in range(2)]
    with torch.no_grad():
        networks[1][1].weight[0], networks[1][1].bias[0] = 0, -1
    recorder = graft.Recorder(watch=graft.torch.Watch(networks))
    for epoch in range(2):
        for one in networks:
            one(torch.randn(16, 1, 8, 8)).sum().backward()
        recorder.record(networks, epoch)
    graft.report(recorder, tmp_path / "page.html", tables=tmp_path, figures=tmp_path)
    numbers = json.loads((tmp_path / "numbers.json").read_text())
    assert [(row["network"], row["units"], row["silent"]) for row in numbers["activity"]] == [
        *[("network 0", 4, 0)] * 2, *[("network 1", 4, 1)] * 2]
    assert all(row["gradient_norm"] > 0 for row in numbers["gradients"])
    assert [row["under_0_01"] for row in numbers["scales"]] == [0, 1]
    assert {"silent.png", "saturated.png", "gradients.png"} <= set(os.listdir(tmp_path))
    assert "1 of 4" in (tmp_path / "page.html").read_text()


def test_checkpoints_modules_and_a_trainer(tmp_path):
    modules = {"first": network(1), "second": network(2)}
    for name, module in modules.items():
        torch.save(module.state_dict(), tmp_path / f"{name}.pt")
    data = graft.Dataset.from_arrays(
        np.random.default_rng(0).random((40, 1, 8, 8), np.float32), np.arange(40) % 2, 2)
    trainer = graft.Trainer(
        [graft.resnet(8, 2, (1, 8, 8), base_filters=4, seed=seed) for seed in range(2)], data,
        data, epochs=2, batch_size=20, threads=1, grafting=graft.Grafting())
    trainer.run()
    trainer.save(tmp_path / "checkpoint")
    found = {}
    for kind, given in {
            "files": [tmp_path / "first.pt", tmp_path / "second.pt"], "modules": modules,
            "trainer": trainer, "checkpoint": tmp_path / "checkpoint"}.items():
        graft.report(given, tmp_path / "page.html", tables=tmp_path / kind)
        found[kind] = json.loads((tmp_path / kind / "numbers.json").read_text())
    for name in ("cultivation", "norms", "layers"):
        assert [list(row.values())[1:] for row in found["files"][name]] == [
            list(row.values())[1:] for row in found["modules"][name]]
    assert [row["network"] for row in found["files"]["cultivation"]] == ["first", "second"]
    expected = [one.test_accuracy for one in trainer.run()]
    for kind in ("trainer", "checkpoint"):
        rows = [row for row in found[kind]["epochs"] if row["epoch"]]
        assert sorted(row["test_accuracy"] for row in rows) == pytest.approx(sorted(expected))
        assert sum(row["grafted"] for row in rows) == 4
    assert found["trainer"]["grafts"] == found["checkpoint"]["grafts"]


# ---- the command line ----------------------------------------------------------------------------


def command(folder: Path, *arguments: str, status: int = 0) -> str:
    result = subprocess.run([sys.executable, "-m", "graft", "report", *arguments], cwd=folder,
                            capture_output=True, text=True)
    assert result.returncode == status, result.stdout + result.stderr
    return result.stderr if status else result.stdout


def test_the_command_line(runs, tmp_path):
    for name, run in runs.items():
        run.recorder.save(tmp_path / f"{name}.npz")
    printed = command(
        tmp_path, "baseline.npz", "grafted.npz", "--html", "page.html", "--reference", "baseline",
        "--title", "Ours", "--tables", "tables", "--csv", "rows.csv", "--png", "map.png")
    assert printed.endswith("page.html\n")
    assert "<h1>Ours</h1>" in (tmp_path / "page.html").read_text()
    numbers = json.loads((tmp_path / "tables" / "numbers.json").read_text())
    for row, (_, run, k) in zip(numbers["cultivation"], each(runs)):
        invalid = runs["baseline"].norms(0) < 0.1
        assert row["invalid"] == pytest.approx(run.norms(k)[invalid].mean(), rel=1e-6)
    rows = list(csv.DictReader((tmp_path / "rows.csv").read_text().splitlines()))
    assert len(rows) == 6
    for network, row in zip((one for one in each(runs) for _ in SHAPES), rows):
        _, run, k = network
        norms = np.abs(run.states[-1][k][row["layer"]].astype(np.float64)).sum((1, 2, 3))
        assert int(row["invalid"]) == (norms < 0.1).sum()
        assert float(row["norm_mean"]) == pytest.approx(norms.mean(), rel=1e-6)
    assert (tmp_path / "map.png").read_bytes().startswith(b"\x89PNG")


def test_transposed_convolutions_of_files(tmp_path):
    for seed in range(2):
        torch.manual_seed(seed)
        torch.save({"up.weight": torch.randn(5, 3, 2, 2)}, tmp_path / f"{seed}.pt")
    command(tmp_path, "0.pt", "1.pt", "--html", "page.html", "--tables", ".", "--transposed", "up*")
    rows = json.loads((tmp_path / "numbers.json").read_text())["norms"]
    expected = [norm for seed in range(2) for norm in torch.load(
        tmp_path / f"{seed}.pt")["up.weight"].abs().sum((0, 2, 3)).tolist()]
    assert [row["norm"] for row in rows] == pytest.approx(expected, rel=1e-5)


def test_commands_that_are_refused(tmp_path):
    torch.save(network(1).state_dict(), tmp_path / "one.pt")
    assert "--html" in command(tmp_path, "one.pt", "--tables", "x", status=1)
    assert "reference is 'two'; allowed are 'one'" in command(
        tmp_path, "one.pt", "--html", "page.html", "--reference", "two", status=1)
    (tmp_path / "broken.npz").write_bytes(b"PK nothing")
    assert "no recording" in command(tmp_path, "broken.npz", status=1)
    assert "manifest.json" in command(tmp_path, ".", status=1)


# ---- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize("given, options, message", [
    ([], {}, "runs is empty"), (graft.Recorder(), {}, "nothing has been recorded"),
    ({"a": {"w": np.ones((2, 2, 3, 3), np.float32)}}, {"reference": "b"}, "reference is 'b'"),
    ({"w": np.ones((2, 2, 3, 3), np.float32)}, {"threshold": -1}, "threshold is -1"),
    ({"w": np.ones((2, 2, 3, 3), np.float32)}, {"threshold": math.nan}, "threshold is nan"),
    (3, {}, "models")])
def test_what_cannot_be_reported(given, options, message, tmp_path):
    with pytest.raises((graft.InvalidArgumentError, TypeError), match=message):
        graft.report(given, tmp_path / "page.html", **options)
    assert not (tmp_path / "page.html").exists()


def test_a_page_that_cannot_be_written_leaves_the_old_one(tmp_path):
    state = {"w": np.ones((2, 2, 3, 3), np.float32)}
    with pytest.raises(graft.FileError):
        graft.report(state, tmp_path / "none" / "page.html")


def test_importing_graft_does_not_import_what_draws():
    code = ("import sys, graft; graft.Recorder; "
            "assert not {'matplotlib', 'graft._page'} & set(sys.modules)")
    subprocess.run([sys.executable, "-c", code], check=True, env=dict(os.environ))
