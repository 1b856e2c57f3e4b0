// Refinements only: every page works without this file.
"use strict";

// A menu of actions closes when one looks elsewhere.
document.addEventListener("click", (event) => {
  for (const open of document.querySelectorAll("details.action[open]")) {
    if (!open.contains(event.target)) open.removeAttribute("open");
  }
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  for (const open of document.querySelectorAll("details.action[open], details.switcher[open]")) {
    open.removeAttribute("open");
    open.querySelector("summary").focus();
  }
});

// Where there is room the menu stands open; on a phone it is closed until asked for.
const menu = document.querySelector("details.menu");
if (menu) {
  const narrow = matchMedia("(max-width: 52rem)");
  const fit = () => { menu.open = !narrow.matches; };
  narrow.addEventListener("change", fit);
  fit();
}

// A part of a page that asks for itself again every few seconds, while it is looked at.
for (const part of document.querySelectorAll("[data-refresh]")) {
  const again = async () => {
    if (!document.hidden && part.dataset.paused !== "yes") {
      try {
        const answer = await fetch(part.dataset.refresh, { credentials: "same-origin", headers: { accept: "text/html" } });
        if (answer.ok) {
          const page = new DOMParser().parseFromString(await answer.text(), "text/html");
          const fresh = page.getElementById(part.id);
          if (fresh && fresh.innerHTML !== part.innerHTML) part.replaceChildren(...fresh.childNodes);
        }
      } catch { /* the next round may reach the server again */ }
    }
    setTimeout(again, 2000);
  };
  setTimeout(again, 2000);
}
for (const button of document.querySelectorAll("button[data-pauses]")) {
  button.hidden = false;
  button.addEventListener("click", () => {
    const part = document.getElementById(button.dataset.pauses);
    const paused = part.dataset.paused !== "yes";
    part.dataset.paused = paused ? "yes" : "no";
    button.setAttribute("aria-pressed", String(paused));
    button.textContent = paused ? "Resume" : "Pause";
  });
}

// A word before what cannot be undone.
for (const form of document.querySelectorAll("form[data-confirm]")) {
  form.addEventListener("submit", (event) => {
    if (!confirm(form.dataset.confirm)) event.preventDefault();
  });
}
