"use strict";
// What pages need of a script: times in the viewer's zone, tables on a phone, dialogs, live parts, and the log-in with a link.

const parts = { month: "short", day: "numeric", hour: "numeric", minute: "2-digit", second: "2-digit" };
const thisYear = new Intl.DateTimeFormat(undefined, parts);
const anyYear = new Intl.DateTimeFormat(undefined, { ...parts, year: "numeric" });

function showTimes() {
  const year = new Date().getFullYear();
  for (const element of document.querySelectorAll("time[datetime]")) {
    const moment = new Date(element.dateTime);
    if (Number.isNaN(moment.getTime())) continue;
    element.textContent = (moment.getFullYear() === year ? thisYear : anyYear).format(moment);
  }
}

// On a phone the rows of a table become blocks of lines, each with its heading. The roles stay those of a table.
function stackTables() {
  for (const table of document.querySelectorAll(".scroll:not(.wide, .stacked) > table")) {
    const headings = [...table.tHead.rows[0].cells].map((cell) => cell.textContent.trim());
    table.setAttribute("role", "table");
    for (const group of [table.tHead, ...table.tBodies]) group.setAttribute("role", "rowgroup");
    for (const row of table.rows) {
      row.setAttribute("role", "row");
      [...row.cells].forEach((cell, column) => {
        cell.setAttribute("role", { col: "columnheader", row: "rowheader" }[cell.scope] ?? "cell");
        cell.dataset.label = headings[column];
        cell.classList.toggle("blank", !cell.textContent.trim());
      });
    }
    table.parentElement.classList.add("stacked");
  }
}

// Buttons with the attribute `command`, for browsers that do not know it.
function openDialogs(event) {
  const button = event.target.closest("button[commandfor]");
  if (!button || "commandForElement" in HTMLButtonElement.prototype) return;
  const dialog = document.getElementById(button.getAttribute("commandfor"));
  if (button.getAttribute("command") === "show-modal") dialog.showModal();
  else dialog.close();
}

// A button with `data-copy` copies the field with that id.
function copyField(event) {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const field = document.getElementById(button.dataset.copy);
  field.select();
  if (navigator.clipboard) navigator.clipboard.writeText(field.value);
  else document.execCommand("copy"); // without https
  button.textContent = "Copied";
}

// Elements with `data-live` (seconds) are loaded again while somebody can see them and does not use them.
function keepLive() {
  let second = 0;
  setInterval(() => {
    second += 1;
    if (document.hidden || document.querySelector("dialog[open]")) return;
    for (const element of document.querySelectorAll("[data-live]")) {
      const isOpen = element.querySelector("details[open]");
      const isUsed = isOpen || element.contains(document.activeElement) || element.contains(getSelection().anchorNode);
      if (second % Number(element.dataset.live) === 0 && !isUsed) htmx.trigger(element, "refresh");
    }
  }, 1000);
}

// A link of `flask convex dashboard` has its code in the fragment, which no server and no log sees.
function useLink() {
  const form = document.getElementById("login");
  const code = location.hash.slice(1);
  if (!code.startsWith("dashboard_")) return;
  history.replaceState(null, "", location.pathname + location.search);
  if (!form) return; // somebody is logged in
  form.elements.credential.value = code;
  form.requestSubmit();
}

// On a phone the navigation scrolls sideways.
function showCurrentPage() {
  const link = document.querySelector("nav a[aria-current]");
  const list = link?.closest("ul");
  if (list) list.scrollLeft = link.offsetLeft - (list.clientWidth - link.offsetWidth) / 2;
}

function arrange() {
  showTimes();
  stackTables();
}

arrange();
showCurrentPage();
document.addEventListener("htmx:after:swap", arrange);
document.addEventListener("click", openDialogs);
document.addEventListener("click", copyField);
addEventListener("hashchange", useLink);
keepLive();
useLink();
