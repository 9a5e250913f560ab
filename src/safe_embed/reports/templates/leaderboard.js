// Sorts a table by the column whose title was chosen; cells without a value go last.
const key = (row, column) => {
  const cell = row.cells[column];
  return cell.dataset.value === undefined ? null : Number(cell.dataset.value);
};
const text = (row, column) => row.cells[column].textContent.trim();

function compare(a, b, column) {
  const [x, y] = [key(a, column), key(b, column)];
  if (x !== null && y !== null) return x - y;
  return text(a, column).localeCompare(text(b, column), undefined, { numeric: true });
}

for (const table of document.querySelectorAll(".sortable")) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const now = head.getAttribute("aria-sort");
      const first = head.dataset.first ?? "ascending";
      const other = first === "ascending" ? "descending" : "ascending";
      const next = now === first ? other : first;
      heads.forEach((one) => one.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", next);
      const rows = [...body.rows];
      const numeric = rows.some((row) => key(row, column) !== null);
      const absent = (row) => numeric && key(row, column) === null;
      rows.sort((a, b) => absent(a) - absent(b) || (next === "ascending" ? 1 : -1) * compare(a, b, column));
      body.append(...rows);
    });
  });
  heads[1]?.querySelector("button").click();
}
