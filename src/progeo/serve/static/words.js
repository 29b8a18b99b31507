// Numbers into words.

const STEPS = [
  [0.9, "Almost certainly here", "good"],
  [0.7, "Very likely here", "good"],
  [0.5, "Probably here", "fair"],
  [0.25, "Perhaps here", "fair"],
  [0, "A mere guess", "poor"],
];

// Without a calibration nobody knows how likely an answer is: then only what was counted is said.
export function judge({known, probability, presence, agreement, byHand}) {
  if (byHand) return {words: "Placed by hand", level: "good"};
  if (known === false && presence !== null && presence < 0.5) return {words: "Not in this database", level: "poor"};
  if (known === false) return {words: "Unknown place", level: "poor"};
  if (probability === null) return {words: `Matches agree: ${percent(agreement)}`, level: "open"};
  const [, words, level] = STEPS.find(([least]) => probability >= least);
  return {words, level};
}

// What a probability was learned from is said where that is not labelled photos.
const SOURCES = {
  database: ", judged by the database's own photos",
  default: ", judged by other towns, as the database has too few places to learn from",
};

export function explain({known, probability, presence, calibration, agreement, radius_metres, knows_verification, byHand}) {
  if (byHand) return "You have said where this is. Drag the pin on the map, or move it with the arrow keys.";
  const chance = probability === null
    ? `${percent(agreement)} of the votes of the most similar photos agree; how often that is right is not known, as the database is not calibrated`
    : `${percent(probability)} chance of being right within 25 m${SOURCES[calibration] ?? ""}${knows_verification === false ? ", fitted without verification" : ""}`;
  if (known === false && presence !== null && presence >= 0.5) return `The database may show this place, but which of its places it is, is not clear. These photos look most like it; ${chance}.`;
  if (known === false) return `The database does not seem to show this place. These photos look most like it; ${chance}.`;
  return radius_metres === null ? `These photos look most like it; ${chance}.` : `Within about ${metres(radius_metres)}; ${chance}.`;
}

export function metres(distance) {
  if (distance < 1000) return `${Math.round(distance)} m`;
  return `${(distance / 1000).toLocaleString(undefined, {maximumFractionDigits: distance < 10_000 ? 1 : 0})} km`;
}

export const percent = share => `${Math.round(100 * share)} %`;

// Empty where the place is not told.
export function position({latitude, longitude, x, y}) {
  if (x != null) return `x ${x.toFixed(2)} m, y ${y.toFixed(2)} m`;
  return latitude == null ? "" : `${latitude.toFixed(5)}, ${longitude.toFixed(5)}`;
}

export function compass(heading) {
  return ["north", "north-east", "east", "south-east", "south", "south-west", "west", "north-west"][Math.round(heading / 45) % 8];
}

// The day of a local time in ISO 8601, as people write it where they are.
export const day = time => new Date(time).toLocaleDateString(undefined, {day: "numeric", month: "long", year: "numeric"});
