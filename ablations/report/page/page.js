"use strict";
(() => {
  const cell = (row, column) => {
    const own = row.cells[column];
    const number = own.dataset.v;
    return number === undefined || number === "" ? own.textContent.trim() : Number(number);
  };
  const compare = (first, second) => {
    if (typeof first === "number" && typeof second === "number") return first - second;
    if (typeof first === "number") return -1; // what has no number comes last
    if (typeof second === "number") return 1;
    return first.localeCompare(second, "en", { numeric: true });
  };
  const sort = (table, column, descending) => {
    const body = table.tBodies[0];
    const rows = [...body.rows].map((row, place) => [cell(row, column), place, row]);
    rows.sort((one, other) => {
      const order = compare(one[0], other[0]);
      const words = typeof one[0] !== "number" && typeof other[0] === "number";
      const numbers = typeof one[0] === "number" && typeof other[0] !== "number";
      return (words || numbers || !descending ? order : -order) || one[1] - other[1];
    });
    body.append(...rows.map(row => row[2]));
    [...table.tHead.rows[0].cells].forEach((head, place) => {
      if (place === column) head.setAttribute("aria-sort", descending ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    });
  };
  for (const table of document.querySelectorAll("table.sortable")) {
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = head.textContent;
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        sort(table, column, head.getAttribute("aria-sort") === "ascending");
      });
    });
  }
  const remembered = name => { try { return sessionStorage.getItem(name); } catch { return null; } };
  const remember = (name, value) => { try { sessionStorage.setItem(name, value); } catch { /* a file opened in private has none */ } };
  const root = document.documentElement;
  const theme = document.createElement("button");
  theme.id = "theme";
  theme.type = "button";
  const system = matchMedia("(prefers-color-scheme: dark)");
  const dark = () => (root.dataset.theme ?? (system.matches ? "dark" : "light")) === "dark";
  const show = () => { theme.textContent = dark() ? "light colours" : "dark colours"; };
  if (remembered("theme")) root.dataset.theme = remembered("theme");
  theme.addEventListener("click", () => {
    root.dataset.theme = dark() ? "light" : "dark";
    remember("theme", root.dataset.theme);
    show();
  });
  system.addEventListener("change", show);
  document.body.append(theme);
  show();
  let closed = [];
  addEventListener("beforeprint", () => {
    closed = [...document.querySelectorAll("details:not([open])")];
    closed.forEach(one => { one.open = true; });
  });
  addEventListener("afterprint", () => closed.forEach(one => { one.open = false; }));
})();
