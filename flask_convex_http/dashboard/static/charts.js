"use strict";
// Draw each element with `data-chart` from its table, which has the same numbers for people who do not see the chart.

function numbersOf(table) {
  const rows = [...table.tBodies[0].rows];
  const value = (cell) => (cell.dataset.value === "" ? null : Number(cell.dataset.value));
  return [...table.tHead.rows[0].cells].map((_, column) => rows.map((row) => value(row.cells[column])));
}

// A value without neighbors has no line, so it gets a point.
function alone(plot, line) {
  const values = plot.data[line];
  const has = (place) => values[place] !== null && values[place] !== undefined;
  return [...values.keys()].filter((place) => has(place) && !has(place - 1) && !has(place + 1));
}

function draw(figure) {
  const place = figure.querySelector("div.plot");
  if (!place) return;
  const table = figure.querySelector("details table");
  const style = getComputedStyle(document.documentElement);
  const color = (name) => style.getPropertyValue(name).trim();
  const lines = [...table.tHead.rows[0].cells].slice(1).map((cell) => cell.textContent.trim());
  const grid = { stroke: color("--line"), width: 1 };
  const number = new Intl.NumberFormat(undefined, { maximumFractionDigits: 2 });
  const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
  const shown = (plot, value) => (value === null || value === undefined ? "–" : number.format(value));
  const axis = { stroke: color("--quiet"), grid, ticks: grid };
  const series = lines.map((label, index) => ({ label, stroke: color(`--chart-${index + 1}`), width: 2, points: { size: 5, filter: alone }, value: shown }));
  const options = {
    width: place.clientWidth,
    height: 180,
    series: [{ label: "Time", value: (plot, value) => (value ? clock.format(value * 1000) : "–") }, ...series],
    axes: [{ ...axis, values: (plot, times) => times.map((time) => clock.format(time * 1000)) }, { ...axis, size: 60 }],
    scales: { y: { range: (plot, low, high) => [0, high > 0 ? high * 1.1 : 1] } },
    cursor: { y: false },
  };
  place.replaceChildren();
  const plot = new uPlot(options, numbersOf(table), place);
  new ResizeObserver(() => plot.setSize({ width: place.clientWidth, height: 180 })).observe(place);
}

function drawAll() {
  document.querySelectorAll("[data-chart]").forEach(draw);
}

drawAll();
document.addEventListener("htmx:after:swap", drawAll);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
