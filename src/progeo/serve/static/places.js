// What is on the map: the database as points (on tiles, where there are any), the estimates, the matches of one of them.

/* global L, CLOSEST, boundsAround, createMap, makeMatch, makePin, still */
import {listPlaces, loadThumbnail} from "./api.js";
import {make} from "./dom.js";
import {compass, position} from "./words.js";

const MOST_ZOOM = 22;
const EQUATOR = 40075016.686; // metres; at each zoom a local frame is as large as the same metres on the equator
const narrow = matchMedia("(max-width: 760px)");

export class PlacesMap {
  constructor(element, {tiles, localFrame}, {onPick, onCompare, onMove}) {
    this.onPick = onPick;
    this.onCompare = onCompare;
    this.onMove = onMove;
    this.localFrame = localFrame;
    this.closest = localFrame ? MOST_ZOOM : CLOSEST;
    const crs = localFrame ? {...L.CRS.Simple, transformation: new L.Transformation(256 / EQUATOR, 128, -256 / EQUATOR, 128)} : L.CRS.EPSG3857;
    const [mostZoom, start] = localFrame ? [26, [0, 0]] : [MOST_ZOOM, [20, 0]];
    this.map = createMap(element, {crs, maxZoom: mostZoom, minZoom: 1, worldCopyJump: !localFrame}, tiles).setView(start, 2);
    this.places = L.layerGroup().addTo(this.map);
    this.answers = L.layerGroup().addTo(this.map);
    this.matches = [];
    this.map.on("moveend", () => this.drawPlaces());
  }

  // Show where the database is; return how many photos it has.
  async start() {
    const {bbox: [west, south, east, north], total} = await listPlaces(0);
    this.fit(L.latLngBounds([south, west], [north, east]));
    return total;
  }

  get middle() {
    const middle = this.map.containerPointToLatLng(this.visible().getCenter());
    return this.localFrame ? middle : middle.wrap();
  }

  // As two numbers for the field "near".
  get centre() {
    const {lat, lng} = this.middle;
    if (this.localFrame) return `${lng.toFixed(2)}, ${lat.toFixed(2)}`;
    return position({latitude: lat, longitude: lng});
  }

  async drawPlaces() {
    this.loading?.abort();
    this.loading = new AbortController();
    const zoom = Math.min(MOST_ZOOM, Math.round(this.map.getZoom()));
    const bounds = this.map.getBounds().pad(0.1);
    const wide = !this.localFrame && bounds.getEast() - bounds.getWest() >= 360;
    const box = [bounds.getWest(), bounds.getSouth(), bounds.getEast(), bounds.getNorth()];
    const edges = this.localFrame ? [-1e8, -1e8, 1e8, 1e8] : [-180, -90, 180, 90];
    const inside = box.map((value, side) => Math.max(edges[side % 2], Math.min(edges[2 + side % 2], value)).toFixed(6));
    try {
      const {features} = await listPlaces(zoom, wide ? null : inside.join(","), this.loading.signal);
      this.places.clearLayers();
      for (const feature of features) this.drawPlace(feature);
    } catch (error) {
      if (error.name !== "AbortError") console.warn(error);
    }
  }

  drawPlace({geometry: {coordinates: [longitude, latitude]}, properties: {id, count, heading}}) {
    const radius = Math.min(3.5 + 1.2 * Math.log2(count), 9);
    const point = L.circleMarker([latitude, longitude], {className: "place", radius, bubblingMouseEvents: false});
    point.on("click", () => {
      if (count > 1 && this.map.getZoom() < this.closest) {
        this.map.setView([latitude, longitude], Math.min(this.map.getZoom() + 3, this.closest));
        return;
      }
      const text = count > 1 ? `one of ${count} photos taken here` : heading == null ? "" : `looking ${compass(heading)}`;
      const image = make("img", {alt: "Photo of the database", width: 224});
      loadThumbnail(id).then(address => { image.src = address; });
      L.popup({className: "thumbnail", maxWidth: 240}).setLatLng([latitude, longitude])
        .setContent(make("div", {}, image, make("p", {textContent: text}))).openOn(this.map);
    });
    point.bindTooltip(count > 1 ? `${count} photos` : "1 photo").addTo(this.places);
  }

  // Draw the estimates of all photos, and circle and matches of the one that is looked at.
  show(items, current) {
    this.answers.clearLayers();
    this.matches = [];
    items.forEach((item, index) => {
      if (!item.answer || item.card.element.hidden) return;
      const {known, radius_metres, matches} = item.answer;
      const at = place(item.answer);
      const chosen = item === current;
      if (chosen) this.matches = matches.map((match, rank) => this.drawMatch(item, match, rank));
      if (!at) return; // nobody knows where it is
      if (chosen && radius_metres !== null) {
        const circle = {className: known === false ? "circle unknown" : "circle", radius: radius_metres, interactive: false};
        L.circle(at, circle).addTo(this.answers);
      }
      const label = items.length > 1 ? String(index + 1) : "";
      const className = [chosen ? "chosen" : "", known === false ? "unknown" : ""].join(" ");
      const title = `Estimate for ${item.name}`;
      const pin = makePin(at, className, label, {title, alt: title, zIndexOffset: chosen ? 2000 : 1000, draggable: chosen})
        .on("click", () => this.onPick(item)).on("dragend", ({target}) => this.onMove(item, target.getLatLng())).addTo(this.answers);
      if (chosen) this.moveByKeys(pin, item);
    });
  }

  // The arrow keys move a pin by ten pixels, with the shift key by one.
  moveByKeys(pin, item) {
    pin.getElement().addEventListener("keydown", event => {
      const [right, down] = {ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1]}[event.key] ?? [0, 0];
      if (!right && !down) return;
      event.preventDefault();
      event.stopPropagation(); // Leaflet would move the map
      const pixels = event.shiftKey ? 1 : 10;
      const at = this.map.latLngToContainerPoint(pin.getLatLng()).add([right * pixels, down * pixels]);
      this.onMove(item, this.map.containerPointToLatLng(at));
      this.map.getContainer().querySelector(".pin.chosen")?.focus();
    });
  }

  drawMatch(item, match, rank) {
    const title = `Match ${rank + 1}`;
    return makeMatch(place(match), rank, match.heading, {title, alt: `${title}: compare`})
      .on("click", () => this.onCompare(item, rank)).addTo(this.answers);
  }

  highlight(rank, on) {
    this.matches[rank]?.getElement()?.classList.toggle("lit", on);
  }

  // Move to the circle of an estimate and the matches that took part in it.
  focus(answer) {
    const at = place(answer), places = answer.matches.map(place);
    this.fit(at ? boundsAround(this.map, at, answer.radius_metres ?? 0, places) : L.latLngBounds(places));
  }

  fit(bounds) {
    const covered = narrow.matches ? 0 : this.map.getSize().x - this.visible().getSize().x;
    this.map.fitBounds(bounds, {paddingTopLeft: [covered + 40, 40], paddingBottomRight: [40, 40], maxZoom: this.closest, animate: !still()});
  }

  // The part of the map, in pixels, that the panel leaves free.
  visible() {
    const size = this.map.getSize();
    const left = narrow.matches ? 0 : document.querySelector(".panel").getBoundingClientRect().right;
    return L.bounds([left, 0], [size.x, size.y]);
  }
}

// Where a point of an answer comes to stand on the map, null where that is not told.
function place({latitude, longitude, x, y}) {
  if (latitude !== null) return [latitude, longitude];
  return x === null ? null : [y, x];
}
