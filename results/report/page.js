"use strict";

// Pictures: drawn in the light colours they come with, or with each exchanged for its partner on dark.
const darkColours = JSON.parse(document.getElementById("dark-colours").textContent);
const onDark = matchMedia("(prefers-color-scheme: dark)");
const byTouch = matchMedia("(pointer: coarse)");

function draw(printing) {
  const exchange = onDark.matches && !printing;
  for (const plot of document.querySelectorAll(".plot")) {
    const source = document.getElementById(plot.dataset.figure).textContent;
    const figure = JSON.parse(source, (key, value) => (exchange && Object.hasOwn(darkColours, value) ? darkColours[value] : value));
    // A finger scrolls the page; it must not be caught by a picture and zoom it.
    if (byTouch.matches) figure.layout.dragmode = false;
    figure.layout.width = plot.clientWidth;
    Plotly.react(plot, figure.data, figure.layout, { displayModeBar: false });
  }
}

onDark.addEventListener("change", () => draw(false));
let width = 0;
new ResizeObserver(([page]) => {
  if (page.contentRect.width === width) return;
  width = page.contentRect.width;
  draw(document.documentElement.classList.contains("printing"));
}).observe(document.querySelector("main"));
addEventListener("beforeprint", () => {
  document.documentElement.classList.add("printing");
  draw(true);
});
addEventListener("afterprint", () => {
  document.documentElement.classList.remove("printing");
  draw(false);
});

// The trials table: a click on a heading sorts, and once more the other way; missing values always come last.
const table = document.getElementById("trials-table");
if (table) {
  const headings = [...table.tHead.rows[0].cells];
  const body = table.tBodies[0];
  const valueOf = (row, column) => row.cells[column].dataset.value;
  const isNumber = (text) => text !== "" && !Number.isNaN(Number(text));

  const sortBy = (column) => {
    const heading = headings[column];
    const values = [...body.rows].map((row) => valueOf(row, column)).filter((value) => value !== "");
    const numeric = values.every(isNumber);
    const first = heading.dataset.bestFirst;
    const before = heading.getAttribute("aria-sort");
    const order = before === null ? first : before === "ascending" ? "descending" : "ascending";
    headings.forEach((each) => each.removeAttribute("aria-sort"));
    heading.setAttribute("aria-sort", order);
    const sign = order === "ascending" ? 1 : -1;
    const rows = [...body.rows].sort((a, b) => {
      const [x, y] = [valueOf(a, column), valueOf(b, column)];
      if (x === "" || y === "") return (x === "") - (y === "");
      // Widths such as "8-16" stand before "32-64".
      return sign * (numeric ? Number(x) - Number(y) : x.localeCompare(y, undefined, { numeric: true }));
    });
    body.append(...rows);
  };
  headings.forEach((heading, column) => heading.querySelector("button").addEventListener("click", () => sortBy(column)));

  // A term is a condition on a column (lr>0.01, status=completed) or a word to be found anywhere; all must hold.
  const holds = {
    "<": (a, b) => a < b,
    "<=": (a, b) => a <= b,
    ">": (a, b) => a > b,
    ">=": (a, b) => a >= b,
    "=": (a, b) => a === b,
    "!=": (a, b) => a !== b,
  };
  const parsed = (term) => {
    const [, name, operator, wanted] = term.match(/^([^<>=!]+)(<=|>=|!=|<|>|=)(.+)$/) ?? [];
    const column = headings.findIndex((heading) => heading.dataset.column.toLowerCase() === name);
    return { term, name, operator, wanted, column };
  };
  const meets = (row, { term, name, operator, wanted, column }) => {
    if (name === undefined) return row.textContent.toLowerCase().includes(term);
    const value = valueOf(row, column).toLowerCase();
    if (isNumber(value) && isNumber(wanted.replace("%", ""))) {
      const number = wanted.endsWith("%") ? Number(wanted.slice(0, -1)) / 100 : Number(wanted);
      return holds[operator](Number(value), number);
    }
    return value !== "" && holds[operator](value, wanted);
  };
  const input = document.getElementById("filter");
  const filter = () => {
    const terms = input.value.toLowerCase().replace(/\s*(<=|>=|!=|<|>|=)\s*/g, "$1").split(/\s+/).filter(Boolean);
    const conditions = terms.map(parsed);
    const unknown = conditions.find((each) => each.name !== undefined && each.column < 0);
    input.setAttribute("aria-invalid", unknown !== undefined);
    if (unknown !== undefined) {
      document.getElementById("shown").value = `There is no column ${unknown.name}.`;
      return;
    }
    let shown = 0;
    for (const row of body.rows) {
      row.hidden = !conditions.every((each) => meets(row, each));
      shown += !row.hidden;
    }
    const all = body.rows.length;
    const trials = all === 1 ? "1 trial" : `${all} trials`;
    document.getElementById("shown").value = shown === all ? trials : `${shown} of ${trials}`;
  };
  input.addEventListener("input", filter);
  input.form.addEventListener("submit", (event) => event.preventDefault());
}

// A page that is served while the study runs is loaded again when the run has news, at the same place.
const seconds = Number(document.body.dataset.refreshSeconds);
if (seconds) {
  let state = null;
  const ask = async () => {
    try {
      const answer = await (await fetch("state")).text();
      if (state !== null && answer !== state) location.reload();
      state = answer;
    } catch {
      // The server has ended: what is shown stays.
    }
  };
  ask();
  setInterval(ask, 1000 * seconds);
}
