// Query and match side by side.

import {loadThumbnail} from "./api.js";
import {find, make} from "./dom.js";
import {compass, metres} from "./words.js";

const dialog = find("compare");
let item, rank;

export function compare(photo, match) {
  [item, rank] = [photo, match];
  draw();
  if (!dialog.open) dialog.showModal();
}

function draw() {
  const {matches} = item.answer;
  const match = matches[rank];
  find("compare-title").textContent = `Match ${rank + 1} of ${matches.length}`;
  find("compare-query").replaceChildren(preview(item));
  find("compare-query-text").textContent = `Your photo: ${item.name}`;
  const image = make("img", {alt: `Match ${rank + 1}`});
  loadThumbnail(match.id).then(address => { image.src = address; }, error => image.replaceWith(error.message));
  find("compare-match").replaceChildren(image);
  const facts = [
    `${metres(match.distance_metres)} from the estimate`,
    match.heading == null ? null : `looking ${compass(match.heading)}`,
    match.timestamp ? `taken ${match.timestamp}` : null,
    `difference in looks ${match.descriptor_distance.toFixed(2)}`,
    match.name,
  ];
  find("compare-match-text").replaceChildren(facts.filter(Boolean).join(" · "), ...nameAuthor(match.credit));
  find("previous").disabled = rank === 0;
  find("next").disabled = rank === matches.length - 1;
}

// Whom to name for a photo of somebody else, with links to the photo and to its licence.
function nameAuthor(credit) {
  if (!credit) return [];
  const link = (text, address) => /^https?:/.test(address ?? "")
    ? make("a", {href: address, target: "_blank", rel: "noopener noreferrer", textContent: text}) : text;
  return [" · © ", link(credit.author, credit.page_url), ", ", link(credit.licence, credit.licence_url)];
}

function step(by) {
  const next = rank + by;
  if (next < 0 || next >= item.answer.matches.length) return;
  rank = next;
  draw();
}

// What the browser itself shows of a photo that was dropped; some formats, such as HEIC, it may not know.
export function preview({name, address}) {
  const image = make("img", {src: address, alt: `Your photo ${name}`});
  image.addEventListener("error", () => image.replaceWith(make("span", {className: "blank", textContent: "no preview"})));
  return image;
}

find("previous").addEventListener("click", () => step(-1));
find("next").addEventListener("click", () => step(1));
dialog.querySelector("[value=close]").addEventListener("click", () => dialog.close());
dialog.addEventListener("click", event => { if (event.target === dialog) dialog.close(); });
dialog.addEventListener("keydown", event => {
  if (event.key === "ArrowLeft") step(-1);
  if (event.key === "ArrowRight") step(1);
});
