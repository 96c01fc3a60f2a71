"use strict";
// What pages need of a script: times in the viewer's zone, dialogs, live parts, and the log-in with a link.

const zone = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

function showTimes(root) {
  for (const element of root.querySelectorAll("time[datetime]")) {
    const moment = new Date(element.dateTime);
    if (!Number.isNaN(moment.getTime())) element.textContent = zone.format(moment);
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

showTimes(document);
showCurrentPage();
document.addEventListener("htmx:after:swap", () => showTimes(document));
document.addEventListener("click", openDialogs);
document.addEventListener("click", copyField);
addEventListener("hashchange", useLink);
keepLive();
useLink();
