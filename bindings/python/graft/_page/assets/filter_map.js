// The filter map: a row for each layer, a cell for each filter, coloured by its l1 norm; invalid
// ones black; networks side by side; a slider over the epochs. No library wraps long rows or goes
// through millions of cells at a slider's pace, so it is drawn here.
"use strict";

(() => {
  const root = document.getElementById("filter-map");
  const source = document.getElementById("filter-map-data");
  if (!root || !source) return;
  const told = JSON.parse(source.textContent);
  const epochs = [...new Set(told.networks.flatMap((one) => one.epochs))].sort((a, b) => a - b);
  const find = (name) => root.querySelector(`[data-part="${name}"]`);
  const state = { epoch: epochs.length - 1, threshold: told.threshold, chosen: null, timer: 0 };

  // viridis, without its darkest end: invalid filters are black.
  const STOPS = [
    [65, 68, 135], [52, 94, 141], [41, 120, 142], [32, 144, 140], [34, 167, 132], [68, 190, 112],
    [121, 209, 81], [189, 222, 38], [253, 231, 37]];

  function colour(share) {
    const at = Math.min(Math.max(share, 0), 1) * (STOPS.length - 1);
    const low = Math.min(Math.floor(at), STOPS.length - 2);
    return STOPS[low].map((v, i) => Math.round(v + (STOPS[low + 1][i] - v) * (at - low)));
  }

  // Step s lies between edges[s - 1] and edges[s]; its middle stands for it.
  const middle = (step) => step === 0 ? 0 : step >= told.edges.length
    ? told.edges[told.edges.length - 1]
    : Math.sqrt(told.edges[step - 1] * told.edges[step]);
  // Steps of filters that are valid: those from the edge at the threshold on.
  const firstValid = () => told.edges.findIndex(
    (edge) => edge >= state.threshold * (1 - 1e-5)) + 1;

  async function inflate(text) {
    const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  }

  // Differences become values; each network's data is a block for each of its epochs.
  async function unpack(text, count) {
    const data = await inflate(text);
    for (let i = count; i < data.length; ++i) data[i] = (data[i] + data[i - count]) & 255;
    return data;
  }

  class Panel {
    constructor(network, data) {
      this.network = network;
      this.data = data;
      this.layers = told.structures[network.structure];
      this.count = this.layers.reduce((sum, [, filters]) => sum + filters, 0);
      this.figure = document.createElement("figure");
      this.caption = document.createElement("figcaption");
      this.canvas = document.createElement("canvas");
      this.canvas.setAttribute("role", "img");
      this.figure.append(this.caption, this.canvas);
      this.canvas.addEventListener("pointermove", (event) => this.hover(event));
      this.canvas.addEventListener("pointerleave", () => { tooltip.hidden = true; });
      this.canvas.addEventListener("click", (event) => this.choose(event));
    }

    // The bytes of the last epoch at or before the one shown; the first one's where none is.
    block() {
      let at = 0;
      this.network.epochs.forEach((epoch, i) => { if (epoch <= epochs[state.epoch]) at = i; });
      return this.data.subarray(at * this.count, (at + 1) * this.count);
    }

    layOut(width, labelled) {
      const label = labelled ? Math.min(150, Math.round(width * 0.34)) : 0;
      this.left = label;
      const inner = Math.max(width - label, 60);
      const most = Math.max(16, Math.floor(inner / 3.5));
      this.rows = [];
      let lines = 0;
      let offset = 0;
      for (const [name, filters] of this.layers) {
        const each = Math.min(filters, most);
        const tall = Math.ceil(filters / each);
        this.rows.push({ name, filters, each, tall, line: lines, offset });
        lines += tall;
        offset += filters;
      }
      const gap = lines > 150 ? 1 : 2;
      const room = lines > 150 ? 820 : 620;
      this.line = Math.max(4, Math.min(22, Math.floor((room - gap * this.rows.length) / lines)));
      let y = 6;  // half of the first label's height
      for (const row of this.rows) {
        row.y = y;
        y += row.tall * this.line + gap;
      }
      this.inner = inner;
      this.size(width, y + 1);
    }

    size(width, height) {
      const ratio = window.devicePixelRatio || 1;
      this.canvas.style.width = `${width}px`;
      this.canvas.style.height = `${height}px`;
      this.canvas.width = Math.round(width * ratio);
      this.canvas.height = Math.round(height * ratio);
      this.ratio = ratio;
    }

    draw(palette, first, ink) {
      const bytes = this.block();
      const context = this.canvas.getContext("2d");
      context.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
      context.clearRect(0, 0, this.canvas.width, this.canvas.height);
      const behind = getComputedStyle(root).getPropertyValue("--no-cell").trim();
      let invalid = 0;
      for (const row of this.rows) {
        const cell = this.inner / row.each;
        const space = cell > 6 ? 1 : 0;
        // Between rows and where one ends is no black filter, on a dark page either.
        context.fillStyle = behind;
        context.fillRect(this.left, row.y - 2, this.inner, row.tall * this.line + 4);
        for (let j = 0; j < row.filters; ++j) {
          const step = bytes[row.offset + j];
          if (step < first) ++invalid;
          const x = this.left + (j % row.each) * cell;
          const right = this.left + (j % row.each + 1) * cell - space;
          const y = row.y + Math.floor(j / row.each) * this.line;
          // Whole pixels: no seams between neighbours.
          const from = Math.round(x * this.ratio) / this.ratio;
          context.fillStyle = step < first ? "#000" : palette[step];
          context.fillRect(from, y, Math.round(right * this.ratio) / this.ratio - from, this.line);
        }
      }
      if (this.left) this.label(context, ink);
      if (state.chosen) this.mark(context, ink);
      const share = (100 * invalid / this.count).toFixed(invalid ? 1 : 0);
      this.caption.innerHTML = "";
      const strong = document.createElement("strong");
      strong.textContent = this.network.name;
      this.caption.append(strong, ` ${invalid} of ${this.count} invalid (${share} %)`);
      this.canvas.setAttribute("aria-label", this.caption.textContent);
    }

    label(context, ink) {
      context.font = `11px ${getComputedStyle(root).fontFamily}`;
      context.fillStyle = ink;
      context.textBaseline = "middle";
      context.textAlign = "right";
      let free = -Infinity;
      for (const row of this.rows) {
        const y = row.y + row.tall * this.line / 2;
        if (y - free < 12) continue;
        free = y;
        context.fillText(fit(context, short(row.name), this.left - 8), this.left - 6, y);
      }
    }

    mark(context, ink) {
      const { layer, filter } = state.chosen;
      const row = this.rows[layer];
      if (!row || filter >= row.filters) return;
      const cell = this.inner / row.each;
      context.strokeStyle = ink;
      context.lineWidth = 2;
      context.strokeRect(
        this.left + (filter % row.each) * cell - 1,
        row.y + Math.floor(filter / row.each) * this.line - 1, Math.max(cell, 3) + 1,
        this.line + 2);
    }

    at(event) {
      const x = event.offsetX - this.left;
      const y = event.offsetY;
      if (x < 0) return null;
      const layer = this.rows.findIndex((row) => y >= row.y && y < row.y + row.tall * this.line);
      if (layer < 0) return null;
      const row = this.rows[layer];
      const filter = Math.floor((y - row.y) / this.line) * row.each +
        Math.floor(x / (this.inner / row.each));
      return filter < row.filters ? { layer, filter, row } : null;
    }

    hover(event) {
      const place = this.at(event);
      tooltip.hidden = !place;
      if (!place) return;
      const step = this.block()[place.row.offset + place.filter];
      tooltip.textContent = `${place.row.name}, filter ${place.filter}: ${norm(step)}` +
        (step < firstValid() ? ", invalid" : "");
      const box = root.getBoundingClientRect();
      const left = Math.min(
        event.clientX - box.left + 12, root.clientWidth - tooltip.offsetWidth - 4);
      tooltip.style.left = `${Math.max(left, 0)}px`;
      tooltip.style.top = `${event.clientY - box.top + 16}px`;
    }

    choose(event) {
      state.chosen = this.at(event);
      draw();
    }

    // A filter's steps over this network's epochs; null where it has no such filter.
    history({ layer, filter, row }) {
      const own = this.rows[layer];
      if (!own || own.name !== row.name || filter >= own.filters) return null;
      return this.network.epochs.map((_, i) => this.data[i * this.count + own.offset + filter]);
    }
  }

  const norm = (step) => step === 0 ? "l1 norm under 0.0001"
    : `l1 norm about ${Number(middle(step).toPrecision(2))}`;
  const short = (name) => name.replace(/\.(weight|kernel)$/, "").replace(/^layer(?=\d)/, "");

  function fit(context, text, width) {
    if (context.measureText(text).width <= width) return text;
    while (text.length > 1 && context.measureText(`…${text}`).width > width) text = text.slice(1);
    return `…${text}`;
  }

  const tooltip = find("tooltip");
  const slider = find("slider");
  const play = find("play");
  const panels = [];
  let palette = [];

  function paint() {
    const first = Math.max(firstValid(), 1);
    // From the threshold to the largest norm that occurs.
    const low = Math.log10(Math.max(state.threshold, 1e-4));
    const high = Math.max(Math.log10(middle(largest)), low + 0.1);
    palette = Array.from({ length: 256 }, (_, step) => step < first ? "#000"
      : `rgb(${colour((Math.log10(Math.max(middle(step), 1e-9)) - low) / (high - low))})`);
    scale(low, high);
  }

  // The colour bar, with ticks at 1, 2 and 5 of each decade where there is room.
  function scale(low, high) {
    const canvas = find("scale");
    const width = Math.min(320, root.clientWidth - 20);
    const ratio = window.devicePixelRatio || 1;
    canvas.style.width = `${width}px`;
    canvas.width = width * ratio;
    canvas.height = 34 * ratio;
    canvas.style.height = "34px";
    const context = canvas.getContext("2d");
    context.scale(ratio, ratio);
    const [left, right] = [12, width - 18];
    for (let x = left; x < right; ++x) {
      context.fillStyle = `rgb(${colour((x - left) / (right - left))})`;
      context.fillRect(x, 2, 1.5, 12);
    }
    context.fillStyle = getComputedStyle(root).color;
    context.font = `11px ${getComputedStyle(root).fontFamily}`;
    context.textAlign = "center";
    let free = -Infinity;
    for (let power = -4; power < 6; ++power) {
      for (const digit of [1, 2, 5]) {
        const value = digit * 10 ** power;
        const x = left + (Math.log10(value) - low) / (high - low) * (right - left);
        if (x < left - 1 || x > right + 1 || x - free < 34) continue;
        free = x;
        context.fillRect(Math.round(x), 14, 1, 4);
        context.fillText(String(Number(value.toPrecision(1))), x, 29);
      }
    }
  }

  // The chosen filter's norm over the epochs, a line for each network.
  function drawHistory() {
    const box = find("history");
    box.hidden = !state.chosen || epochs.length < 2;
    if (box.hidden) return;
    const { row, filter } = state.chosen;
    const lines = panels.map((panel) => [panel, panel.history(state.chosen)])
      .filter(([, steps]) => steps);
    const [width, height, left, bottom] = [Math.min(root.clientWidth, 640), 150, 44, 22];
    const span = Math.max(epochs[epochs.length - 1] - epochs[0], 1);
    const log = (value) => Math.log10(Math.max(value, 1e-4));
    const top = Math.max(...lines.flatMap(([, steps]) => steps.map((s) => log(middle(s)))), 0);
    const x = (epoch) => left + (epoch - epochs[0]) / span * (width - left - 12);
    const y = (value) => 8 + (top - log(value)) / (top + 4) * (height - bottom - 8);
    const parts = [];
    for (let power = -4; power <= top; ++power) {
      parts.push(`<line class="grid" x1="${left}" x2="${width - 12}" y1="${y(10 ** power)}"
        y2="${y(10 ** power)}"/><text x="${left - 5}" y="${y(10 ** power) + 4}"
        text-anchor="end">${Number((10 ** power).toPrecision(1))}</text>`);
    }
    parts.push(`<line class="limit" x1="${left}" x2="${width - 12}" y1="${y(state.threshold)}"
      y2="${y(state.threshold)}"/>`);
    parts.push(`<text x="${left}" y="${height - 4}">${epochs[0]}</text><text x="${width - 12}"
      y="${height - 4}" text-anchor="end">epoch ${epochs[epochs.length - 1]}</text>`);
    lines.forEach(([panel, steps]) => {
      const points = steps.map((s, i) => `${x(panel.network.epochs[i])},${y(middle(s))}`);
      const style = told.networks.indexOf(panel.network);
      parts.push(`<polyline style="stroke:${told.colours[style]};stroke-dasharray:${
        told.dashes[style]}" points="${points.join(" ")}"/>`);
    });
    box.innerHTML = `<p></p><svg viewBox="0 0 ${width} ${height}" width="${width}"
      height="${height}">${parts.join("")}</svg>`;
    box.firstChild.textContent = `l1 norm of filter ${filter} of ${row.name} over the epochs: ` +
      lines.map(([panel]) => panel.network.name).join(", ");
  }

  function draw() {
    const ink = getComputedStyle(root).color;
    const first = Math.max(firstValid(), 1);
    for (const panel of panels) panel.draw(palette, first, ink);
    if (slider) {
      slider.value = state.epoch;
      find("epoch").textContent = epochs[state.epoch];
    }
    drawHistory();
  }

  function layOut() {
    const width = root.clientWidth;
    // As many side by side as have room (230 points each, and the labels once a line of panels),
    // on lines of equal length where they need several.
    const room = Math.max(1, Math.min(panels.length, Math.floor((width - 90) / 230)));
    const across = Math.ceil(panels.length / Math.ceil(panels.length / room));
    const gap = 14;
    const labels = Math.min(150, Math.round(width * 0.2));
    const each = Math.floor((width - labels - gap * (across - 1)) / across);
    panels.forEach((panel, i) => {
      const labelled = i % across === 0 ||
        panel.network.structure !== panels[i - 1].network.structure;
      panel.layOut(labelled && i % across === 0 ? each + labels : each, labelled);
      panel.figure.style.width = panel.canvas.style.width;
    });
    paint();
    draw();
    alignCaptions();
  }

  /** Rows of layers stand side by side whatever the lengths of the names above them. */
  function alignCaptions() {
    for (const { caption } of panels) caption.style.minHeight = "";
    const highest = Math.max(0, ...panels.map(({ caption }) => caption.offsetHeight));
    for (const { caption } of panels) caption.style.minHeight = `${highest}px`;
  }

  let largest = 1;
  let width = 0;

  async function start() {
    const counts = told.networks.map((one) => told.structures[one.structure].reduce(
      (sum, [, filters]) => sum + filters, 0));
    const streams = await Promise.all(told.streams.map((text, i) => unpack(
      text, counts[told.networks.findIndex((one) => one.stream === i)])));
    for (const data of streams) for (const step of data) if (step > largest) largest = step;
    for (const network of told.networks) {
      panels.push(new Panel(network, streams[network.stream]));
      find("panels").append(panels[panels.length - 1].figure);
    }
    find("threshold").value = String(state.threshold);
    find("threshold").addEventListener("change", (event) => {
      state.threshold = Number(event.target.value);
      paint();
      draw();
    });
    if (epochs.length > 1) {
      slider.max = epochs.length - 1;
      slider.addEventListener("input", () => {
        state.epoch = Number(slider.value);
        requestAnimationFrame(draw);
      });
      play.addEventListener("click", toggle);
    } else {
      find("time").hidden = true;
    }
    new ResizeObserver(() => {
      if (root.clientWidth !== width) {
        width = root.clientWidth;
        layOut();
      }
    }).observe(root);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", layOut);
    width = root.clientWidth;
    layOut();
    root.dataset.ready = "true";
  }

  function toggle() {
    const stop = () => {
      clearInterval(state.timer);
      state.timer = 0;
      play.textContent = "▶ play";
    };
    if (state.timer) return stop();
    if (state.epoch === epochs.length - 1) state.epoch = 0;
    play.textContent = "❚❚ pause";
    state.timer = setInterval(() => {
      if (state.epoch === epochs.length - 1) return stop();
      ++state.epoch;
      draw();
    }, Math.max(40, Math.min(250, 12000 / epochs.length)));
  }

  start();
})();
