// Keeps the list of sources up to date, and searches while a person types.
// Lags and times tick without an event.
const OLD_MS = 15000;
const listSearch = byId("search");
let readAt = Date.now();
let wanted = 0;
// As the server sent it, before times were told.
let shownHtml = byId("sources")?.innerHTML;

async function readList() {
  const number = (wanted += 1);
  readAt = Date.now();
  let other;
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
    if (!answer.ok) return say("Not current: the list cannot be read", true);
    other = new DOMParser().parseFromString(await answer.text(), "text/html");
  } catch {
    return say("Connection lost, trying again", true);
  }
  // A later request was sent in the meantime: its answer counts.
  if (number !== wanted) return undefined;
  const fresh = other.getElementById("sources");
  // The first source came, or the last one left.
  if (Boolean(fresh) !== Boolean(byId("sources"))) return location.reload();
  say("Live", false);
  if (!fresh || fresh.innerHTML === shownHtml) return undefined;
  const focused = document.activeElement?.closest("#sources a")?.getAttribute("href");
  shownHtml = fresh.innerHTML;
  byId("sources").replaceChildren(...fresh.childNodes);
  tellTimes(byId("sources"));
  document.title = other.title;
  if (focused) byId("sources").querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
  return undefined;
}

follow(() => "./api/v1/events", {
  hello: readList,
  changed: readList,
  beat: () => Date.now() - readAt > OLD_MS && readList(),
});

if (listSearch) {
  let soon;
  listSearch.addEventListener("input", () => {
    clearTimeout(soon);
    soon = setTimeout(() => {
      const here = new URL(location.href);
      here.searchParams.set("search", listSearch.value);
      if (!listSearch.value) here.searchParams.delete("search");
      here.searchParams.delete("skip");
      history.replaceState(null, "", here);
      readList();
    }, 150);
  });
}
