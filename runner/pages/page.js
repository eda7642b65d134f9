// What every page does: sort a table by its heads, enlarge a picture. No framework, no build step, nothing loaded.
"use strict";

for (const table of document.querySelectorAll("table[data-sortable]")) {
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = head.querySelector("button");
    if (!button) return;
    button.addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") === "descending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const key = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent.trim();
      const compare = (a, b) => {
        const [x, y] = [key(a), key(b)];
        if (x === "" || y === "") return (x === "") - (y === ""); // what was not measured stays last
        const order = isNaN(x) || isNaN(y) ? x.localeCompare(y) : x - y;
        return up ? order : -order;
      };
      body.append(...[...rows].sort(compare));
    });
  });
}

const large = document.getElementById("large");
document.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-large]");
  if (!button) return;
  const picture = button.querySelector("img");
  large.querySelector("img").src = picture.src;
  large.querySelector("img").alt = picture.alt;
  large.querySelector("p").textContent = picture.alt;
  large.showModal();
});
large.addEventListener("click", (event) => {
  if (event.target === large) large.close();
});
