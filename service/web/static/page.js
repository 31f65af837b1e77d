// Keeps an open page up to date, and opens schemas and syncs without a page load. Without this script everything works
// by links and forms.
"use strict";

const main = document.getElementById("main");
const source = main.dataset.source;
const byId = (id) => document.getElementById(id);

// ---- times: how long ago, for people; exact in the tooltip, and on a click in the reader's own zone

const STEPS = [[60, "second", 1], [3600, "minute", 60], [86400, "hour", 3600], [Infinity, "day", 86400]];
const ago = new Intl.RelativeTimeFormat("en", { numeric: "always", style: "short" });
const ownZone = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "long" });
// What the server sent, before times were told: only that can be compared with what it sends later.
const sent = new WeakMap();
const sentHtml = (part) => sent.get(part) ?? part.outerHTML;

function tellTimes(within) {
  for (const time of within.querySelectorAll("time")) {
    const seconds = Math.max((Date.now() - Date.parse(time.dateTime)) / 1000, 0);
    const [, unit, size] = STEPS.find(([limit]) => seconds < limit);
    if (!time.title) {
      time.title = `${time.textContent} · ${ownZone.format(new Date(time.dateTime))}`;
      time.className = "told";
    }
    if (!time.dataset.isExact) time.textContent = ago.format(-Math.floor(seconds / size), unit);
  }
}

function remember() {
  for (const part of document.querySelectorAll("[id^=part-], #listed tr")) {
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
  const wasHidden = old.hidden;
  if (sentHtml(old) === fresh.outerHTML) return;
  sent.set(fresh, fresh.outerHTML);
  old.replaceWith(fresh);
  // Rows are hidden by the search.
  if (fresh.matches("tr")) fresh.hidden = wasHidden;
  tellTimes(fresh);
  if (hadFocus) (fresh.querySelector("a, button") || main).focus({ preventScroll: true });
  if (id !== "part-freshness") highlight(fresh);
  if (id === "part-state") mark();
  offerCopies(fresh);
  kept();
}

// The state is in the tab as well.
function mark() {
  const state = byId("part-state");
  byId("icon").href = state.dataset.icon;
  document.title = document.title.replace(/^\S+/, state.querySelector("[aria-hidden]").textContent);
}

// Copying needs a script: without it the text can be selected.
function offerCopies(within) {
  for (const button of within.querySelectorAll("button.copy")) button.hidden = !navigator.clipboard;
}

function highlight(fresh) {
  fresh.classList.add("news");
  fresh.addEventListener("animationend", () => fresh.classList.remove("news"), { once: true });
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

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

const live = byId("live");
let stream;
let reading = Promise.resolve();
// The service is heard from every five seconds.
const SILENCE_MS = 12000;
let silence;

// A server that is frozen closes no connection: only its silence tells.
function heard() {
  clearTimeout(silence);
  silence = setTimeout(() => {
    say("Not current: the service is silent", true);
    stream?.close();
    stream = undefined;
    setTimeout(listenWhileSeen, 2000 + Math.random() * 3000);
  }, SILENCE_MS);
}

function say(text, isLost) {
  live.hidden = false;
  document.body.classList.toggle("not-current", isLost);
  live.classList.toggle("lost", isLost);
  if (live.textContent !== text) live.textContent = text;
}

function listen() {
  if (stream && stream.readyState !== EventSource.CLOSED) return;
  const own = new EventSource(`../../api/v1/sources/${source}/events?parts=true&since=${encodeURIComponent(version)}`);
  stream = own;
  heard();
  own.addEventListener("beat", heard);
  const on = (kind, act) => own.addEventListener(kind, (event) => {
    heard();
    const data = JSON.parse(event.data);
    told = data.version;
    act(data);
  });
  on("hello", () => say("Live", false));
  on("changed", (data) => {
    for (const [id, html] of Object.entries(data.parts)) replace(id, html);
    version = data.version;
    say("Live", false);
    const table = byId("schema").dataset.table;
    if (table && data.changed.includes(`table-${table}`)) showSchema(table);
  });
  on("whole", () => {
    say("Live", false);
    reading = reading.then(readWhole);
  });
  on("trouble", (data) => say(`Not up to date: ${data.message}`, true));
  on("gone", (data) => say(`No longer live: ${data.message}`, true));
  own.onerror = () => {
    say("Connection lost, trying again", true);
    // After an error response (too many streams, say) the browser gives up; this tries again.
    if (own.readyState === EventSource.CLOSED) setTimeout(() => own === stream && listen(), 2000 + Math.random() * 3000);
  };
}

// A browser has few connections to one server: a hidden page gives its own back, and catches up when it is visible.
function listenWhileSeen() {
  if (document.visibilityState === "visible") listen();
  else if (stream) {
    stream.close();
    stream = undefined;
    clearTimeout(silence);
  }
}

// ---- search among the rows of the page

const search = document.querySelector("input[data-filters]");

function filter() {
  if (!search) return;
  const wanted = search.value.trim().toLowerCase();
  let shown = 0;
  for (const row of byId("listed").rows) {
    row.hidden = !row.cells[0].textContent.toLowerCase().includes(wanted);
    shown += !row.hidden;
  }
  byId("shown").textContent = wanted ? `${shown.toLocaleString("en")} shown` : "";
}

// ---- a table's schema, over the page

async function showSchema(table) {
  const dialog = byId("schema");
  const answer = await fetch(`../../sources/tables/${table}?fragment=true`, { headers: { Accept: "text/html" } });
  dialog.innerHTML = await answer.text();
  tellTimes(dialog);
  const close = document.createElement("button");
  close.className = "close";
  close.textContent = "Close";
  close.addEventListener("click", () => dialog.close());
  dialog.prepend(close);
  dialog.dataset.table = table;
  if (!dialog.open) dialog.showModal();
}

// ---- sync, with its progress

const PHASES = {
  connect: () => "Connecting to the source",
  source: () => "Reading its catalogs",
  record: (data) => `Comparing and recording ${data.tables.toLocaleString("en")} tables`,
  refresh: () => "Refreshing the view",
};

async function refresh(form) {
  const button = form.querySelector("button");
  const progress = byId("progress");
  button.disabled = true;
  progress.hidden = false;
  progress.innerHTML = "<ol></ol>";
  try {
    // No other site's page can send the second header.
    const headers = { Accept: "text/event-stream", "X-Requested-With": "fetch" };
    const answer = await fetch(form.action, { method: "POST", headers });
    if (!answer.ok) {
      const told = await answer.json().catch(() => ({}));
      progress.textContent = `The sync did not begin: ${told.message ?? `the service answers ${answer.status}`}.`;
      return;
    }
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) break;
      text += value;
      const events = text.split("\n\n");
      text = events.pop();
      for (const event of events) {
        const [kind, data] = event.split("\n").map((line) => line.slice(line.indexOf(": ") + 2));
        show(progress, kind, JSON.parse(data));
      }
    }
  } catch (error) {
    progress.textContent = `The connection was lost during the sync (${error.message}). This page will show its outcome.`;
  } finally {
    button.disabled = false;
  }
}

