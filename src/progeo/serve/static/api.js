// Requests to the service: with the token where it asks for one, patient where it is busy.

import {find} from "./dom.js";

const MOST_TRIES = 30;
const thumbnails = new Map();
let token = sessionStorage.getItem("token");
let asking = null;

export async function ask(path, options = {}) {
  for (let tries = 1; ; tries++) {
    const headers = token ? {Authorization: `Bearer ${token}`} : {};
    const response = await fetch(path, {...options, headers}).catch(error => {
      throw error.name === "AbortError" ? error : new Error("The service cannot be reached. Is it still running?");
    });
    if (response.ok) return response;
    if (response.status === 401) await askForToken();
    else if (response.status === 429 && tries < MOST_TRIES) await sleep(Number(response.headers.get("Retry-After")) || 1);
    else throw new Error((await response.json().catch(() => ({}))).detail ?? `The service answered ${response.status}.`);
  }
}

export async function locate(file, prior, signal) {
  const body = new FormData();
  body.append("photos", file, file.name || "pasted photo");
  for (const [name, value] of Object.entries(prior)) body.append(name, value);
  const answer = await (await ask("api/locate", {method: "POST", body, signal})).json();
  return answer.photos[0];
}

// Which details of a photo and of one of the database fit together.
export async function explainMatch(file, id) {
  const body = new FormData();
  body.append("photo", file, file.name || "pasted photo");
  body.append("id", id);
  return (await ask("api/compare", {method: "POST", body})).json();
}

export async function listPlaces(zoom, bounds, signal) {
  const query = bounds ? `?zoom=${zoom}&bbox=${bounds}` : `?zoom=${zoom}`;
  return (await ask(`api/places${query}`, {signal})).json();
}

// An image element cannot send the token, so thumbnails come like everything else and are kept while the page is open.
export function loadThumbnail(id) {
  if (!thumbnails.has(id)) {
    const loading = ask(`api/photos/${id}`).then(async response => URL.createObjectURL(await response.blob()));
    loading.catch(() => thumbnails.delete(id));
    thumbnails.set(id, loading);
  }
  return thumbnails.get(id);
}

function askForToken() {
  asking ??= new Promise(resolve => {
    const dialog = find("token");
    const form = dialog.querySelector("form");
    dialog.addEventListener("close", () => {
      token = form.elements.token.value.trim();
      sessionStorage.setItem("token", token);
      form.reset();
      asking = null;
      resolve();
    }, {once: true});
    dialog.showModal();
  });
  return asking;
}

const sleep = seconds => new Promise(resolve => setTimeout(resolve, 1000 * seconds));
