// The map of every page, on Leaflet. The page of the service asks for what it shows; a page that is a file brings it
// along as JSON, in the form of progeo.html.maps.MapData.
"use strict";

const REACH = 24; // pixels from the pointer to what it picks
const CLOSEST = 19;
const Ground = L.GridLayer.extend({createTile: () => L.DomUtil.create("div", "ground")});

// Thousands of points of a few kinds on one canvas; Leaflet knows nothing of the single ones.
const Points = L.Canvas.extend({
  options: {padding: 0.3, interactive: false},

  // Kinds have a colour and a shape; each point is a position (latitude and longitude, or north and east) and its kind.
  initialize(kinds, points) {
    L.Canvas.prototype.initialize.call(this);
    [this.kinds, this.points] = [kinds, points];
  },

  onAdd(map) {
    this.projected = this.points.map(([at]) => map.options.crs.latLngToPoint(L.latLng(at), 0));
    L.Canvas.prototype.onAdd.call(this, map);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this._redraw());
  },

  // Where a point is, in pixels of the map's pane.
  place(index) {
    const {x, y} = this.projected[index], scale = 2 ** this._map.getZoom(), origin = this._map.getPixelOrigin();
    return [x * scale - origin.x, y * scale - origin.y];
  },

  // Called by Leaflet on a canvas that is empty and in place.
  _draw() {
    const {min, max} = this._bounds, shown = [];
    this.points.forEach(([, kind], index) => {
      const [x, y] = this.place(index);
      if (x > min.x && x < max.x && y > min.y && y < max.y) shown.push([x, y, kind]);
    });
    const many = shown.filter(([, , kind]) => this.kinds[kind].shape !== "dot").length;
    const size = Math.min(1, Math.max(0.5, Math.sqrt(400 / Math.max(many, 1)))); // of signs, less where they are many
    const colours = Object.fromEntries(["surface", ...this.kinds.map(({colour}) => colour)].map(colour => [colour, this.resolve(colour)]));
    for (const [x, y, kind] of shown) {
      const {colour, shape} = this.kinds[kind];
      drawSign(this._ctx, shape, x, y, size, colours[colour], colours.surface);
    }
  },

  // What a variable of the style means now; a canvas knows no variables.
  resolve(colour) {
    this._container.style.color = `var(--${colour})`;
    return getComputedStyle(this._container).color;
  },
});

// The legends of macros.html show the same.
function drawSign(context, shape, x, y, size, colour, edge) {
  context.beginPath();
  if (shape === "dot" || shape === "disc") {
    context.arc(x, y, shape === "dot" ? 3 : 5 * size, 0, 2 * Math.PI);
    context.fillStyle = colour;
    context.fill();
    if (shape === "dot") return;
  } else {
    const corners = shape === "cross" ? [[-4, -4], [4, 4], [4, -4], [-4, 4]] : [[0, -5], [5, 4], [-5, 4], [0, -5]];
    corners.forEach(([right, down], index) => {
      const move = index === 0 || (shape === "cross" && index === 2);
      context[move ? "moveTo" : "lineTo"](x + right * size, y + down * size);
    });
  }
  context.lineWidth = size * {disc: 1.2, cross: 2.6, triangle: 1.8}[shape];
  context.strokeStyle = shape === "disc" ? edge : colour;
  context.lineCap = context.lineJoin = "round";
  context.stroke();
}

// A map with scale and buttons on a plain ground, or on the tiles of a street map.
function createMap(element, options, tiles) {
  const map = L.map(element, {zoomControl: false, ...options});
  map.attributionControl.setPrefix('<a href="https://leafletjs.com">Leaflet</a>');
  L.control.zoom({position: "topright"}).addTo(map);
  L.control.scale({position: "bottomright", imperial: false, maxWidth: 140}).addTo(map);
  new Ground({pane: "tilePane", className: "grounds", maxZoom: map.options.maxZoom, minZoom: map.options.minZoom, zIndex: 0}).addTo(map);
  if (tiles) L.tileLayer(tiles.address, {attribution: tiles.attribution, maxZoom: map.options.maxZoom, maxNativeZoom: 19, className: "tiles"}).addTo(map);
  new ResizeObserver(() => map.invalidateSize({animate: false})).observe(element);
  return map;
}

function makePin(at, className, label, options) {
  const face = document.createElement("span");
  face.textContent = label;
  return L.marker(at, {icon: L.divIcon({className: `pin ${className}`, html: face, iconSize: [34, 36], iconAnchor: [17, 35]}), ...options});
}

// The number of a match, with a beak where its camera looked.
function makeMatch(at, rank, heading, options) {
  const box = document.createElement("div"), face = document.createElement("span");
  face.textContent = rank + 1;
  if (heading != null) box.appendChild(document.createElement("i")).style.rotate = `${heading}deg`;
  box.append(face);
  return L.marker(at, {icon: L.divIcon({className: "match", html: box, iconSize: [24, 24]}), zIndexOffset: 500 - rank, ...options});
}

