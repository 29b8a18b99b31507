// Query and match side by side.

/* global Pair */
import {explainMatch, loadThumbnail} from "./api.js";
import {make} from "./dom.js";
import {compass, day, metres} from "./words.js";

const pair = new Pair(document.querySelector("dialog.pair"));
const {compares} = JSON.parse(document.body.dataset.settings);

export function compare(item, rank) {
  const {matches} = item.answer;
  pair.open(matches.length, rank, number => describe(item, matches[number], number));
}

function describe(item, match, rank) {
  const image = make("img", {alt: `Match ${rank + 1}`});
  loadThumbnail(match.id).then(address => { image.src = address; }, error => image.replaceWith(error.message));
  const facts = [
    `${metres(match.distance_metres)} from the estimate`,
    match.heading == null ? null : `looking ${compass(match.heading)}`,
    match.timestamp ? `taken on ${day(match.timestamp)}` : null,
    `difference in looks ${match.descriptor_distance.toFixed(2)}`,
    match.name,
  ];
  return {
    title: `Match ${rank + 1} of ${item.answer.matches.length}`,
    photos: [preview(item), image],
    captions: [[`Your photo: ${item.name}`], [facts.filter(Boolean).join(" · "), ...nameAuthor(match.credit)]],
    explanation: compares ? explain(item, match.id) : null,
  };
}

// What of a photo and a match fits together; asked once.
function explain(item, id) {
  item.explanations ??= new Map();
  if (!item.explanations.has(id)) {
    const asked = explainMatch(item.file, id);
    asked.catch(() => item.explanations.delete(id));
    item.explanations.set(id, asked);
  }
  return item.explanations.get(id);
}

// Whom to name for a photo of somebody else, with links to the photo and to its licence.
function nameAuthor(credit) {
  if (!credit) return [];
  const link = (text, address) => /^https?:/.test(address ?? "")
    ? make("a", {href: address, target: "_blank", rel: "noopener noreferrer", textContent: text}) : text;
  return [" · © ", link(credit.author, credit.page_url), ", ", link(credit.licence, credit.licence_url)];
}

// What the browser itself shows of a photo that was dropped; some formats, such as HEIC, it may not know.
export function preview({name, address}) {
  const image = make("img", {src: address, alt: `Your photo ${name}`});
  image.addEventListener("error", () => image.replaceWith(make("span", {className: "blank", textContent: "no preview"})));
  return image;
}
