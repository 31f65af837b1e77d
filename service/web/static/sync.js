// Syncs without leaving the page, and shows how far it is.
const CLOSES_MS = 20000;

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
        showStep(progress, kind, JSON.parse(data));
      }
    }
  } catch (error) {
    progress.textContent = `The connection was lost during the sync (${error.message}). This page will show its outcome.`;
  } finally {
    button.disabled = false;
    offerClosing(progress);
  }
}

// What is over goes away: a failure when a person closes it, a success also after a while that nobody points at it.
function offerClosing(progress) {
  const close = closeButton(() => (progress.hidden = true));
  progress.prepend(close);
  if (!progress.querySelector("[data-outcome=ok]")) return;
  const leave = () => {
    if (!close.isConnected) return;
    if (progress.matches(":hover, :focus-within")) setTimeout(leave, CLOSES_MS);
    else progress.hidden = true;
  };
  setTimeout(leave, CLOSES_MS);
}

function showStep(progress, kind, data) {
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

byId("refresh").addEventListener("submit", (event) => {
  event.preventDefault();
  refresh(event.target);
});
