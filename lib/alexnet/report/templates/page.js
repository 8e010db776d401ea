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

// ---- figures to download: a drawing's picture is its vector file -----------------------------------------------------
{
  const page = location.pathname.split("/").pop().replace(/\.html$/, "");
  document.querySelectorAll('main figure img[src^="data:image/svg"]').forEach((image, place) => {
    const link = Object.assign(document.createElement("a"), { className: "save", textContent: "SVG", href: image.src });
    link.download = `${page}-${place + 1}.svg`;
    link.title = "Download this figure as SVG";
    link.setAttribute("aria-label", link.title);
    image.closest("figure").append(link);
  });
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

// ---- a slider over the rows of a table: a level, a mean, and the smallest and largest of what it is the mean of --------
const slider = (words, least, most, step, value) => {
  const label = document.createElement("label"), name = document.createElement("span");
  const input = Object.assign(document.createElement("input"), { type: "range", min: least, max: most, step, value });
  name.textContent = words;
  label.append(name, input, document.createElement("output"));
  return { label, input, output: label.lastChild };
};
document.querySelectorAll("table[data-slide]").forEach((table) => {
  const names = [...table.tHead.rows[0].cells].map((cell) => cell.textContent.trim());
  const rows = [...table.tBodies[0].rows].map((row) => [...row.cells].map((cell) => cell.textContent.trim()));
  if (rows.length < 2) return;
  const most = Math.max(...rows.map((row) => parseFloat(row[3]))), at = (value) => 20 + 560 * (value / most);
  const box = Object.assign(document.createElement("div"), { className: "slide" });
  const { label, input, output } = slider(names[0], 0, rows.length - 1, 1, Math.floor(rows.length / 2));
  const picture = document.createElement("div"), said = document.createElement("output");
  const draw = () => {
    const [level, mean, low, high] = rows[input.value];
    output.textContent = level;
    const marks = Array.from({ length: Math.floor(most) + 1 }, (_, tick) => `<line x1="${at(tick)}" x2="${at(tick)}" y1="26" y2="32"/><text x="${at(tick)}" y="46">${tick}</text>`);
    picture.innerHTML = `<svg viewBox="0 0 600 50" aria-hidden="true"><line x1="20" x2="580" y1="29" y2="29"/>${marks.join("")}<line class="range" x1="${at(low)}" x2="${at(high)}" y1="14" y2="14"/><circle cx="${at(mean)}" cy="14" r="6"/></svg>`;
    said.textContent = `${table.caption.textContent}: at ${level}, ${names[1]} ${mean}, ${names[2]} ${low}, ${names[3]} ${high}.`;
  };
  input.addEventListener("input", draw);
  draw();
  box.append(label, picture, said);
  (table.closest(".scroll") ?? table).before(box);
});

// ---- what so many pairs of runs can show: the power of the interval of a t test --------------------------------------
document.querySelectorAll(".dial").forEach((dial) => {
  const normal = (x) => { // Abramowitz and Stegun 7.1.26, for the distribution function; off by less than 1e-7
    const t = 1 / (1 + 0.3275911 * Math.abs(x) / Math.SQRT2);
    const tail = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429)))) * Math.exp(-x * x / 2) / 2;
    return x < 0 ? tail : 1 - tail;
  };
  const exceeds = (critical, freedom, distance) => { // noncentral t: the mean over the spread that a sample may have
    let sum = 0, whole = 0;
    for (let step = 0; step < 2000; step++) {
      const spread = (step + 0.5) / 400, weight = Math.exp((freedom - 1) * Math.log(spread) - freedom * (spread ** 2 - 1) / 2);
      whole += weight;
      sum += weight * normal(distance - critical * spread);
    }
    return sum / whole;
  };
  const critical = (freedom) => {
    let [low, high] = [0, 100];
    for (let step = 0; step < 40; step++) {
      const middle = (low + high) / 2;
      if (exceeds(middle, freedom, 0) > 0.025) low = middle; else high = middle;
    }
    return low;
  };
  const effect = slider("the true effect (points)", 0, 5, 0.1, 1);
  const spread = slider("standard deviation of a pair's difference (points)", 0.1, 3, 0.1, 0.8);
  const pairs = slider("pairs of runs", 2, 30, 1, 6);
  const meter = Object.assign(document.createElement("meter"), { min: 0, max: 1 }), said = document.createElement("output");
  const draw = () => {
    for (const { input, output } of [effect, spread, pairs]) output.textContent = input.value;
    const n = Number(pairs.input.value), distance = effect.input.value / spread.input.value * Math.sqrt(n);
    meter.value = exceeds(critical(n - 1), n - 1, distance);
    said.textContent = `In ${(100 * meter.value).toFixed(0)} of 100 such experiments the interval lies wholly on the side of the effect.`;
  };
  meter.setAttribute("aria-label", "Probability that the effect is found");
  for (const { input } of [effect, spread, pairs]) input.addEventListener("input", draw);
  dial.replaceChildren(effect.label, spread.label, pairs.label, meter, said);
  draw();
});
