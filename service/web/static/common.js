// What every page shares: times, copying, the search key, and a live stream. Without scripts everything works by links
// and forms.
"use strict";

const main = document.getElementById("main");
const byId = (id) => document.getElementById(id);
// A click that is to open the link elsewhere is the browser's.
const isPlain = (event) => !(event.ctrlKey || event.metaKey || event.shiftKey);

function closeButton(act) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "close";
  button.textContent = "Close";
  button.addEventListener("click", act);
  return button;
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// ---- times: how long ago; exact in the tooltip, and on a click in the reader's own zone

const STEPS = [[60, "second", 1], [3600, "minute", 60], [86400, "hour", 3600], [Infinity, "day", 86400]];
const ago = new Intl.RelativeTimeFormat("en", { numeric: "always", style: "short" });
const ownZone = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "long" });

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

// After every script has run: they remember what the server sent.
addEventListener("DOMContentLoaded", () => tellTimes(document));
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

// ---- copying needs a script: without it the text can be selected

document.body.classList.toggle("scripted", Boolean(navigator.clipboard));
document.addEventListener("click", async (event) => {
  const button = event.target.closest("button.copy");
  if (!button) return;
  await navigator.clipboard.writeText(button.parentElement.querySelector("code").textContent);
  button.textContent = "Copied";
  setTimeout(() => (button.textContent = "Copy"), 2000);
});

// ---- "/" goes to the search, Escape leaves it

document.addEventListener("keydown", (event) => {
  const search = byId("search");
  if (!search) return;
  const isTyping = event.target.closest("input, textarea, select, dialog");
  if (event.key === "/" && !isTyping && !event.ctrlKey && !event.metaKey && !event.altKey) {
    event.preventDefault();
    search.focus();
  } else if (event.key === "Escape" && event.target === search) search.blur();
});

// ---- whether the page is current

function say(text, isLost) {
  const live = byId("live");
  live.hidden = false;
  document.body.classList.toggle("not-current", isLost);
  live.classList.toggle("lost", isLost);
  if (live.textContent !== text) live.textContent = text;
}

// ---- a live stream

// The service is heard from every five seconds.
const SILENCE_MS = 12000;

// Keeps a stream open while the page is visible; `handlers` are called by event with the data. A browser has few
// connections to one server: a hidden page gives its own back, and catches up when it is visible again.
function follow(url, handlers) {
  let stream;
  let silence;

  function stop() {
    clearTimeout(silence);
    stream?.close();
    stream = undefined;
  }

  // A server that is frozen closes no connection: only its silence tells.
  function heard() {
    clearTimeout(silence);
    silence = setTimeout(() => {
      say("Not current: the service is silent", true);
      stop();
      setTimeout(listenWhileSeen, 2000 + Math.random() * 3000);
    }, SILENCE_MS);
  }

  function listen() {
    if (stream && stream.readyState !== EventSource.CLOSED) return;
    const own = new EventSource(url());
    stream = own;
    heard();
    for (const [kind, act] of Object.entries({ beat: () => {}, ...handlers })) {
      own.addEventListener(kind, (event) => {
        heard();
        act(JSON.parse(event.data));
      });
    }
    own.addEventListener("gone", (event) => say(`No longer live: ${JSON.parse(event.data).message}`, true));
    own.onerror = () => {
      say("Connection lost, trying again", true);
      // After an error response (too many streams, say) the browser gives up; this tries again.
      if (own.readyState === EventSource.CLOSED) {
        setTimeout(() => own === stream && listenWhileSeen(), 2000 + Math.random() * 3000);
      }
    };
  }

  function listenWhileSeen() {
    if (document.visibilityState === "visible") listen();
    else stop();
  }

  listenWhileSeen();
  document.addEventListener("visibilitychange", listenWhileSeen);
  addEventListener("pageshow", listenWhileSeen);
}
