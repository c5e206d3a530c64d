"use strict";
(() => {
  const units = {ns: 1e-9, "µs": 1e-6, ms: 1e-3, s: 1, B: 1, KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30};
  const number = text => {
    const found = /^[^\d-]*(-?[\d,]*\.?\d+(?:e[-+]?\d+)?)\s*([µa-zA-Z]*)/.exec(text.trim());
    return found ? parseFloat(found[1].replaceAll(",", "")) * (units[found[2]] ?? 1) : NaN;
  };
  const compare = (a, b, up) => {
    const [x, y] = [number(a), number(b)];
    if (!a || !b) return (a ? 0 : 1) - (b ? 0 : 1);
    const order = Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b) : x - y;
    return up ? order : -order;
  };

  for (const table of document.querySelectorAll("table[data-sort]")) {
    table.querySelectorAll("thead th").forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const up = head.getAttribute("aria-sort") !== "ascending";
        table.querySelectorAll("thead th").forEach(other => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", up ? "ascending" : "descending");
        const cell = row => (row.cells[column] && row.cells[column].colSpan === 1 ? row.cells[column].textContent : "");
        for (const body of table.tBodies) {
          const rows = [...body.rows].filter(row => !row.classList.contains("group"));
          body.append(...rows.sort((a, b) => compare(cell(a), cell(b), up)));
        }
      });
    });
    const rows = [...table.querySelectorAll("tbody tr:not(.group)")];
    if (rows.length > 8) {
      const label = document.createElement("label");
      const input = document.createElement("input");
      const count = document.createElement("span");
      label.className = "filter";
      input.type = "search";
      input.setAttribute("aria-label", "Filter: " + table.caption.textContent);
      input.placeholder = "filter, like torch train";
      count.setAttribute("role", "status");
      label.append(input, count);
      table.parentElement.before(label);
      input.addEventListener("input", () => {
        const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
        let shown = 0;
        for (const row of rows) {
          const group = row.parentElement.querySelector(".group");
          const text = ((group ? group.textContent : "") + " " + row.textContent).toLowerCase();
          row.hidden = !words.every(word => text.includes(word));
          shown += !row.hidden;
        }
        for (const body of table.tBodies) {
          body.hidden = ![...body.rows].some(row => !row.hidden && !row.classList.contains("group"));
        }
        count.textContent = words.length ? `${shown} of ${rows.length} rows` : "";
      });
    }
  }

  // where there is no clipboard to write to there is no button
  for (const command of navigator.clipboard ? document.querySelectorAll(".command pre") : []) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "copy";
    button.textContent = "Copy";
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(command.textContent);
        button.textContent = "Copied";
      } catch {
        button.textContent = "Not allowed to copy";
      }
    });
    command.before(button);
  }

  // a tip at once in place of the browser's own, which comes late
  const tip = document.createElement("div");
  tip.id = "tip";
  tip.hidden = true;
  document.body.append(tip);
  for (const title of document.querySelectorAll("svg title")) {
    const mark = title.parentElement;
    mark.dataset.tip = title.textContent;
    title.remove();
  }
  document.addEventListener("pointermove", event => {
    const mark = event.target.closest ? event.target.closest("[data-tip]") : null;
    tip.hidden = !mark;
    if (!mark) return;
    tip.textContent = mark.dataset.tip;
    const {width, height} = tip.getBoundingClientRect();
    const left = Math.min(event.clientX + 14, innerWidth - width - 8);
    const above = event.clientY + 18 + height > innerHeight;
    tip.style.left = `${Math.max(left, 4)}px`;
    tip.style.top = `${above ? event.clientY - height - 12 : event.clientY + 18}px`;
  });
  document.addEventListener("pointerleave", () => { tip.hidden = true; });
})();
