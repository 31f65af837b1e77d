// The lag chart: values under the pointer or by the arrow keys, and other spans without a page load.
const UNITS = ["bytes", "kB", "MB", "GB", "TB", "PB"];

function amount(bytes) {
  let size = bytes;
  let unit = 0;
  while (Math.abs(size) >= 1024 && unit < UNITS.length - 1) [size, unit] = [size / 1024, unit + 1];
  return `${unit === 0 || Math.abs(size) >= 10 ? size.toFixed(0) : size.toFixed(1)} ${UNITS[unit]}`;
}

function duration(seconds) {
  const [size, unit] = [[86400, "day"], [3600, "hour"], [60, "minute"]].find(([size]) => seconds >= size) ?? [1, "s"];
  const count = Math.floor(seconds / size);
  return unit === "s" ? `${Math.round(seconds)} s` : `${count} ${unit}${count === 1 ? "" : "s"}`;
}

function readOut(chart, number) {
  const points = JSON.parse(chart.dataset.points);
  const at = Math.min(Math.max(number, 0), points.length - 1);
  const [x, moment, lag, kept, seconds] = points[at];
  chart.dataset.at = at;
  const cursor = chart.querySelector(".cursor");
  cursor.setAttribute("d", `M${x} 22V${chart.viewBox.baseVal.height - 24}`);
  cursor.removeAttribute("hidden");
  const when = ownZone.format(new Date(moment * 1000));
  const time = seconds === null ? "" : `, about ${duration(seconds)}`;
  const keptWords = kept === null ? "" : `; WAL kept ${amount(kept)}`;
  byId("part-lag").querySelector(".readout").textContent = `${when}: lag ${amount(lag)}${time}${keptWords}`;
}

main.addEventListener("pointermove", (event) => {
  const chart = event.target.closest("svg.lag");
  if (!chart) return;
  const box = chart.getBoundingClientRect();
  const x = ((event.clientX - box.left) / box.width) * 640;
  const points = JSON.parse(chart.dataset.points);
  const nearest = points.reduce((best, point, at) => (Math.abs(point[0] - x) < Math.abs(points[best][0] - x) ? at : best), 0);
  readOut(chart, nearest);
});

main.addEventListener("keydown", (event) => {
  const chart = event.target.closest("svg.lag");
  const step = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
  if (!chart || step === undefined) return;
  event.preventDefault();
  const last = JSON.parse(chart.dataset.points).length - 1;
  readOut(chart, step === 1 && chart.dataset.at === undefined ? last : Number(chart.dataset.at ?? last) + step);
});

const spanShown = () => new URL(location.href).searchParams.get("span") ?? "1h";

// The stream sends the shortest span only.
async function readSpan() {
  const answer = await fetch(`lag?span=${encodeURIComponent(spanShown())}`, { headers: { Accept: "text/html" } });
  if (answer.ok) replace("part-lag", await answer.text());
}

main.addEventListener("click", (event) => {
  const link = event.target.closest(".spans a");
  if (!link || !isPlain(event)) return;
  event.preventDefault();
  const here = new URL(location.href);
  here.searchParams.set("span", new URL(link.href).searchParams.get("span"));
  history.replaceState(null, "", here);
  readSpan();
});
