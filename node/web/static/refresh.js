// Keeps the part of a page that is marked as live up to date; without this script it can be reloaded.
"use strict";

(() => {
  const live = document.getElementById("live");
  if (!live) return;
  const refresh = async () => {
    if (document.hidden) return;
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
      if (!answer.ok || answer.redirected) return;
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const fresh = page.getElementById("live");
      if (fresh) live.replaceChildren(...fresh.childNodes);
    } catch {
      // the node may be restarting: the next look will tell
    }
  };
  setInterval(refresh, 1000 * Number(live.dataset.everyS));
})();
