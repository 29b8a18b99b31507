// Accepted photos as files for other programs, made in the browser: XMP sidecars in a ZIP archive, GPX, CSV.

const escape = text => text.replace(/[&<>"]/g, sign => `&#${sign.charCodeAt(0)};`);
const quote = text => (/[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);

// Photos are {name, latitude, longitude, x, y, radius_metres, probability, byHand}.
export function makeCsv(photos) {
  const frame = photos.some(({x}) => x != null) ? ["x", "y"] : ["latitude", "longitude"];
  const rows = photos.map(photo => [
    quote(photo.name), ...frame.map(name => photo[name]), photo.radius_metres ?? "", photo.byHand ? "" : photo.probability ?? "", photo.byHand,
  ]);
  return [["photo", ...frame, "radius_metres", "probability", "by_hand"], ...rows].map(row => `${row.join(",")}\n`).join("");
}

export function makeGpx(photos) {
  const points = photos.map(({name, latitude, longitude, byHand}) =>
    `  <wpt lat="${latitude.toFixed(7)}" lon="${longitude.toFixed(7)}"><name>${escape(name)}</name><desc>${byHand ? "Placed by hand" : "Estimated by progeo"}</desc></wpt>\n`);
  return `<?xml version="1.0" encoding="UTF-8"?>\n<gpx version="1.1" creator="progeo" xmlns="http://www.topografix.com/GPX/1/1">\n${points.join("")}</gpx>\n`;
}

// The same properties as progeo/locating/output/xmp.py writes; a position that a person has set is no estimate of progeo.
export function makeSidecar({latitude, longitude, radius_metres, byHand}) {
  const angle = (degrees, letters) => {
    const millionths = Math.round(Math.abs(degrees) * 60e6), minutes = millionths % 60e6;
    return `${(millionths - minutes) / 60e6},${(minutes / 1e6).toFixed(6)}${letters[degrees < 0 ? 1 : 0]}`;
  };
  const values = {
    GPSVersionID: "2.3.0.0", GPSLatitude: angle(latitude, "NS"), GPSLongitude: angle(longitude, "EW"), GPSMapDatum: "WGS-84",
    GPSProcessingMethod: byHand ? "MANUAL" : "progeo",
    ...(byHand || radius_metres == null ? {} : {GPSHPositioningError: `${Math.ceil(radius_metres * 10)}/10`}),
  };
  const lines = Object.entries(values).map(([name, value]) => `   <exif:${name}>${value}</exif:${name}>\n`).join("");
  return '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n<x:xmpmeta xmlns:x="adobe:ns:meta/">\n'
    + ' <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">\n'
    + `  <rdf:Description rdf:about="" xmlns:exif="http://ns.adobe.com/exif/1.0/">\n${lines}  </rdf:Description>\n </rdf:RDF>\n</x:xmpmeta>\n<?xpacket end="w"?>\n`;
}

// A ZIP archive without compression (PKWARE's APPNOTE, version 2.0, names in UTF-8). Files are [name, text].
export function makeZip(files) {
  const parts = [], directory = [];
  let offset = 0;
  for (const [name, text] of files) {
    const [title, content] = [name, text].map(value => new TextEncoder().encode(value));
    const common = [20, 0x800, 0, 0, 0x21]; // version, UTF-8, stored, midnight, 1 January 1980
    const sizes = [sum(content), content.length, content.length];
    parts.push(pack([0x04034b50], common, sizes, [title.length, 0]), title, content);
    directory.push(pack([0x02014b50], [20, ...common], sizes, [title.length, 0, 0, 0, 0], [0, offset]), title);
    offset += 30 + title.length + content.length;
  }
  const size = directory.reduce((total, part) => total + part.length, 0);
  const end = pack([0x06054b50], [0, 0, files.length, files.length], [size, offset], [0]);
  return new Blob([...parts, ...directory, end], {type: "application/zip"});
}

// Little-endian numbers; groups have 4 and 2 bytes in turn.
function pack(...groups) {
  const widths = groups.map((group, index) => (index % 2 ? 2 : 4));
  const view = new DataView(new ArrayBuffer(groups.reduce((total, group, index) => total + group.length * widths[index], 0)));
  let at = 0;
  groups.forEach((group, index) => group.forEach(value => {
    if (widths[index] === 4) view.setUint32(at, value, true);
    else view.setUint16(at, value, true);
    at += widths[index];
  }));
  return new Uint8Array(view.buffer);
}

// CRC-32.
function sum(bytes) {
  let crc = ~0;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (0xedb88320 & -(crc & 1));
  }
  return ~crc >>> 0;
}
