// The explorer: filters and sorts the items, and draws the rows of the list that can be seen.
const data = JSON.parse(document.getElementById("data-explorer").textContent);
const [TASK, ID, GROUP, TEXT, OTHERS, SCORES, COSINES, NEIGHBORS] = [0, 1, 2, 3, 4, 5, 6, 7];
const SPARE_ROWS = 6; // drawn above and below what can be seen, so that a quick scroll shows no gap
const MOST_DIFF_CELLS = 200_000; // of the table of word by word; longer texts are not marked
const find = (name) => document.getElementById(`explorer-${name}`);
const [form, task, encoder, group, order, search, unfold, count, view, list, detail] = [
  "form", "task", "encoder", "group", "order", "search", "unfold", "count", "view", "list", "detail",
].map(find);
const spacer = list.firstElementChild;
const narrow = matchMedia("(max-width: 52rem)");
const unfolded = new Set();
let shown = []; // positions of items, in the order of the list
let chosen = 0; // position in `shown`
let haystacks = null;

const words = (text) => text.match(/[\p{L}\p{N}'’]+|\s+|[^\p{L}\p{N}\s]/gu) ?? [];
const number = (value) => (value == null ? "–" : value.toFixed(3).replace("-", "−"));
const items = data.items;
const rowHeight = () => (narrow.matches ? 136 : 104);

function element(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

// Longest common subsequence of words; returns for each word of both texts whether it changed.
function changes(a, b) {
  const changed = [new Array(a.length).fill(true), new Array(b.length).fill(true)];
  const width = b.length + 1;
  if (a.length * b.length > MOST_DIFF_CELLS) return changed.map((one) => one.fill(false));
  const lengths = new Uint16Array((a.length + 1) * width);
  for (let i = a.length - 1; i >= 0; i--) {
    for (let j = b.length - 1; j >= 0; j--) {
      lengths[i * width + j] = a[i] === b[j]
        ? lengths[(i + 1) * width + j + 1] + 1
        : Math.max(lengths[(i + 1) * width + j], lengths[i * width + j + 1]);
    }
  }
  for (let i = 0, j = 0; i < a.length && j < b.length;) {
    if (a[i] === b[j]) { changed[0][i++] = false; changed[1][j++] = false; }
    else if (lengths[(i + 1) * width + j] >= lengths[i * width + j + 1]) i++;
    else j++;
  }
  return changed;
}

// One text with its changed words in <mark>, neighbouring ones together.
function marked(into, tokens, changed, className) {
  for (let i = 0; i < tokens.length;) {
    let end = i + 1;
    while (end < tokens.length && (changed[end] === changed[i] || (changed[i] && !tokens[end].trim()
      && changed[end + 1]))) end++;
    const text = tokens.slice(i, end).join("");
    const bare = text.trim();
    if (changed[i] && bare) {
      const [before, after] = [text.slice(0, text.indexOf(bare)), text.slice(text.indexOf(bare) + bare.length)];
      into.append(before, element("mark", className, bare), after);
    } else into.append(text);
    i = end;
  }
}

function sideBySide(left, right, before, after) {
  const [a, b] = [words(before), words(after)];
  const [ofA, ofB] = changes(a, b);
  marked(left, a, ofA, "before");
  marked(right, b, ofB, "after");
}

const isFolded = (position) => data.groups[items[position][GROUP]][1] && !unfold.checked && !unfolded.has(position);
const taskOf = (item) => data.tasks[item[TASK]];
const score = (position) => items[position][SCORES][+encoder.value];
const badness = (position) => {
  const value = score(position);
  if (value == null) return -Infinity;
  return taskOf(items[position]).higher_is_worse ? value : -value;
};
const disagreement = (position) => {
  const known = items[position][SCORES].filter((value) => value != null);
  return Math.max(...known) - Math.min(...known);
};
const nearest = (item) => {
  const cosines = item[COSINES][+encoder.value] ?? item[COSINES].find(Boolean);
  return item[OTHERS][cosines.indexOf(Math.max(...cosines))];
};

const ORDERS = {
  worst: ["Worst first", (a, b) => badness(b) - badness(a) || a - b],
  best: ["Best first", (a, b) => badness(a) - badness(b) || a - b],
  differ: ["Encoders differ most", (a, b) => disagreement(b) - disagreement(a) || a - b],
  group: ["By type or category", (a, b) => items[a][GROUP] - items[b][GROUP] || badness(b) - badness(a)],
  data: ["As in the data", (a, b) => a - b],
};

function tasksChosen() {
  return task.value === "both" ? [0, 1] : [+task.value];
}

function fill(select, options) {
  const before = select.value;
  select.replaceChildren(...options.map(([value, text]) => new Option(text, value)));
  if (options.some(([value]) => String(value) === before)) select.value = before;
}

function fillGroups() {
  const tasks = new Set(tasksChosen());
  const present = new Set(items.filter((item) => tasks.has(item[TASK])).map((item) => item[GROUP]));
  fill(group, [["all", "All"], ...[...present].map((one) => [one, data.groups[one][0]])]);
}

function haystack(position) {
  haystacks ??= new Array(items.length);
  const item = items[position];
  return haystacks[position] ??= [item[TEXT], ...item[OTHERS]].map((one) => data.texts[one]).join("\n").toLowerCase()
    + "\n" + item[ID].toLowerCase();
}

function refresh() {
  const tasks = new Set(tasksChosen());
  const wanted = search.value.trim().toLowerCase();
  shown = [];
  for (let position = 0; position < items.length; position++) {
    const item = items[position];
    if (tasks.has(item[TASK]) && (group.value === "all" || +group.value === item[GROUP])
      && (!wanted || haystack(position).includes(wanted))) shown.push(position);
  }
  shown.sort(ORDERS[order.value][1]);
  const total = items.reduce((sum, item) => sum + tasks.has(item[TASK]), 0);
  const what = [...tasks].map((one) => data.tasks[one].what).join(" and ");
  const head = order.value === "worst" && shown.length > 20 ? "; the first twenty are the worst" : "";
  count.textContent = `${shown.length.toLocaleString("en")} of ${total.toLocaleString("en")} ${what}${head}.`;
  list.setAttribute("aria-label", `Items, ${ORDERS[order.value][0].toLowerCase()}`);
  list.scrollTop = 0;
  choose(0, false);
}

function makeRow(place) {
  const item = items[shown[place]];
  const row = element("div", "row");
  row.id = `item-${place}`;
  row.setAttribute("role", "option");
  row.setAttribute("aria-selected", place === chosen);
  row.setAttribute("aria-setsize", shown.length);
  row.setAttribute("aria-posinset", place + 1);
  row.style.top = `${place * rowHeight()}px`;
  const head = element("div", "head");
  head.append(element("span", "", `${place + 1}`), element("span", "score", number(score(shown[place]))),
    element("span", "", taskOf(item).score), element("span", "", data.groups[item[GROUP]][0]));
  const [left, right] = [element("div", "side"), element("div", "side")];
  if (isFolded(shown[place])) left.append(element("span", "folded", "Folded: choose it to unfold it."));
  else if (item[OTHERS].length) sideBySide(left, right, data.texts[item[TEXT]], data.texts[nearest(item)]);
  else {
    left.textContent = data.texts[item[TEXT]];
    const first = item[NEIGHBORS]?.[+encoder.value]?.[0];
    if (first != null) right.textContent = isFolded(first) ? "nearest: folded" : `nearest: ${data.texts[items[first][TEXT]]}`;
  }
  row.append(head, left, right);
  row.dataset.place = place;
  return row;
}

function drawRows(from, to) {
  const rows = [];
  for (let place = from; place < to; place++) rows.push(makeRow(place));
  spacer.replaceChildren(...rows);
}

let drawn = "";
function draw(force) {
  const height = rowHeight();
  const from = Math.max(0, Math.floor(list.scrollTop / height) - SPARE_ROWS);
  const to = Math.min(shown.length, Math.ceil((list.scrollTop + list.clientHeight) / height) + SPARE_ROWS);
  if (!force && drawn === `${from} ${to}`) return;
  drawn = `${from} ${to}`;
  list.style.setProperty("--row", `${height}px`);
  spacer.style.height = `${shown.length * height}px`;
  drawRows(from, to);
}

function choose(place, scroll = true) {
  chosen = Math.max(0, Math.min(place, shown.length - 1));
  if (scroll) {
    const top = chosen * rowHeight();
    if (top < list.scrollTop) list.scrollTop = top;
    if (top + rowHeight() > list.scrollTop + list.clientHeight) list.scrollTop = top + rowHeight() - list.clientHeight;
  }
  draw(true);
  if (shown.length) list.setAttribute("aria-activedescendant", `item-${chosen}`);
  else list.removeAttribute("aria-activedescendant");
  drawDetail();
}

function textCell(row, position, prompt) {
  const cell = element("td", "text");
  if (prompt === null) cell.textContent = data.texts[position];
  else sideBySide(element("div"), cell, prompt, data.texts[position]);
  row.append(cell);
  return row;
}

function detailTable(titles, rows) {
  const scroll = element("div", "scroll");
  scroll.tabIndex = 0; // so that the keyboard can scroll it
  scroll.setAttribute("role", "region");
  scroll.setAttribute("aria-label", titles[0]);
  const table = element("table");
  const head = element("tr");
  for (const title of titles) {
    const cell = element("th", "", title);
    cell.scope = "col";
    head.append(cell);
  }
  table.append(element("thead"), element("tbody"));
  table.tHead.append(head);
  table.tBodies[0].append(...rows);
  scroll.append(table);
  return scroll;
}

function editsTable(item) {
  const own = item[COSINES][+encoder.value] ?? item[COSINES].find(Boolean);
  const by = item[OTHERS].map((_, at) => at).sort((a, b) => own[b] - own[a]);
  return detailTable(["safe text", ...data.encoders.map((name) => `cosine, ${name}`)], by.map((at) => {
    const row = textCell(element("tr"), item[OTHERS][at], data.texts[item[TEXT]]);
    for (const cosines of item[COSINES]) row.append(element("td", "", number(cosines?.[at])));
    return row;
  }));
}

function neighborsTable(item) {
  const of = +encoder.value;
  const rows = (item[NEIGHBORS]?.[of] ?? []).map((position, at) => {
    const row = element("tr");
    if (position == null) row.append(element("td", "", "not in this run"), element("td"));
    else {
      const neighbor = items[position];
      if (isFolded(position)) row.append(element("td", "folded", "folded"));
      else textCell(row, neighbor[TEXT], null);
      const same = neighbor[GROUP] === item[GROUP] ? " (the same)" : "";
      row.append(element("td", "", data.groups[neighbor[GROUP]][0] + same));
    }
    row.append(element("td", "", number(item[COSINES][of]?.[at])));
    return row;
  });
  return detailTable(["nearest prompt", "category", "cosine"], rows);
}

function drawDetail() {
  detail.replaceChildren();
  if (!shown.length) return void detail.append(element("p", "quiet", "Nothing fits the filters."));
  const position = shown[chosen];
  const item = items[position];
  detail.append(element("h3", "", `${data.groups[item[GROUP]][0]} · ${item[ID]}`));
  const scores = data.encoders.map((name, at) => `${name} ${number(item[SCORES][at])}`);
  detail.append(element("p", "quiet", `${taskOf(item).title}; ${taskOf(item).score}: ${scores.join(", ")}`));
  if (isFolded(position)) {
    const button = element("button", "", "Unfold this prompt");
    button.type = "button";
    button.addEventListener("click", () => { unfolded.add(position); choose(chosen); detail.focus(); });
    detail.append(element("p", "", "A prompt of a kind that is folded, as it may be hateful or sexual."), button);
    return;
  }
  const prompt = element("p", "prompt");
  if (item[OTHERS].length) sideBySide(prompt, element("div"), data.texts[item[TEXT]], data.texts[nearest(item)]);
  else prompt.textContent = data.texts[item[TEXT]];
  detail.append(element("strong", "", "Unsafe prompt"), prompt);
  detail.append(item[OTHERS].length ? editsTable(item) : neighborsTable(item));
}

const KEYS = {
  ArrowDown: () => chosen + 1,
  ArrowUp: () => chosen - 1,
  PageDown: () => chosen + Math.max(1, Math.floor(list.clientHeight / rowHeight())),
  PageUp: () => chosen - Math.max(1, Math.floor(list.clientHeight / rowHeight())),
  Home: () => 0,
  End: () => shown.length - 1,
};

function start() {
  if (!items.length) return void (count.textContent = "These runs hold no items.");
  const lookAlikes = data.tasks.every((one) => one.higher_is_worse) ? data.tasks.length : data.tasks.length - 1;
  fill(task, [...data.tasks.map((one, at) => [at, one.title]), ...(lookAlikes > 1 ? [["both", "Pairs and contrast sets"]] : [])]);
  fill(encoder, data.encoders.map((name, at) => [at, name]));
  const orders = Object.entries(ORDERS).filter(([key]) => key !== "differ" || data.encoders.length > 1);
  encoder.value = data.first;
  fill(order, orders.map(([key, [title]]) => [key, title]));
  fillGroups();
  form.hidden = view.hidden = false;
  task.addEventListener("change", () => { fillGroups(); refresh(); });
  for (const control of [encoder, group, order, unfold]) control.addEventListener("change", refresh);
  let waiting = 0;
  search.addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(refresh, 120); });
  form.addEventListener("submit", (event) => event.preventDefault());
  let asked = false;
  list.addEventListener("scroll", () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => { asked = false; draw(false); });
  }, { passive: true });
  list.addEventListener("click", (event) => {
    const row = event.target.closest(".row");
    if (row) choose(+row.dataset.place);
    if (row && narrow.matches) detail.scrollIntoView({ block: "nearest" });
  });
  list.addEventListener("keydown", (event) => {
    const next = KEYS[event.key];
    if (!next) return;
    event.preventDefault();
    choose(next());
  });
  addEventListener("resize", () => draw(true));
  addEventListener("beforeprint", () => drawRows(0, Math.min(20, shown.length)));
  addEventListener("afterprint", () => draw(true));
  refresh();
}
start();
