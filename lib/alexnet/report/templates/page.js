// Everything a page can do beyond being read. Each part is an addition: without scripts the page is complete.
"use strict";

function remember(key, value) {
  try { localStorage.setItem(key, value); } catch (error) { /* forbidden for files in some browsers */ }
}

function recall(key) {
  try { return localStorage.getItem(key); } catch (error) { return null; }
}

// ---- colour scheme: auto, light, dark --------------------------------------------------------------------------
{
  const schemes = ["auto", "light", "dark"];
  const button = document.getElementById("theme");
  const current = () => document.documentElement.dataset.theme || "auto";
  const label = () => { button.textContent = `Theme: ${current()}`; };
  button.hidden = false;
  label();
  button.addEventListener("click", () => {
    const next = schemes[(schemes.indexOf(current()) + 1) % schemes.length];
    if (next === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = next;
    remember("alexnet-theme", next);
    label();
  });
}

// ---- one switch for all code -----------------------------------------------------------------------------------
{
  const button = document.getElementById("fold");
  const blocks = [...document.querySelectorAll("details.code:not(.live)")];
  const show = (open) => {
    blocks.forEach((block) => { block.open = open; });
    button.setAttribute("aria-pressed", String(open));
    button.textContent = open ? "Hide all code" : "Show all code";
  };
  if (blocks.length) {
    button.hidden = false;
    show(recall("alexnet-code") === "open");
    button.addEventListener("click", () => {
      const open = button.getAttribute("aria-pressed") !== "true";
      show(open);
      remember("alexnet-code", open ? "open" : "closed");
    });
  }
}

// ---- contents: closed at first on a small screen ---------------------------------------------------------------
if (window.matchMedia("(max-width: 62rem)").matches) document.getElementById("contents").open = false;

// ---- tables that sort ------------------------------------------------------------------------------------------
{
  const number = (text) => {
    const match = text.replace(/[\u2212\u2013]/g, "-").replace(/(\d)[,\u202f](?=\d{3})/g, "$1").match(/-?\d+(\.\d+)?(e[-+]?\d+)?/i);
    return match ? parseFloat(match[0]) : NaN;
  };
  const key = (row, column) => {
    const cell = row.cells[column];
    return cell ? (cell.dataset.sort ?? cell.textContent.trim()) : "";
  };
  const sort = (table, column, direction) => {
    const body = table.tBodies[0];
    const rows = [...body.rows];
    const keys = new Map(rows.map((row) => [row, key(row, column)]));
    const filled = [...keys.values()].filter((text) => !/^[\u2013-]?$/.test(text));
    const numeric = filled.length > 0 && filled.every((text) => /^[<>≥≤≈~±+\s\u2212-]*\d/.test(text));
    const compare = (one, other) => {
      const [a, b] = [keys.get(one), keys.get(other)];
      const [emptyA, emptyB] = [a, b].map((text) => /^[\u2013-]?$/.test(text));
      if (emptyA || emptyB) return emptyA - emptyB;   // unknown values come last, whatever the direction
      const order = numeric ? number(a) - number(b) : a.localeCompare(b, "en", { numeric: true });
      return direction * order;
    };
    rows.sort(compare).forEach((row) => body.appendChild(row));
  };
  document.querySelectorAll("main table").forEach((table) => {
    if (!table.tHead || !table.tBodies[0] || table.tBodies[0].rows.length < 3) return;
    if (table.querySelector("[rowspan],[colspan]")) return;
    const headers = [...table.tHead.rows[table.tHead.rows.length - 1].cells];
    headers.forEach((header, column) => {
      if (!header.textContent.trim() || header.dataset.sortable === "no") return;
      const button = document.createElement("button");
      button.type = "button";
      button.className = "sort";
      button.append(...header.childNodes);
      header.append(button);
      button.addEventListener("click", () => {
        const direction = header.getAttribute("aria-sort") === "ascending" ? -1 : 1;
        headers.forEach((other) => other.removeAttribute("aria-sort"));
        header.setAttribute("aria-sort", direction > 0 ? "ascending" : "descending");
        sort(table, column, direction);
      });
    });
  });
}

// ---- figures that enlarge --------------------------------------------------------------------------------------
{
  const dialog = document.getElementById("enlarged");
  const place = dialog.querySelector(".enlarged-figure");
  document.querySelectorAll("main figure > img").forEach((image) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "enlarge";
    button.title = "Enlarge";
    image.replaceWith(button);
    button.append(image);
    button.addEventListener("click", () => {
      const copy = image.cloneNode();
      copy.removeAttribute("width");
      copy.removeAttribute("height");
      place.replaceChildren(copy);
      place.classList.toggle("photograph", Boolean(image.closest(".photograph")));
      dialog.showModal();
    });
  });
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
}

// ---- commands that copy ----------------------------------------------------------------------------------------
if (navigator.clipboard) {
  document.querySelectorAll("code.command").forEach((command) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "copy";
    button.textContent = "Copy";
    button.setAttribute("aria-label", `Copy the command ${command.textContent}`);
    command.after(button);
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(command.textContent);
        button.textContent = "Copied";
      } catch (error) {
        button.textContent = "Select and copy";
      }
      setTimeout(() => { button.textContent = "Copy"; }, 1500);
    });
  });
}
