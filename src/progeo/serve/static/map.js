// The map: the database as points on a plain ground (or on tiles), the estimates, and the matches of one of them.

/* global L */
import {listPlaces, loadThumbnail} from "./api.js";
import {make} from "./dom.js";
import {compass} from "./words.js";

const CLOSEST = 22;
const FITTED = 19;
const still = matchMedia("(prefers-reduced-motion: reduce)");
const narrow = matchMedia("(max-width: 760px)");

const Ground = L.GridLayer.extend({createTile: () => make("div", {className: "ground"})});

export class PlacesMap {
  constructor(element, {tiles, attribution}, {onPick, onCompare}) {
    this.onPick = onPick;
    this.onCompare = onCompare;
    this.map = L.map(element, {zoomControl: false, maxZoom: CLOSEST, minZoom: 1, worldCopyJump: true}).setView([20, 0], 2);
    this.map.attributionControl.setPrefix('<a href="https://leafletjs.com">Leaflet</a>');
    L.control.zoom({position: "topright"}).addTo(this.map);
    L.control.scale({position: "bottomright", imperial: false, maxWidth: 140}).addTo(this.map);
    new Ground({pane: "tilePane", className: "grounds", maxZoom: CLOSEST, zIndex: 0}).addTo(this.map);
    if (tiles) L.tileLayer(tiles, {attribution, maxZoom: CLOSEST, maxNativeZoom: 19, className: "tiles"}).addTo(this.map);
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

  get centre() {
    return this.map.containerPointToLatLng(this.visible().getCenter());
  }

  async drawPlaces() {
    this.loading?.abort();
    this.loading = new AbortController();
    const zoom = Math.round(this.map.getZoom());
    const bounds = this.map.getBounds().pad(0.1);
    const wide = bounds.getEast() - bounds.getWest() >= 360;
    const box = [bounds.getWest(), bounds.getSouth(), bounds.getEast(), bounds.getNorth()];
    const edges = [-180, -90, 180, 90];
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
      if (count > 1 && this.map.getZoom() < FITTED) {
        this.map.setView([latitude, longitude], Math.min(this.map.getZoom() + 3, FITTED));
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
      if (!item.answer) return;
      const {latitude, longitude, known, radius_metres, matches} = item.answer;
      const chosen = item === current;
      if (chosen) {
        const circle = {className: known ? "circle" : "circle unknown", radius: radius_metres, interactive: false};
        L.circle([latitude, longitude], circle).addTo(this.answers);
        this.matches = matches.map((match, rank) => this.drawMatch(item, match, rank));
      }
      const label = items.length > 1 ? String(index + 1) : "";
      const className = ["pin", chosen ? "chosen" : "", known ? "" : "unknown"].join(" ");
      const icon = L.divIcon({className, html: make("span", {textContent: label}), iconSize: [34, 36], iconAnchor: [17, 35]});
      L.marker([latitude, longitude], {icon, title: `Estimate for ${item.name}`, alt: `Estimate for ${item.name}`, zIndexOffset: chosen ? 2000 : 1000})
        .on("click", () => this.onPick(item)).addTo(this.answers);
    });
  }

  drawMatch(item, match, rank) {
    const face = make("span", {textContent: String(rank + 1)});
    const view = match.heading == null ? null : make("i");
    if (view) view.style.rotate = `${match.heading}deg`;
    const icon = L.divIcon({className: "match", html: make("div", {}, ...[view, face].filter(Boolean)), iconSize: [24, 24]});
    return L.marker([match.latitude, match.longitude], {icon, title: `Match ${rank + 1}`, alt: `Match ${rank + 1}: compare`, zIndexOffset: 500 - rank})
      .on("click", () => this.onCompare(item, rank)).addTo(this.answers);
  }

  highlight(rank, on) {
    this.matches[rank]?.getElement()?.classList.toggle("lit", on);
  }

  // Move to the circle of an estimate and the matches that took part in it.
  focus({latitude, longitude, radius_metres, matches}) {
    const bounds = L.latLng(latitude, longitude).toBounds(Math.max(60, 3 * radius_metres));
    for (const match of matches) {
      if (match.distance_metres < Math.max(100, 5 * radius_metres)) bounds.extend([match.latitude, match.longitude]);
    }
    this.fit(bounds);
  }

  fit(bounds) {
    const covered = narrow.matches ? 0 : this.map.getSize().x - this.visible().getSize().x;
    this.map.fitBounds(bounds, {paddingTopLeft: [covered + 40, 40], paddingBottomRight: [40, 40], maxZoom: FITTED, animate: !still.matches});
  }

  // The part of the map, in pixels, that the panel leaves free.
  visible() {
    const size = this.map.getSize();
    const left = narrow.matches ? 0 : document.querySelector(".panel").getBoundingClientRect().right;
    return L.bounds([left, 0], [size.x, size.y]);
  }
}
