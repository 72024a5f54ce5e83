// Keeps the page up to date: the server sends the parts that have changed, as HTML that it has escaped.
"use strict";
(() => {
  const query = new URLSearchParams({ window: document.body.dataset.window });
  const source = new EventSource(`/events?${query}`);

  const replace = (part, html) => {
    const open = new Map([...part.querySelectorAll("details[id]")].map((d) => [d.id, d.open]));
    const links = [...part.querySelectorAll("a, summary")];
    const focused = links.indexOf(document.activeElement);
    part.innerHTML = html;
    for (const [id, was] of open) {
      const details = document.getElementById(id);
      if (details) details.open = was;
    }
    if (focused >= 0) part.querySelectorAll("a, summary")[focused]?.focus({ preventScroll: true });
  };

  source.addEventListener("parts", (event) => {
    const { title, parts } = JSON.parse(event.data);
    document.title = title;
    for (const [id, html] of Object.entries(parts)) {
      const part = document.getElementById(id);
      if (part && part.innerHTML.trim() !== html) replace(part, html);
    }
    document.body.classList.remove("cut");
    document.body.dataset.live = "yes";
  });
  source.addEventListener("error", () => {
    document.body.classList.add("cut");
    document.body.dataset.live = "no";
  });
})();
