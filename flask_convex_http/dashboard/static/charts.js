"use strict";
// Draw each element with `data-chart` from its table, which has the same numbers for people who do not see the chart.

function numbersOf(table) {
  const rows = [...table.tBodies[0].rows];
  const value = (cell) => (cell.dataset.value === "" ? null : Number(cell.dataset.value));
  return [...table.tHead.rows[0].cells].map((_, column) => rows.map((row) => value(row.cells[column])));
}

function draw(figure) {
  const place = figure.querySelector("div.plot");
  if (!place) return;
  const table = figure.querySelector("details table");
  const style = getComputedStyle(document.documentElement);
  const color = (name) => style.getPropertyValue(name).trim();
  const lines = [...table.tHead.rows[0].cells].slice(1).map((cell) => cell.textContent.trim());
  const grid = { stroke: color("--line"), width: 1 };
  const axis = { stroke: color("--quiet"), grid, ticks: grid };
  const series = lines.map((label, index) => ({ label, stroke: color(`--chart-${index + 1}`), width: 2, points: { show: true, size: 4 } }));
  const options = {
    width: place.clientWidth,
    height: 180,
    series: [{}, ...series],
    axes: [axis, { ...axis, size: 60 }],
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
