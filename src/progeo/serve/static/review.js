// Going through many photos: accept, reject, place by hand, show those that are sure enough, and download the accepted.

import {find, make} from "./dom.js";
import {makeCsv, makeGpx, makeSidecar, makeZip} from "./files.js";
import {percent, position} from "./words.js";

const DECISIONS = [["accepted", "Accept"], ["rejected", "Reject"]];

export class Review {
  constructor(items, {localFrame}, {getCentre, onMove, onFilter}) {
    this.items = items;
    this.localFrame = localFrame;
    this.getCentre = getCentre;
    this.onMove = onMove;
    find("least").addEventListener("input", onFilter);
    find("accept-shown").addEventListener("click", () => {
      for (const item of this.shown()) if (position(item.answer)) item.decision = "accepted";
      this.update();
    });
    const downloads = {
      "download-sidecars": photos => ["sidecars.zip", makeZip(name(photos).map(photo => [`${photo.name}.xmp`, makeSidecar(photo)]))],
      "download-gpx": photos => ["photos.gpx", new Blob([makeGpx(photos)], {type: "application/gpx+xml"})],
      "download-csv": photos => ["photos.csv", new Blob([makeCsv(photos)], {type: "text/csv"})],
    };
    for (const [id, create] of Object.entries(downloads)) find(id).addEventListener("click", () => download(...create(this.accepted())));
    if (localFrame) for (const id of ["download-sidecars", "download-gpx"]) find(id).remove(); // they take places on the earth
  }

  // Put the buttons of the review on a photo's card.
  attach(item) {
    item.choices = Object.fromEntries(DECISIONS.map(([decision, label]) => {
      const button = make("button", {type: "button", textContent: label, "aria-label": `${label} ${item.name}`, "aria-pressed": "false"});
      button.addEventListener("click", () => {
        item.decision = item.decision === decision ? null : decision;
        this.update();
      });
      return [decision, button];
    }));
    const place = make("button", {type: "button", className: "quiet", textContent: "Place by hand", title: "Puts the pin into the middle of the map: drag it, or move it with the arrow keys"});
    place.addEventListener("click", () => this.move(item, this.getCentre()));
    item.review = make("div", {className: "review", hidden: true}, ...Object.values(item.choices), place);
    item.card.element.append(item.review);
  }

  // A person says where a photo was taken: latitude and longitude, or x and y in a local frame.
  move(item, {lat, lng}) {
    const at = this.localFrame ? {x: lng, y: lat} : {latitude: lat, longitude: lng};
    item.answer = {...item.answer, ...at, radius_metres: null, known: true, byHand: true};
    item.decision = "accepted";
    this.update();
    this.onMove(item);
  }

  found() {
    return this.items.filter(({answer}) => answer);
  }

  // Photos that are sure enough, or placed by hand.
  shown() {
    const least = Number(find("least").value) / 100;
    return this.found().filter(({answer}) => answer.byHand || (answer.probability ?? answer.agreement) >= least);
  }

  accepted() {
    return this.found().filter(({decision, answer}) => decision === "accepted" && position(answer)).map(({name, answer}) => ({byHand: false, ...answer, name}));
  }

  update() {
    const found = this.found(), shown = new Set(this.shown());
    for (const item of this.items) {
      item.card.element.hidden = Boolean(item.answer) && !shown.has(item);
      item.review.hidden = !item.answer;
      if (!item.answer) continue;
      if (!position(item.answer) && item.decision === "accepted") item.decision = null;
      item.choices.accepted.disabled = !position(item.answer);
      for (const [decision, button] of Object.entries(item.choices)) button.setAttribute("aria-pressed", String(item.decision === decision));
    }
    find("review").hidden = found.length < 2;
    find("least-value").textContent = percent(Number(find("least").value) / 100);
    const count = decision => found.filter(item => item.decision === decision).length;
    const hidden = found.length - shown.size;
    find("review-count").textContent = `${count("accepted")} accepted, ${count("rejected")} rejected, ${found.length - count("accepted") - count("rejected")} open${hidden ? `; ${hidden} not shown` : ""}`;
    for (const button of find("review").querySelectorAll(".downloads button")) button.disabled = !this.accepted().length;
  }
}

// Photos of one name get numbers, so that no sidecar replaces another.
function name(photos) {
  const seen = new Map();
  return photos.map(photo => {
    const count = (seen.get(photo.name) ?? 0) + 1;
    seen.set(photo.name, count);
    return count === 1 ? photo : {...photo, name: photo.name.replace(/(\.\w+)?$/, ` (${count})$1`)};
  });
}

function download(name, content) {
  const address = URL.createObjectURL(content);
  make("a", {href: address, download: name}).click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}
