"use strict";
// Tables sort by the column whose heading is clicked; numbers by their full value.
for (const table of document.querySelectorAll("table")) {
  const body = table.tBodies[0];
  const value = (row, i) => {
    const cell = row.cells[i];
    return cell.dataset.value === undefined ? cell.textContent : Number(cell.dataset.value);
  };
  const sort = (heading, i) => {
    const up = heading.getAttribute("aria-sort") !== "ascending";
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", up ? "ascending" : "descending");
    const rows = [...body.rows].sort((a, b) => {
      const p = value(a, i), q = value(b, i);
      const order = typeof p === "number" && typeof q === "number" ? p - q : String(p).localeCompare(String(q));
      return up ? order : -order;
    });
    body.append(...rows);
  };
  [...table.tHead.rows[0].cells].forEach((heading, i) => {
    heading.addEventListener("click", () => sort(heading, i));
    heading.addEventListener("keydown", (event) => { if (event.key === "Enter") sort(heading, i); });
  });
}

// Charts: wheel zooms at the pointer, a drag zooms to a rectangle, a double click goes back, hover tells the point.
const WIDTH = 760, HEIGHT = 440, LEFT = 78, RIGHT = 14, TOP = 34, BOTTOM = 52, REACH = 12;
const node = (name, attributes, parent, text) => {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, given] of Object.entries(attributes)) made.setAttribute(key, given);
  if (text !== undefined) made.textContent = text;
  if (parent) parent.append(made);
  return made;
};
const short = (number) => {
  const size = Math.abs(number);
  return size !== 0 && (size >= 1e5 || size < 1e-3) ? number.toExponential(1).replace("e+", "e") : String(Number(number.toPrecision(4)));
};
const ticks = (low, high, log) => {
  const found = [];
  if (log && high - low > 0.7) {
    const steps = high - low > 2.5 ? [1] : [1, 2, 5];
    for (let decade = Math.floor(low); decade <= Math.ceil(high); decade += Math.ceil((high - low) / 8))
      for (const step of steps) {
        const place = decade + Math.log10(step);
        if (place >= low && place <= high) found.push([place, step * 10 ** decade]);
      }
    return found;
  }
  const [a, b] = log ? [10 ** low, 10 ** high] : [low, high];
  const raw = (b - a) / 6, power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((s) => s * power).find((s) => s >= raw);
  for (let at = Math.ceil(a / step) * step; at <= b + step * 1e-9; at += step) found.push([log ? Math.log10(at) : at, at]);
  return found;
};
const extent = (values) => {
  let low = Infinity, high = -Infinity;
  for (const v of values) { if (v < low) low = v; if (v > high) high = v; }
  if (low > high) return [0, 1];
  const room = (high - low || Math.abs(high) || 1) * 0.05;
  return [low - room, high + room];
};

