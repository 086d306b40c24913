// Swaps in what the server says is another, and lets bars and ages go on in between. The page is whole without it.
"use strict";

const body = document.body;
const live = document.querySelector(".live");
const rows = document.getElementById("rows");
// Where the table of elections is, the page itself filters it.
const filter = rows && document.querySelector(".filter input");

// Two clocks of the server, as far as this page knows: the one that spans are measured by, and the wall clock.
// News are late rather than early, so the reading that is ahead is the better one.
const clock = { span: Number(body.dataset.now) - performance.now(), wall: Number(body.dataset.wall) - Date.now() };
const spanNow = () => performance.now() + clock.span;
const wallNow = () => Date.now() + clock.wall;

const age = (ms) => {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  if (seconds < 120) return `${seconds}s`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)}m`;
  if (seconds < 172800) return `${Math.floor(seconds / 3600)}h`;
  return `${Math.floor(seconds / 86400)}d`;
};

// Nobody is shown as leading when the term is over by this page's own clock, or when nothing is heard any more.
const doubt = (of) => {
  of.dataset.state = "Unknown";
  const badge = of.querySelector(".badge");
  if (badge) badge.textContent = "Unknown";
};

const write = (element, text) => {
  if (element.textContent !== text) element.textContent = text;
};

const move = () => {
  const [span, wall] = [spanNow(), wallNow()];
  document.querySelectorAll("[data-at]").forEach((of) => write(of, age(span - of.dataset.at)));
  document.querySelectorAll("[data-since]").forEach((of) => write(of, age(wall - of.dataset.since)));
  document.querySelectorAll("progress[data-expires]").forEach((bar) => {
    const left = bar.dataset.expires - span;
    bar.value = Math.max(0, Math.min(left, bar.max));
    const text = bar.nextElementSibling;
    if (text) write(text, `${Math.max(0, Math.ceil(left / 1000))}s`);
    const of = bar.closest("[data-state]");
    if (left <= 0 && of && of.dataset.state !== "Unknown") doubt(of);
  });
};

const element = (html) => {
  const template = document.createElement("template");
  template.innerHTML = html;
  return template.content.firstElementChild;
};

const matches = (row, text) =>
  `${row.dataset.namespace}/${row.dataset.lock} ${row.dataset.holder} ${row.dataset.state} ${row.lastElementChild.textContent}`
    .toLowerCase().includes(text);

const sift = (some) => {
  if (!filter) return;
  const text = filter.value.trim().toLowerCase();
  for (const row of some) row.hidden = !matches(row, text);
  const isEmpty = rows.children.length === 0;
  document.getElementById("empty").hidden = !isEmpty;
  document.getElementById("unmatched").hidden = isEmpty || rows.querySelector("tr:not([hidden])") !== null;
};

// What needs attention most comes first; then by name.
const order = (a, b) => b.dataset.rank - a.dataset.rank || (a.id < b.id ? -1 : a.id > b.id ? 1 : 0);

const place = (row) => {
  const old = document.getElementById(row.id);
  if (old) {
    if (old.dataset.holder !== row.dataset.holder) row.classList.add("changed");
    const inOld = old.contains(document.activeElement);
    const [before, after] = [old.previousElementSibling, old.nextElementSibling];
    old.replaceWith(row);
    if (inOld) row.querySelector("a").focus();
    if (!(before && order(before, row) > 0) && !(after && order(row, after) > 0)) return;
    row.remove();
  }
  let [low, high] = [0, rows.children.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (order(rows.children[middle], row) < 0) low = middle + 1; else high = middle;
  }
  rows.insertBefore(row, rows.children[low] || null);
};

const swap = (id, html) => {
  const old = document.getElementById(id);
  if (old) old.replaceWith(element(html));
};

const news = (told) => {
  clock.span = Math.max(clock.span, told.now - performance.now());
  clock.wall = told.wall - Date.now();
  if (rows) {
    for (const id of told.gone) document.getElementById(id)?.remove();
    const changed = told.rows.map(element);
    changed.forEach(place);
    if (changed.length || told.gone.length) sift(changed);
    document.title = `${told.title} · incumbent`;
  }
  for (const [id, html] of Object.entries(told.parts)) swap(id, html);
  addCopyButtons();
  move();
};

const addCopyButtons = () => {
  if (!navigator.clipboard) return;
  document.querySelectorAll(".commands li").forEach((item) => {
    if (item.querySelector("button")) return;
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "Copy";
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(item.querySelector("code").textContent);
      button.textContent = "Copied";
    });
    item.append(button);
  });
};

let [source, heard] = [null, performance.now()];

const lost = () => {
  if (body.dataset.lost) return;
  body.dataset.live = "0";
  body.dataset.lost = "1";
  live.textContent = `connection lost since ${new Date(wallNow()).toISOString().slice(11, 19)} UTC: nothing here is sure`;
  document.querySelectorAll("[data-state]").forEach(doubt);
  document.querySelectorAll("[data-testid=watch]").forEach((watch) => write(watch, "unknown"));
};

const listen = () => {
  source?.close();
  heard = performance.now();
  source = new EventSource(body.dataset.events);
  let isFirst = true;
  source.addEventListener("news", (event) => {
    heard = performance.now();
    const told = JSON.parse(event.data);
    if (isFirst) {
      // All is told at the beginning: a dashboard that was started anew counts from elsewhere.
      clock.span = told.now - performance.now();
      if (rows) {
        const there = new Set(told.rows.map((html) => element(html).id));
        for (const row of [...rows.children]) if (!there.has(row.id)) row.remove();
      }
    }
    isFirst = false;
    news(told);
    delete body.dataset.lost;
    // The page may be up to date with a dashboard that sees nothing itself.
    body.dataset.live = told.isCut ? "0" : "1";
    write(live, told.isCut ? "cannot see the API server" : "live");
  });
  source.onerror = () => {
    isFirst = true;
    lost();
  };
};

filter?.form.addEventListener("submit", (event) => event.preventDefault());
filter?.addEventListener("input", () => sift(rows.children));
addCopyButtons();
if (body.dataset.events) {
  listen();
  // A board comes each second. What is silent is dead, though its connection may look well; and a browser gives
  // up for good where a proxy answers with an error.
  setInterval(() => {
    if (performance.now() - heard > 5000) {
      lost();
      listen();
    }
  }, 1000);
}
move();
setInterval(move, rows && rows.children.length > 60 ? 1000 : 250);
