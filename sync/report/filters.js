"use strict";
(() => {
  const form = document.getElementById("filters");
  if (!form) return;
  const rows = [...document.querySelectorAll("#findings tr[data-kind]")].map((row) => ({
    row,
    text: row.textContent.toLowerCase(),
  }));
  const { table, kind, text, count } = form.elements;
  const show = () => {
    const wanted = text.value.trim().toLowerCase();
    let shown = 0;
    for (const { row, text: held } of rows) {
      const fits =
        (!table.value || row.dataset.table === table.value) &&
        (!kind.value || row.dataset.kind === kind.value) &&
        held.includes(wanted);
      row.hidden = !fits;
      shown += fits;
    }
    for (const group of document.querySelectorAll("#findings > tbody")) {
      group.hidden = !group.querySelector("tr[data-kind]:not([hidden])");
    }
    count.value = `${shown.toLocaleString("en")} of ${rows.length.toLocaleString("en")}`;
  };
  form.addEventListener("input", show);
  form.addEventListener("reset", () => setTimeout(show));
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;
  show();
})();