for (const figure of document.querySelectorAll("figure.chart")) {
  const data = JSON.parse(figure.querySelector("script").textContent);
  const place = (v, axis) => (data.log[axis] ? Math.log10(v) : v);
  const points = data.series.flatMap((series, s) => series.points.map((p) => ({ s, x: place(p[0], 0), y: place(p[1], 1), text: p[2] })));
  const whole = [extent(points.map((p) => p.x)), extent(points.map((p) => p.y))];
  let view = whole.map((range) => [...range]);
  const svg = node("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": `${data.y} against ${data.x}` }, figure);
  const tip = document.createElement("div");
  tip.className = "tip";
  const hint = document.createElement("p");
  hint.className = "hint";
  hint.textContent = "wheel or drag: zoom; double click: all; pointer on a point: what it is";
  figure.append(tip, hint);
  const sx = (x) => LEFT + ((x - view[0][0]) / (view[0][1] - view[0][0])) * (WIDTH - LEFT - RIGHT);
  const sy = (y) => HEIGHT - BOTTOM - ((y - view[1][0]) / (view[1][1] - view[1][0])) * (HEIGHT - TOP - BOTTOM);
  const back = (px, py) => [
    view[0][0] + ((px - LEFT) / (WIDTH - LEFT - RIGHT)) * (view[0][1] - view[0][0]),
    view[1][0] + ((HEIGHT - BOTTOM - py) / (HEIGHT - TOP - BOTTOM)) * (view[1][1] - view[1][0]),
  ];
  const clip = `clip${Math.random().toString(36).slice(2)}`;
  const draw = () => {
    svg.replaceChildren();
    node("rect", { x: LEFT, y: TOP, width: WIDTH - LEFT - RIGHT, height: HEIGHT - TOP - BOTTOM },
      node("clipPath", { id: clip }, node("defs", {}, svg)));
    for (const [at, label] of ticks(...view[0], data.log[0])) {
      node("line", { class: "grid", x1: sx(at), x2: sx(at), y1: TOP, y2: HEIGHT - BOTTOM }, svg);
      node("text", { x: sx(at), y: HEIGHT - BOTTOM + 16, "text-anchor": "middle" }, svg, short(label));
    }
    for (const [at, label] of ticks(...view[1], data.log[1])) {
      node("line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: sy(at), y2: sy(at) }, svg);
      node("text", { x: LEFT - 6, y: sy(at) + 4, "text-anchor": "end" }, svg, short(label));
    }
    node("text", { x: (LEFT + WIDTH - RIGHT) / 2, y: HEIGHT - 12, "text-anchor": "middle" }, svg, data.x);
    node("text", { transform: `translate(16 ${(TOP + HEIGHT - BOTTOM) / 2}) rotate(-90)`, "text-anchor": "middle" }, svg, data.y);
    const inside = node("g", { "clip-path": `url(#${clip})` }, svg);
    data.series.forEach((series, s) => {
      const own = points.filter((p) => p.s === s);
      if (series.line) node("polyline", { points: own.map((p) => `${sx(p.x)},${sy(p.y)}`).join(" "), fill: "none", stroke: series.color }, inside);
      for (const p of own)
        if (p.x >= view[0][0] && p.x <= view[0][1] && p.y >= view[1][0] && p.y <= view[1][1])
          node("circle", { cx: sx(p.x), cy: sy(p.y), r: series.r, fill: series.color }, inside);
    });
    node("rect", { class: "frame", x: LEFT, y: TOP, width: WIDTH - LEFT - RIGHT, height: HEIGHT - TOP - BOTTOM }, svg);
    let left = LEFT;
    for (const series of data.series) {
      node("circle", { cx: left + 5, cy: 16, r: 5, fill: series.color }, svg);
      node("text", { x: left + 15, y: 20 }, svg, series.name);
      left += 35 + 7 * series.name.length;
    }
  };
  const pointer = (event) => {
    const box = svg.getBoundingClientRect();
    return [((event.clientX - box.left) / box.width) * WIDTH, ((event.clientY - box.top) / box.height) * HEIGHT];
  };
  let start = null, band = null;
  svg.addEventListener("wheel", (event) => {
    event.preventDefault();
    const at = back(...pointer(event)), factor = event.deltaY < 0 ? 0.8 : 1.25;
    view = view.map(([low, high], i) => [at[i] - (at[i] - low) * factor, at[i] + (high - at[i]) * factor]);
    draw();
  }, { passive: false });
  svg.addEventListener("dblclick", () => { view = whole.map((range) => [...range]); draw(); });
  svg.addEventListener("pointerdown", (event) => { start = pointer(event); svg.setPointerCapture(event.pointerId); });
  svg.addEventListener("pointerup", (event) => {
    const end = pointer(event);
    if (band) { band.remove(); band = null; }
    if (start && Math.abs(end[0] - start[0]) > 6 && Math.abs(end[1] - start[1]) > 6) {
      const a = back(...start), b = back(...end);
      view = [0, 1].map((i) => [Math.min(a[i], b[i]), Math.max(a[i], b[i])]);
      draw();
    }
    start = null;
  });
  svg.addEventListener("pointermove", (event) => {
    const [px, py] = pointer(event);
    if (start) {
      if (!band) band = node("rect", { class: "drag" }, svg);
      band.setAttribute("x", Math.min(px, start[0]));
      band.setAttribute("y", Math.min(py, start[1]));
      band.setAttribute("width", Math.abs(px - start[0]));
      band.setAttribute("height", Math.abs(py - start[1]));
      return;
    }
    let best = null, distance = REACH;
    for (const p of points) {
      const d = Math.hypot(sx(p.x) - px, sy(p.y) - py);
      if (d <= distance) { best = p; distance = d; }
    }
    tip.style.display = best ? "block" : "none";
    if (!best) return;
    tip.textContent = best.text;
    const box = svg.getBoundingClientRect(), scale = box.width / WIDTH;
    const right = sx(best.x) > WIDTH * 0.6;
    tip.style.left = right ? "" : `${sx(best.x) * scale + 12}px`;
    tip.style.right = right ? `${box.width - sx(best.x) * scale + 12}px` : "";
    tip.style.top = `${sy(best.y) * scale + 8}px`;
  });
  svg.addEventListener("pointerleave", () => { tip.style.display = "none"; });
  draw();
}
