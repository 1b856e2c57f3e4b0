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
  menu.classList.add("fitted");
}

// On a phone or a tablet a table that is wider than the page becomes cards: a row is a card, each cell beneath the head of its column.
const asCards = (table) => {
  const heads = [...table.querySelectorAll("thead th")].flatMap((head) => Array(head.colSpan).fill(head.querySelector(".unseen") ? "" : head.textContent.replace(/[↑↓]/g, "").trim()));
  for (const row of table.querySelectorAll("tbody tr, tfoot tr")) {
    let column = 0;
    for (const cell of row.cells) {
      cell.dataset.label = heads[column] || "";
      cell.classList.toggle("blank", !cell.textContent.trim() && !cell.querySelector("input, select, button, img, svg"));
      column += cell.colSpan;
    }
  }
  table.classList.add("cards");
};
const small = matchMedia("(max-width: 64rem)");
const fitTables = () => {
  for (const table of document.querySelectorAll(".scroll > table")) {
    table.classList.remove("cards");
    if (small.matches && table.parentElement.scrollWidth > table.parentElement.clientWidth) asCards(table);
  }
};
if (small.matches) fitTables();
addEventListener("resize", fitTables);

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

// What was typed into a form is kept in this tab until the form is carried out: a refusal that leads back to the page, or a
// session that ended meanwhile, loses none of it. Passwords, keys and files are not kept.
const TYPED = "farthing-typed";
const isTyped = (field) => field.name && !["hidden", "password", "file", "submit", "button"].includes(field.type) && !field.classList.contains("veiled");
const isSwitch = (field) => field.type === "checkbox" || field.type === "radio";
const keep = (form) => {
  const fields = [...form.elements].filter((field) => isTyped(field) && (!isSwitch(field) || field.checked)).map((field) => [field.name, field.value]);
  if (fields.length) sessionStorage.setItem(TYPED, JSON.stringify({ page: location.pathname, action: form.getAttribute("action"), fields }));
};
const refill = (form, fields) => {
  for (const field of [...form.elements].filter(isTyped)) {
    const said = fields.filter(([name]) => name === field.name).map(([, value]) => value);
    if (isSwitch(field)) field.checked = said.includes(field.value);
    else if (said.length) field.value = said[said.length - 1];
  }
  for (let around = form.closest("details"); around; around = around.parentElement.closest("details")) around.open = true;
  form.dispatchEvent(new Event("input"));
};
const refusal = document.querySelector(".notice.refused[role=status]");
const typed = JSON.parse(sessionStorage.getItem(TYPED) || "null");
if (typed && !document.getElementById("content")) {
  // signing in again, or an error in place of the page: the page itself is still to come
  sessionStorage.setItem(TYPED, JSON.stringify({ ...typed, interrupted: true }));
  const said = document.querySelector("[data-kept]");
  if (said) said.hidden = false;
} else if (typed && (!typed.interrupted || typed.page === location.pathname)) {
  sessionStorage.removeItem(TYPED);
  const form = [...document.forms].find((each) => each.getAttribute("method") === "post" && each.getAttribute("action") === typed.action);
  if (form && (refusal || typed.interrupted)) {
    refill(form, typed.fields);
    if (refusal && form.closest("details.action")) form.prepend(Object.assign(document.createElement("p"), { className: "problem small", textContent: refusal.textContent }));
    const first = [...form.elements].find(isTyped);
    if (first) first.focus();
  }
}
// After a refusal one goes on at the first field that is wrong, whose problem is read out with it.
const wrong = document.querySelector("main [aria-invalid=true]");
if (wrong && (document.activeElement === document.body || !document.activeElement)) wrong.focus();

// A form is sent once, however often its button is pressed before the answer comes.
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (event.defaultPrevented || form.getAttribute("method") !== "post") return;
  if (Date.now() - Number(form.dataset.sentAt || 0) < 10_000) {
    event.preventDefault();
    return;
  }
  form.dataset.sentAt = String(Date.now());
  if (document.getElementById("content")) keep(form);
});
addEventListener("pageshow", () => { for (const form of document.forms) delete form.dataset.sentAt; });

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