// The surroundings of an estimate: its circle, and the matches not far from it.
function boundsAround(map, at, radius, matches) {
  const near = Math.max(100, 5 * radius);
  const [size, [up, right]] = [Math.max(60, 3 * radius), at];
  const around = map.options.crs === L.CRS.EPSG3857 ? L.latLng(at).toBounds(size)
    : L.latLngBounds([[up - size / 2, right - size / 2], [up + size / 2, right + size / 2]]);
  return around.extend(L.latLngBounds([at, ...matches.filter(match => map.distance(at, match) < near)]));
}

// Draw what a page holds: a .place with a .map, an .answer where something can be picked, and the data.
function drawPlace(place) {
  const element = place.querySelector(".map"), answer = place.querySelector(".answer");
  const {flat, hover, tiles, frame: [south, west, north, east], layers, signs} = JSON.parse(place.querySelector("script").textContent);
  const [crs, minZoom, maxZoom, closest] = flat ? [L.CRS.Simple, -16, 8, 4] : [L.CRS.EPSG3857, 1, 22, CLOSEST];
  // Within a page of text, one finger and the wheel move the page, until the map is chosen.
  const map = createMap(element, {crs, minZoom, maxZoom, zoomSnap: 0.25, zoomAnimation: !still(), dragging: !(hover && L.Browser.mobile), scrollWheelZoom: !hover}, tiles);
  const showAll = () => map.fitBounds([[south, west], [north, east]], {padding: [30, 30], maxZoom: closest, animate: false});
  showAll();
  if (hover) {
    map.on("focus", () => map.scrollWheelZoom.enable());
    map.on("blur", () => map.scrollWheelZoom.disable());
  }
  const dots = layers.flatMap(({points}, kind) => points.map(at => [at, kind]));
  const placed = [...signs.keys()].filter(index => signs[index].at); // the others only show their matches
  const points = new Points(layers, [...dots, ...placed.map(index => [signs[index].at, signs[index].layer])]).addTo(map);
  const picked = L.layerGroup().addTo(map);
  const all = L.DomUtil.create("a", "", element.querySelector(".leaflet-control-zoom"));
  Object.assign(all, {href: "#", title: "Show all", ariaLabel: "Show all", role: "button", textContent: "⤢"});
  L.DomEvent.on(all, "click", event => { L.DomEvent.stop(event); showAll(); });

  let current = -1;
  function pick(index, move = false) {
    current = index;
    const {at, text, radius, matches} = signs[index];
    picked.clearLayers();
    const number = () => matches.forEach((match, rank) => makeMatch(match, rank, null, {interactive: false, keyboard: false}).addTo(picked));
    if (at) for (const match of matches) L.polyline([at, match], {className: "link", interactive: false}).addTo(picked);
    if (!at) number();
    else if (radius) {
      L.circle(at, {className: "circle", radius, interactive: false}).addTo(picked);
      number();
      makePin(at, "chosen", "", {interactive: false, keyboard: false, zIndexOffset: 2000}).addTo(picked);
    } else {
      L.circleMarker(at, {className: "ring", radius: 11, interactive: false}).addTo(picked);
      for (const match of matches) L.circleMarker(match, {className: "target", radius: 5, interactive: false}).addTo(picked);
    }
    if (move && radius) map.fitBounds(boundsAround(map, at, radius, matches), {maxZoom: closest, padding: [40, 40], animate: !still()});
    else if (move && !at) map.fitBounds(matches, {maxZoom: closest - 2, padding: [40, 40], animate: !still()});
    else if (move) map.panInside(at, {padding: [40, 40], animate: false});
    if (answer) answer.textContent = text;
    place.dispatchEvent(new CustomEvent("pick", {detail: index}));
  }

  function pickNearest({layerPoint}) {
    let nearest = -1, smallest = REACH ** 2;
    placed.forEach((index, row) => {
      const [x, y] = points.place(dots.length + row);
      const distance = (x - layerPoint.x) ** 2 + (y - layerPoint.y) ** 2;
      if (distance < smallest) [smallest, nearest] = [distance, index];
    });
    if (nearest >= 0 && nearest !== current) pick(nearest);
  }
  if (signs.length) map.on(hover ? "click mousemove" : "click", pickNearest);
  if (signs.length && hover) element.addEventListener("keydown", event => {
    const step = {ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1}[event.key];
    if (!step) return;
    event.preventDefault();
    event.stopImmediatePropagation(); // Leaflet would move the map
    pick((Math.max(current, step < 0 ? 0 : -1) + step + signs.length) % signs.length, true);
  }, true);
  place.pick = (index, move = true) => pick(index, move);
}

function still() {
  return matchMedia("(prefers-reduced-motion: reduce)").matches;
}

for (const place of document.querySelectorAll(".place")) drawPlace(place);
