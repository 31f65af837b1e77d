// Keeps the open page of a source up to date, and opens schemas without a page load.
const source = main.dataset.source;
// What the server sent, before times were told: only that can be compared with what it sends later.
const sent = new WeakMap();
const sentHtml = (part) => sent.get(part) ?? part.outerHTML;

// Only times are told: what has none is as the server sent it.
function remember() {
  for (const time of document.querySelectorAll("[id^=part-] time, #listed time")) {
    const part = time.closest("[id^=part-], tr");
    if (!sent.has(part)) sent.set(part, part.outerHTML);
  }
}

function element(html) {
  const template = document.createElement("template");
  template.innerHTML = html.trim();
  return template.content.firstElementChild;
}

// ---- what changed, part by part

// The version that is shown, and the one that the stream last announced.
let version = main.dataset.version;
let told = version;

function replace(id, html) {
  const old = byId(id);
  const fresh = element(html);
  if (!old || !fresh) return;
  const hadFocus = old.contains(document.activeElement);
  const focusable = document.activeElement.matches("svg") ? "svg" : "a, button";
  const wasHidden = old.hidden;
  if (sentHtml(old) === fresh.outerHTML) return;
  sent.set(fresh, fresh.outerHTML);
  old.replaceWith(fresh);
  // Rows are hidden by the search.
  if (fresh.matches("tr")) fresh.hidden = wasHidden;
  tellTimes(fresh);
  if (hadFocus) (fresh.querySelector(focusable) || main).focus({ preventScroll: true });
  if (id !== "part-freshness") highlight(fresh);
  if (id === "part-state") mark();
  kept();
}

// The state is in the tab as well.
function mark() {
  const state = byId("part-state");
  byId("icon").href = state.dataset.icon;
  document.title = document.title.replace(/^\S+/, state.querySelector("[aria-hidden]").textContent);
}

function highlight(fresh) {
  fresh.classList.add("news");
  fresh.addEventListener("animationend", () => fresh.classList.remove("news"), { once: true });
}

// Rows came or left: reads the page again and replaces the parts that differ. The page may come from another process,
// which has not received the notification yet, or be older than an event that arrived in the meantime.
async function readWhole() {
  let other;
  for (let attempt = 0; attempt < 10; attempt += 1) {
    if (attempt) await pause(300);
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
      if (!answer.ok) continue;
      other = new DOMParser().parseFromString(await answer.text(), "text/html");
      if (other.getElementById("main").dataset.version === told) break;
    } catch {
      // The next attempt follows.
    }
  }
  if (!other) return;
  version = other.getElementById("main").dataset.version;
  for (const part of other.querySelectorAll("[id^=part-]")) {
    const held = byId(part.id);
    if (held && sentHtml(held) !== part.outerHTML) replace(part.id, part.outerHTML);
  }
  const listed = byId("listed");
  const held = new Map(Array.from(listed.rows, (row) => [row.id, row]));
  const rows = Array.from(other.getElementById("listed").rows, (row) => {
    const old = held.get(row.id);
    if (old && sentHtml(old) === row.outerHTML) return old;
    sent.set(row, row.outerHTML);
    tellTimes(row);
    highlight(row);
    return row;
  });
  listed.replaceChildren(...rows);
  listed.parentElement.hidden = !rows.length;
  document.title = other.title;
  remember();
  document.querySelector("h1").textContent = other.querySelector("h1").textContent;
  filter();
}

function kept() {
  const came = document.querySelector(".came");
  if (came) came.textContent = "This page is kept up to date as its source changes.";
}

// ---- the stream

let reading = Promise.resolve();

const on = (act) => (data) => {
  told = data.version;
  act(data);
};

follow(() => `../../api/v1/sources/${source}/events?parts=true&since=${encodeURIComponent(version)}`, {
  hello: on(() => say("Live", false)),
  changed: on((data) => {
    for (const [id, html] of Object.entries(data.parts)) {
      if (id === "part-lag" && spanShown() !== "1h") readSpan();
      else replace(id, html);
    }
    version = data.version;
    say("Live", false);
    const table = byId("schema").dataset.table;
    if (table && data.changed.includes(`table-${table}`)) showSchema(table);
  }),
  whole: on(() => {
    say("Live", false);
    reading = reading.then(readWhole);
  }),
  trouble: on((data) => say(`Not up to date: ${data.message}`, true)),
});

// ---- search among the rows of the page

const search = document.querySelector("input[data-filters]");

function filter() {
  const wanted = search.value.trim().toLowerCase();
  let shown = 0;
  for (const row of byId("listed").rows) {
    row.hidden = !row.cells[0].textContent.toLowerCase().includes(wanted);
    shown += !row.hidden;
  }
  byId("shown").textContent = wanted ? `${shown.toLocaleString("en")} shown` : "";
}

const found = search.defaultValue;
search.addEventListener("input", () => {
  // Rows that the server left out have to come from the server.
  if (search.value.trim().toLowerCase().includes(found.toLowerCase())) filter();
  else search.form.requestSubmit();
});

// ---- a table's schema, over the page; which one, and which version of it, is in the URL

const dialog = byId("schema");
const hash = /^#schema-(\d+)(?:-(\d+))?$/;

async function showSchema(table, wantedVersion) {
  const answer = await fetch(`../../sources/tables/${table}?fragment=true`, { headers: { Accept: "text/html" } });
  dialog.innerHTML = await answer.text();
  tellTimes(dialog);
  dialog.prepend(closeButton(() => dialog.close()));
  dialog.dataset.table = table;
  if (!dialog.open) dialog.showModal();
  if (wantedVersion) dialog.querySelector(`#version-${wantedVersion}`)?.scrollIntoView();
}

const show = (table, wantedVersion) => {
  history.replaceState(null, "", `#schema-${table}${wantedVersion ? `-${wantedVersion}` : ""}`);
  showSchema(table, wantedVersion);
};

byId("listed").addEventListener("click", (event) => {
  const link = event.target.closest("a");
  if (!link || !isPlain(event)) return;
  event.preventDefault();
  show(link.pathname.split("/").pop());
});

dialog.addEventListener("click", (event) => {
  const link = event.target.closest("h2 a");
  if (!link || !isPlain(event)) return;
  event.preventDefault();
  show(dialog.dataset.table, link.hash.replace("#version-", ""));
});

dialog.addEventListener("close", () => {
  // The row may have been replaced since it had the focus.
  byId(`table-${dialog.dataset.table}`)?.querySelector("a").focus();
  delete dialog.dataset.table;
  history.replaceState(null, "", location.pathname + location.search);
});

// ---- all of it

remember();
// "Reload" counts once: not when the browser reloads, nor when this script reads the page.
const here = new URL(location.href);
if (here.searchParams.has("fresh")) {
  here.searchParams.delete("fresh");
  history.replaceState(null, "", here);
}
const opened = hash.exec(location.hash);
if (opened) showSchema(opened[1], opened[2]);
