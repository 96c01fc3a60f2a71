"use strict";
// Draw each element with `data-chart` from the table beside it, which has the same numbers for screen readers.

function numbersOf(table) {
  const rows = [...table.tBodies[0].rows];
  return [...table.tHead.rows[0].cells].map((_, column) => rows.map((row) => Number(row.cells[column].dataset.value)));
}

function draw(figure) {
  const table = figure.querySelector("table");
  const style = getComputedStyle(document.documentElement);
  const color = (name) => style.getPropertyValue(name).trim();
  const names = [...table.tHead.rows[0].cells].map((cell) => cell.textContent.trim());
  const axis = { stroke: color("--quiet"), grid: { stroke: color("--line"), width: 1 }, ticks: { stroke: color("--line") } };
  const place = figure.querySelector(".plot");
  place.replaceChildren();
  const series = names.map((label, index) =>
    index === 0 ? {} : { label, stroke: color(`--chart-${index}`), width: 2, points: { show: false } }
  );
  const size = { width: place.clientWidth, height: 176 };
  const plot = new uPlot({ ...size, series, axes: [axis, { ...axis, size: 56 }], legend: { show: names.length > 2 } }, numbersOf(table), place);
  new ResizeObserver(() => plot.setSize({ width: place.clientWidth, height: 176 })).observe(place);
}

function drawAll() {
  for (const figure of document.querySelectorAll("[data-chart]")) draw(figure);
}

drawAll();
document.addEventListener("htmx:after:swap", drawAll);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
