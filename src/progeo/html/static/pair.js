// The dialog of macros.html: two photos side by side, and on top of them the points that agree.
"use strict";

class Pair {
  constructor(dialog) {
    this.dialog = dialog;
    const part = name => dialog.querySelector(`.${name}`);
    [this.heading, this.proof, this.details, this.previous, this.next] = [dialog.querySelector("h2"), part("proof"), part("details"), part("previous"), part("next")];
    [this.stage, this.svg] = [part("stage"), part("points")];
    [this.frames, this.captions] = [[...dialog.querySelectorAll(".frame")], [...dialog.querySelectorAll("figcaption")]];
    this.previous.addEventListener("click", () => this.step(-1));
    this.next.addEventListener("click", () => this.step(1));
    this.details.addEventListener("click", () => this.toggle());
    dialog.querySelector("[value=close]").addEventListener("click", () => dialog.close());
    dialog.addEventListener("click", event => { if (event.target === dialog) dialog.close(); });
    dialog.addEventListener("keydown", event => {
      if (event.key === "ArrowLeft") this.step(-1);
      if (event.key === "ArrowRight") this.step(1);
      if (event.key.toLowerCase() === "d" && !event.ctrlKey && !event.metaKey) this.toggle();
    });
    new ResizeObserver(() => this.drawPoints()).observe(this.stage);
  }

  // Show the pair number `rank` of several. `describe` gives of a number: title; photos, two elements; captions, a list
  // for each; explanation, that of progeo.search.explanation, a promise of it, or null where nothing was compared.
  open(count, rank, describe) {
    [this.count, this.rank, this.describe] = [count, rank, describe];
    this.draw();
    if (!this.dialog.open) this.dialog.showModal();
  }

  async draw() {
    const {title, photos, captions, explanation} = this.describe(this.rank);
    this.heading.textContent = title;
    this.frames.forEach((frame, side) => frame.replaceChildren(photos[side]));
    this.captions.forEach((caption, side) => caption.replaceChildren(...captions[side]));
    this.previous.disabled = this.rank === 0;
    this.next.disabled = this.rank === this.count - 1;
    for (const photo of photos) photo.addEventListener("load", () => this.drawPoints());
    this.explanation = null;
    this.asked = explanation;
    this.proof.textContent = explanation ? "Looking for details that fit together …" : "";
    this.drawPoints();
    const found = await Promise.resolve(explanation).catch(error => ({text: error.message, query: [], match: []}));
    if (this.asked !== explanation) return; // another pair is shown by now
    this.explanation = found;
    this.proof.textContent = found?.text ?? "";
    this.drawPoints();
  }

  step(by) {
    const rank = this.rank + by;
    if (rank < 0 || rank >= this.count) return;
    this.rank = rank;
    this.draw();
  }

  toggle() {
    const shown = this.details.getAttribute("aria-pressed") !== "true";
    this.details.setAttribute("aria-pressed", shown);
    this.drawPoints();
  }

  drawPoints() {
    const {query = [], match = []} = this.explanation ?? {};
    this.details.hidden = query.length === 0;
    const images = this.frames.map(frame => frame.querySelector("img"));
    this.svg.replaceChildren();
    if (this.details.hidden || this.details.getAttribute("aria-pressed") !== "true" || !images.every(image => image?.naturalWidth)) return;
    const [left, right] = [query, match].map((points, side) => this.place(images[side], points));
    const colours = query.map(([x, y]) => `hsl(${Math.round(300 * (0.7 * x + 0.3 * y))} 95% 62%)`);
    const make = (name, attributes) => {
      const element = document.createElementNS(this.svg.namespaceURI, name);
      for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
      return element;
    };
    this.svg.append(
      ...left.map(([x1, y1], row) => make("line", {x1, y1, x2: right[row][0], y2: right[row][1], stroke: colours[row]})),
      ...[left, right].flatMap(points => points.map(([cx, cy], row) => make("circle", {cx, cy, r: 4, fill: colours[row]}))),
    );
  }

  // Where points, as shares of a photo's width and height, lie on the stage, in pixels; the photo is whole in its frame.
  place(image, points) {
    const box = image.getBoundingClientRect(), stage = this.stage.getBoundingClientRect();
    const scale = Math.min(box.width / image.naturalWidth, box.height / image.naturalHeight);
    const [width, height] = [scale * image.naturalWidth, scale * image.naturalHeight];
    const [left, top] = [box.left - stage.left + (box.width - width) / 2, box.top - stage.top + (box.height - height) / 2];
    return points.map(([x, y]) => [left + x * width, top + y * height]);
  }
}
