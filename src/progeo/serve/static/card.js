// One photo in the list: its verdict, and what stands behind it while it is the one looked at.

import {loadThumbnail} from "./api.js";
import {compare, preview} from "./compare.js";
import {make} from "./dom.js";
import {explain, judge, metres, percent, position} from "./words.js";

export class Card {
  constructor(item, {onPick, onRemove, onLook}) {
    this.item = item;
    this.onLook = onLook;
    this.verdict = make("strong");
    this.detail = make("span", {className: "small"});
    this.number = make("b", {className: "number"});
    this.head = make("button", {type: "button", className: "head", "aria-expanded": "false"},
      make("span", {className: "thumbnail"}, preview(item), this.number),
      make("span", {className: "verdict"}, this.verdict, this.detail));
    const away = make("button", {type: "button", className: "quiet round", "aria-label": `Remove ${item.name}`, textContent: "✕"});
    this.body = make("div", {className: "body"});
    this.element = make("li", {}, make("div", {className: "row"}, this.head, away), this.body);
    this.head.addEventListener("click", () => onPick(item));
    away.addEventListener("click", () => onRemove(item));
    this.update();
  }

  // Take over what has become of the photo.
  update() {
    const {state, name, answer, error} = this.item;
    const verdicts = {waiting: "Waiting", working: "Looking for it …", failed: "That did not work"};
    const {words, level} = answer ? judge(answer) : {words: verdicts[state], level: state};
    this.element.className = level;
    this.verdict.textContent = words;
    this.detail.textContent = name;
    this.body.replaceChildren(...(answer ? this.describe(answer) : error ? [make("p", {className: "error", textContent: error})] : []));
  }

  arrange({number, open}) {
    this.number.textContent = number ?? "";
    this.head.setAttribute("aria-expanded", String(open));
    this.body.hidden = !open;
  }

  describe(answer) {
    const bar = make("div", {className: "bar", "aria-hidden": "true"}, make("i"));
    bar.firstChild.style.width = percent(answer.probability ?? answer.agreement).replace(" ", "");
    const where = make("span", {className: "coordinates", textContent: position(answer)});
    const copy = make("button", {type: "button", textContent: "Copy"});
    copy.addEventListener("click", async () => {
      getSelection().selectAllChildren(where); // all that browsers allow where the page came over plain HTTP
      await navigator.clipboard?.writeText(where.textContent);
      copy.textContent = navigator.clipboard ? "Copied" : "Selected";
    });
    const {latitude, longitude} = answer;
    const elsewhere = `https://www.openstreetmap.org/?mlat=${latitude}&mlon=${longitude}#map=18/${latitude}/${longitude}`;
    return [
      bar,
      make("p", {className: "small", textContent: explain(answer)}),
      ...(where.textContent === "" ? [] : [make("div", {className: "position"},
        where, copy,
        latitude === null ? null : make("a", {className: "button", href: elsewhere, target: "_blank", rel: "noopener noreferrer", textContent: "Map ↗"}))]),
      make("h2", {className: "small", textContent: "Compare with the photos most like it"}),
      make("ol", {className: "matches"}, ...answer.matches.map((match, rank) => make("li", {}, this.offer(match, rank)))),
    ];
  }

  offer(match, rank) {
    const image = make("img", {alt: ""});
    loadThumbnail(match.id).then(address => { image.src = address; }, () => {});
    const distance = metres(match.distance_metres);
    const details = match.strength >= 1 ? `${match.agreeing_points} details` : ""; // fewer are there by chance
    const label = [`Compare with match ${rank + 1}`, `${distance} from the estimate`, details && `${details} fit`].filter(Boolean).join(", ");
    const button = make("button", {type: "button", "aria-label": label}, image, make("b", {className: "number", textContent: rank + 1}),
      make("span", {textContent: distance}), details ? make("span", {textContent: details}) : null);
    button.addEventListener("click", () => compare(this.item, rank));
    for (const [event, on] of [["pointerenter", true], ["focus", true], ["pointerleave", false], ["blur", false]]) {
      button.addEventListener(event, () => this.onLook(rank, on));
    }
    return button;
  }
}
