// The page: photos come in by drop, paste, choice or camera, are located one request each, and shown as they are found.

import {locate} from "./api.js";
import {Card} from "./card.js";
import {compare} from "./compare.js";
import {find} from "./dom.js";
import {PlacesMap} from "./places.js";
import {Review} from "./review.js";
import {judge, position} from "./words.js";

const AT_ONCE = 4;
const settings = JSON.parse(document.body.dataset.settings);
const items = [];
const rerank = find("rerank"); // where the service compares details
const map = new PlacesMap(find("map"), settings, {onPick: pick, onCompare: compare, onMove: (item, at) => review.move(item, at)});
const review = new Review(items, settings, {
  getCentre: () => map.middle,
  onFilter: () => draw(),
  onMove: item => {
    item.card.update();
    pick(item, false);
    say(`${item.name}: placed by hand, ${position(item.answer)}`);
  },
});
let current = null;
let running = 0;

function add(files) {
  const added = [...files].map(file => ({file, name: file.name || "pasted photo", address: URL.createObjectURL(file), state: "waiting"}));
  if (!added.length) return;
  for (const item of added) {
    item.card = new Card(item, {onPick: picked => pick(picked === current ? null : picked), onRemove: remove, onLook: (rank, on) => map.highlight(rank, on)});
    review.attach(item);
    find("photos").append(item.card.element);
  }
  items.push(...added);
  pick(added[0]);
  work();
}

// Locate the photos that wait, a few at a time.
function work() {
  for (const item of items.filter(({state}) => state === "waiting").slice(0, AT_ONCE - running)) search(item);
}

async function search(item) {
  running++;
  item.state = "working";
  item.answer = item.error = null;
  item.card.update();
  const request = item.request = new AbortController();
  try {
    if (item.file.size > settings.maxMegabytes * 1e6) throw new Error(`${item.name} is larger than ${settings.maxMegabytes} MB.`);
    item.answer = await locate(item.file, readPrior(), request.signal);
    item.state = "found";
    say([`${item.name}: ${judge(item.answer).words}`, position(item.answer)].filter(Boolean).join(", "));
  } catch (error) {
    item.state = "failed";
    item.error = error.message;
    if (!request.signal.aborted) say(`${item.name}: ${error.message}`);
  }
  running--;
  item.card.update();
  if (item === current) pick(item);
  else draw();
  work();
}

function pick(item, move = true) {
  current = item;
  draw();
  if (item?.answer && move) map.focus(item.answer);
}

function remove(item) {
  item.request?.abort();
  item.card.element.remove();
  URL.revokeObjectURL(item.address);
  const index = items.indexOf(item);
  items.splice(index, 1);
  const next = items[Math.min(index, items.length - 1)];
  pick(item === current ? next ?? null : current);
  (next?.card.head ?? find("choose")).focus();
}

function draw() {
  items.forEach((item, index) => item.card.arrange({number: items.length > 1 ? index + 1 : null, open: item === current}));
  document.body.classList.toggle("busy", items.length > 0);
  review.update();
  map.show(items, current);
}

function say(text) {
  find("status").textContent = text;
}

function readPrior() {
  const known = Object.fromEntries([...new FormData(find("prior"))].filter(([, value]) => value.trim()));
  return rerank && !rerank.checked ? {...known, rerank: "false"} : known;
}

function searchAgain() {
  for (const item of items) if (item.state !== "working" && !item.answer?.byHand) item.state = "waiting";
  work();
}

for (const id of ["choose", "shoot"]) {
  find(id).addEventListener("change", ({target}) => {
    add(target.files);
    target.value = ""; // so that the same file can be chosen again
  });
}
addEventListener("paste", ({clipboardData}) => add(clipboardData.files));

const veil = find("veil");
const carriesFiles = event => event.dataTransfer?.types.includes("Files");
addEventListener("dragenter", event => { if (carriesFiles(event)) veil.hidden = false; });
addEventListener("dragleave", event => { if (!event.relatedTarget) veil.hidden = true; });
addEventListener("dragover", event => { if (carriesFiles(event)) event.preventDefault(); });
addEventListener("drop", event => {
  if (!carriesFiles(event)) return;
  event.preventDefault();
  veil.hidden = true;
  add(event.dataTransfer.files);
});

find("prior").addEventListener("submit", event => {
  event.preventDefault();
  searchAgain();
});
rerank?.addEventListener("change", searchAgain);
find("centre").addEventListener("click", () => {
  const {near, within} = find("prior").elements;
  near.value = map.centre;
  within.value ||= 200;
});

map.start().then(
  total => { find("total").textContent = `${total.toLocaleString()} photos in the database. `; },
  error => say(error.message),
);