function show(progress, kind, data) {
  if (kind === "phase") {
    const item = document.createElement("li");
    item.textContent = `${PHASES[data.phase](data)} (after ${data.ms.toLocaleString("en")} ms)`;
    progress.querySelector("ol").append(item);
  } else if (kind === "outcome") {
    progress.innerHTML = data.html;
  } else {
    throw new Error("see the service's log");
  }
}

// ---- all of it

remember();
tellTimes(document);
setInterval(() => tellTimes(document), 10000);
document.addEventListener("click", (event) => {
  const time = event.target.closest("time");
  if (!time || event.target.closest("a")) return;
  if (time.dataset.isExact) delete time.dataset.isExact;
  else {
    time.dataset.isExact = "true";
    time.textContent = ownZone.format(new Date(time.dateTime));
  }
  tellTimes(document);
});

if (source) {
  // "Reload" counts once: not when the browser reloads, nor when this script reads the page.
  const here = new URL(location.href);
  if (here.searchParams.has("fresh")) {
    here.searchParams.delete("fresh");
    history.replaceState(null, "", here);
  }
  listenWhileSeen();
  document.addEventListener("visibilitychange", listenWhileSeen);
  addEventListener("pageshow", listenWhileSeen);
  offerCopies(document);
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("button.copy");
    if (!button) return;
    await navigator.clipboard.writeText(button.parentElement.querySelector("code").textContent);
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = "Copy"), 2000);
  });
  document.addEventListener("keydown", (event) => {
    const isTyping = event.target.closest("input, textarea, select, dialog");
    if (event.key === "/" && !isTyping && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      search.focus();
    } else if (event.key === "Escape" && event.target === search) search.blur();
  });
  byId("refresh").addEventListener("submit", (event) => {
    event.preventDefault();
    refresh(event.target);
  });
  const found = search.defaultValue;
  search.addEventListener("input", () => {
    // Rows that the server left out have to come from the server.
    if (search.value.trim().toLowerCase().includes(found.toLowerCase())) filter();
    else search.form.requestSubmit();
  });
  byId("listed").addEventListener("click", (event) => {
    const link = event.target.closest("a");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    showSchema(link.pathname.split("/").pop());
  });
  byId("schema").addEventListener("close", (event) => {
    // The row may have been replaced since it had the focus.
    const row = byId(`table-${event.target.dataset.table}`);
    if (row) row.querySelector("a").focus();
    delete event.target.dataset.table;
  });
}
