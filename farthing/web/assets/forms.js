// Forms that are composed of many fields. Without this file they work too: every field is shown, and buttons send them.
"use strict";

// A part counts only while another field has one of some values; it is hidden while it does not.
const fit = (form) => {
  for (const part of form.querySelectorAll("[data-when]")) {
    const holds = part.dataset.when.split(";").every((condition) => {
      const at = condition.indexOf("=");
      const field = form.elements.namedItem(condition.slice(0, at));
      return field !== null && condition.slice(at + 1).split("|").includes(field.value);
    });
    part.hidden = !holds;
  }
};

// The page as the server answers the form with one of its buttons, or with a look at it only.
const answered = async (form, name, value) => {
  const body = new URLSearchParams(new FormData(form));
  body.append(name, value);
  const asked = { credentials: "same-origin", headers: { accept: "text/html" } };
  const answer = form.method === "get" ? await fetch(`${form.action}?${body}`, asked) : await fetch(form.action, { ...asked, method: "POST", body });
  if (!answer.ok) throw new Error(String(answer.status));
  return new DOMParser().parseFromString(await answer.text(), "text/html");
};

for (const form of document.querySelectorAll("form.composed")) {
  let round = 0;
  let waiting;
  const calculate = async () => {
    const mine = ++round;
    try {
      const page = await answered(form, "look", "yes");
      const fresh = page.getElementById("figures");
      const shown = document.getElementById("figures");
      if (mine === round && fresh && shown) shown.replaceChildren(...fresh.childNodes);
    } catch { /* the next change may reach the server again */ }
  };
  const changed = () => {
    fit(form);
    if (!form.dataset.live) return;
    clearTimeout(waiting);
    waiting = setTimeout(calculate, 200);
  };
  form.addEventListener("input", changed);
  form.addEventListener("click", async (event) => {
    const button = event.target.closest("button[name=more], button[name=fewer]");
    if (!button) return;
    event.preventDefault();
    const table = button.closest("fieldset.rows");
    try {
      const page = await answered(form, button.name, button.value);
      const fresh = page.getElementById(table.id);
      table.replaceChildren(...fresh.childNodes);
      const cells = table.querySelectorAll(".row:last-of-type input, .row:last-of-type select");
      (button.name === "more" && cells.length ? cells[0] : table.querySelector("button[name=more]")).focus();
      changed();
    } catch {
      // no answer by script: send the form as it is
      form.append(Object.assign(document.createElement("input"), { type: "hidden", name: button.name, value: button.value }));
      form.submit();
    }
  });
  fit(form);
}
