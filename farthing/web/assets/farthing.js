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

// The search over any page: "/" and Ctrl-K open it, arrows go through what it found, Escape closes it.
const searchLink = document.querySelector("a[data-search]");
if (searchLink) {
  let box = null;
  let asked = 0;
  const ask = async (text) => {
    const turn = ++asked;
    const answer = await fetch(`/search?q=${encodeURIComponent(text)}`, { credentials: "same-origin", headers: { accept: "text/html" } });
    if (!answer.ok || turn !== asked) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const found = page.getElementById("found");
    if (found && turn === asked) box.querySelector(".page-parts").replaceChildren(...found.childNodes);
  };
  const make = () => {
    box = document.createElement("dialog");
    box.className = "finder";
    box.setAttribute("aria-label", "Search");
    box.innerHTML = '<form method="get" action="/search" role="search"><label>What you remember of it <input type="search" name="q" maxlength="200" autocomplete="off"></label><div class="page-parts" aria-live="polite"></div></form>';
    const input = box.querySelector("input");
    let waiting = 0;
    input.addEventListener("input", () => {
      clearTimeout(waiting);
      waiting = setTimeout(() => { ask(input.value).catch(() => { /* the page of the search still works */ }); }, 150);
    });
    box.addEventListener("keydown", (event) => {
      // Escape would empty the field first
      if (event.key === "Escape") { event.preventDefault(); box.close(); }
      if (event.key !== "ArrowDown" && event.key !== "ArrowUp") return;
      const stops = [input, ...box.querySelectorAll(".hits a")];
      const step = event.key === "ArrowDown" ? 1 : -1;
      stops[Math.max(0, Math.min(stops.length - 1, stops.indexOf(document.activeElement) + step))].focus();
      event.preventDefault();
    });
    box.addEventListener("click", (event) => { if (event.target === box) box.close(); });
    document.body.append(box);
  };
  const open = () => {
    if (document.querySelector("dialog[open]")) return;
    if (!box) make();
    box.showModal();
    box.querySelector("input").select();
  };
  searchLink.addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    open();
  });
  document.addEventListener("keydown", (event) => {
    const isTyping = event.target.closest("input, textarea, select, [contenteditable]");
    const isShortcut = (event.ctrlKey || event.metaKey) && !event.shiftKey && !event.altKey && event.key.toLowerCase() === "k";
    if (!isShortcut && (event.key !== "/" || isTyping || event.ctrlKey || event.metaKey || event.altKey)) return;
    event.preventDefault();
    open();
  });
}

// A choice that is sent as soon as it is made; the button beside it is for where nothing runs.
for (const choice of document.querySelectorAll("select[data-submits]")) {
  choice.form.querySelector("button").hidden = true;
  choice.addEventListener("change", () => choice.form.requestSubmit());
}

// A sample that follows the fields it depends on.
const previewed = document.querySelectorAll("[data-preview]");
const sample = document.getElementById("sample");
if (sample && previewed.length) {
  let waiting = 0;
  const follow = () => {
    const query = new URLSearchParams([...previewed].map((field) => [field.dataset.preview, field.value.trim()]));
    sample.src = `/customer-portal/preview?${query}`;
  };
  for (const field of previewed) {
    field.addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(follow, 250); });
  }
}
