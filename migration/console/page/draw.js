"use strict";
// Small pieces that the page is drawn with. Text goes in as text only, never as markup.

const SVG = "http://www.w3.org/2000/svg";

function make(name, attributes, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) {
    if (value !== null && value !== undefined) node.setAttribute(key, value);
  }
  node.append(...children.map((child) => (child === null || child === undefined ? "" : child)));
  return node;
}

function drawn(name, attributes, text) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== undefined) node.textContent = text;
  return node;
}

// Text that is drawn again would be read aloud again.
function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

// A part is drawn anew only when what it shows has changed: who stands in it with the keyboard, or has scrolled it, stays there.
const shown = new WeakMap();
function renew(place, told, draw) {
  const text = JSON.stringify(told);
  if (shown.get(place) === text) return;
  shown.set(place, text);
  const before = place.querySelector(".scroll"), at = before ? [before.scrollLeft, before.scrollTop] : null;
  const here = before !== null && before === document.activeElement;
  place.replaceChildren(...draw());
  const after = place.querySelector(".scroll");
  if (at === null || after === null) return;
  if (here) after.focus({ preventScroll: true });
  after.scrollTo(...at);
}

function number(value, digits = 0) {
  if (value === null || value === undefined) return "–";
  return Number(value).toLocaleString("en", { maximumFractionDigits: digits });
}

function bytes(value) {
  if (value === null || value === undefined) return "–";
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  for (value = Number(value); value >= 1000 && unit < 4; value /= 1000) unit += 1;
  return `${number(value, 1)} ${units[unit]}`;
}

function span(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}

function clock(at) {
  return new Date(at * 1000).toLocaleTimeString("en-GB");
}

function tiles(list, pairs) {
  list.replaceChildren(...pairs.map(([name, value, kind]) =>
    make("div", {}, make("dt", {}, name), make("dd", { class: kind }, value))));
}

function table(names, rows, label) {
  const head = make("tr", {}, ...names.map(([name, kind]) => make("th", { scope: "col", class: kind }, name)));
  const body = rows.map((row) => make("tr", { class: row.kind },
    ...row.cells.map((cell, n) => make("td", { class: names[n][1] }, cell))));
  return make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": label },
    make("table", {}, make("thead", {}, head), make("tbody", {}, ...body)));
}

// A chart of the last hour: one or two lines, or dots; points are [seconds since 1970, value, value].
function chart(place, points, names, { unit = "", digits = 0, dots = false } = {}) {
  const width = 560, height = 150, left = 4, right = 4, top = 16, bottom = 20;
  const now = points.length ? points[points.length - 1][0] : Date.now() / 1000;
  const first = Math.min(points.length ? points[0][0] : now - 60, now - 60);
  const values = points.flatMap((point) => point.slice(1)).filter((value) => value !== null);
  const most = Math.max(1, ...values) * 1.08;
  const x = (at) => left + ((at - first) / (now - first)) * (width - left - right);
  const y = (value) => height - bottom - (value / most) * (height - top - bottom);
  const told_by = dots ? points.findLast((point) => point[1] !== null) : points[points.length - 1]; // of a line, what is so now
  const last = (n) => (told_by ? told_by[n] : null);
  const told = names.map((name, n) => `${name} ${number(last(n + 1), digits)}${unit}`).join(", ");
  const picture = drawn("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", preserveAspectRatio: "none",
    "aria-label": `The last ${span(now - first)}: now ${told}, at most ${number(Math.max(0, ...values), digits)}${unit}` });
  picture.setAttribute("preserveAspectRatio", "xMidYMid meet");
  for (const share of [0, 0.5, 1]) {
    const at = y((most / 1.08) * share);
    picture.append(drawn("line", { class: "grid", x1: left, x2: width - right, y1: at, y2: at }));
    picture.append(drawn("text", { x: left, y: at - 3 }, `${number((most / 1.08) * share, most < 10 ? 1 : 0)}${unit}`));
  }
  picture.append(drawn("text", { x: left, y: height - 5 }, clock(first)));
  picture.append(drawn("text", { x: width - right, y: height - 5, "text-anchor": "end" }, clock(now)));
  names.forEach((name, n) => {
    const kind = n ? "two" : "one";
    if (dots) {
      for (const point of points) {
        if (point[n + 1] !== null) picture.append(drawn("circle", { class: "dot", cx: x(point[0]), cy: y(point[n + 1]), r: 5 }));
      }
      return;
    }
    let path = "", pen = "M";
    for (const point of points) {
      if (point[n + 1] === null) { pen = "M"; continue; }
      path += `${pen}${x(point[0]).toFixed(1)} ${y(point[n + 1]).toFixed(1)}`;
      pen = "L";
    }
    picture.append(drawn("path", { class: `line ${kind}`, d: path || "M0 0" }));
  });
  const legend = make("p", { class: "legend", "aria-hidden": "true" }, ...names.map((name, n) =>
    make("span", { class: n ? "two" : "one" }, `${name} `, make("b", {}, `${number(last(n + 1), digits)}${unit}`))));
  place.replaceChildren(legend, picture);
}
