// The page: documents, search and webhooks, by the same interfaces that every client has.

import { ask, email, isKept, register, renew, signIn, signOut } from "/page/session.js";
import { element, highlighted, time } from "/page/text.js";

const DOCUMENTS = "/api/v1/documents";
const PAGE_LENGTH = 20;
/** How often deliveries are asked for while somebody can see them. */
const LOOK_EVERY = 3_000;

const $ = (id) => document.getElementById(id);

// --- messages ---

function say(text, isBad = false) {
  const place = $("message");
  place.textContent = text;
  place.classList.toggle("bad", isBad);
  place.hidden = text === "";
}

/** Does what a press asks for, says what went wrong, and is deaf to a second press until it is over. */
function pressed(button, work) {
  return async (event) => {
    event?.preventDefault();
    if (button.disabled) return;
    button.disabled = true;
    say("");
    try {
      await work(event);
    } catch (error) {
      say(error.message, true);
      if (error.status === 401) showSignedOut();
    } finally {
      button.disabled = false;
    }
  };
}

// --- signing in and out ---

function showSignedOut() {
  clearTimeout(looking);
  $("signed-in").hidden = true;
  $("account").hidden = true;
  $("signed-out").hidden = false;
  // What the last one saw is not the next one's.
  for (const id of ["documents", "hits", "hooks", "deliveries"]) $(id).replaceChildren();
  $("words").value = "";
  $("secret").textContent = "";
  $("secret").hidden = true;
  startNew();
}

async function showSignedIn() {
  $("signed-out").hidden = true;
  $("email").textContent = email();
  $("account").hidden = false;
  $("signed-in").hidden = false;
  showAll();
  startNew();
  await listFromStart();
  await look();
}

const credentials = () => [$("sign-in-email").value.trim(), $("sign-in-password").value];

$("sign-in").addEventListener("submit", pressed($("sign-in").querySelector("[type=submit]"), async () => {
  await signIn(...credentials());
  $("sign-in-password").value = "";
  await showSignedIn();
}));

$("register").addEventListener("click", pressed($("register"), async () => {
  if (!$("sign-in").reportValidity()) return;
  await register(...credentials());
  await signIn(...credentials());
  $("sign-in-password").value = "";
  await showSignedIn();
}));

$("sign-out").addEventListener("click", pressed($("sign-out"), async () => {
  try {
    await signOut();
  } finally {
    showSignedOut();
  }
}));

// --- the list ---

let cursor = null;

function line(id, ...content) {
  const button = element("button", ...content);
  button.type = "button";
  button.className = "open";
  button.dataset.id = id;
  button.addEventListener("click", pressed(button, () => open(id)));
  return element("li", button);
}

function hint(text) {
  const made = element("span", text);
  made.className = "hint";
  return made;
}

function mark(id) {
  for (const button of document.querySelectorAll(".open")) {
    if (button.dataset.id === id) button.setAttribute("aria-current", "true");
    else button.removeAttribute("aria-current");
  }
}

/** The old lines stay until the new ones are there. */
async function listFromStart() {
  const { data } = await ask("GET", `${DOCUMENTS}?limit=${PAGE_LENGTH}`);
  $("documents").replaceChildren();
  addLines(data);
}

async function listOn() {
  const { data } = await ask("GET", `${DOCUMENTS}?limit=${PAGE_LENGTH}&cursor=${encodeURIComponent(cursor)}`);
  addLines(data);
}

function addLines(page) {
  $("documents").append(...page.documents.map((each) =>
    line(each.id, element("strong", each.title), hint(`version ${each.version}, ${time(each.updatedAt)}`))));
  cursor = page.nextCursor ?? null;
  $("more").hidden = cursor === null;
  $("empty").hidden = $("documents").childElementCount > 0;
  mark(opened?.id);
}

$("more").addEventListener("click", pressed($("more"), listOn));

// --- search ---

function showAll() {
  $("found").hidden = true;
  $("all").hidden = false;
}

$("find").addEventListener("submit", pressed($("find").querySelector("[type=submit]"), async () => {
  const words = $("words").value.trim();
  if (words === "") {
    showAll();
    return;
  }
  const { data } = await ask("GET", `/search/documents?limit=20&q=${encodeURIComponent(words)}`);
  $("hits").replaceChildren(...data.hits.map((hit) => {
    const snippet = element("span", ...highlighted(hit.snippet));
    snippet.className = "snippet";
    const title = hit.titleMarked === undefined ? [hit.title] : highlighted(hit.titleMarked);
    return line(hit.id, element("strong", ...title), snippet);
  }));
  $("found-count").textContent = data.total === 1 ? "1 document" : `${data.total} documents`;
  $("all").hidden = true;
  $("found").hidden = false;
  mark(opened?.id);
}));

$("found-close").addEventListener("click", () => {
  $("words").value = "";
  showAll();
});

// --- the editor ---

/** The document in the editor; `null` while it is a new one. */
let opened = null;
/** One key as long as one new document is meant: an answer that was lost does not make two. */
let draftKey = "";

function startNew() {
  opened = null;
  draftKey = Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
  $("editor-title").textContent = "New document";
  $("title").value = "";
  $("body").value = "";
  $("facts").textContent = "";
  $("delete").hidden = true;
  $("reload").hidden = true;
  mark(null);
}

function show({ data, tag }) {
  opened = { id: data.id, tag };
  $("editor-title").textContent = data.title;
  $("title").value = data.title;
  $("body").value = data.body;
  $("facts").textContent = `Version ${data.version}, changed ${time(data.updatedAt)}`;
  $("delete").hidden = false;
  $("delete").textContent = "Delete";
  $("reload").hidden = true;
  mark(data.id);
}

async function open(id) {
  show(await ask("GET", `${DOCUMENTS}/${encodeURIComponent(id)}`));
}

$("new").addEventListener("click", () => {
  say("");
  startNew();
  $("title").focus();
});

$("editor").addEventListener("submit", pressed($("save"), async () => {
  const json = { title: $("title").value, body: $("body").value };
  try {
    const answer = opened === null
      ? await ask("POST", DOCUMENTS, { json, fields: { "Idempotency-Key": draftKey } })
      : await ask("PUT", `${DOCUMENTS}/${opened.id}`, { json, fields: { "If-Match": opened.tag } });
    show(answer);
  } catch (error) {
    if (error.status === 412) {
      // What was written here stays in the editor until its writer decides.
      $("reload").hidden = false;
      throw Object.assign(error, { message: "Somebody changed this document since you opened it. Yours is not saved." });
    }
    if (error.reason === "idempotency_key_reused") {
      // The first attempt arrived though its answer did not, and the text has changed since: it is another document.
      await listFromStart();
      draftKey = "";
      startNew();
      throw Object.assign(error, { message: "An earlier attempt was saved. Open it to change it." });
    }
    throw error;
  }
  await listFromStart();
  say("Saved.");
}));

$("reload").addEventListener("click", pressed($("reload"), () => open(opened.id)));

$("delete").addEventListener("click", pressed($("delete"), async () => {
  if ($("delete").textContent === "Delete") {
    $("delete").textContent = "Delete for good";
    return;
  }
  try {
    await ask("DELETE", `${DOCUMENTS}/${opened.id}`, { fields: { "If-Match": opened.tag } });
  } catch (error) {
    if (error.status !== 412) throw error;
    $("reload").hidden = false;
    throw Object.assign(error, { message: "Somebody changed this document since you opened it. It is not deleted." });
  }
  const { id } = opened;
  startNew();
  for (const button of document.querySelectorAll("#hits .open")) {
    if (button.dataset.id === id) button.parentElement.remove();
  }
  await listFromStart();
  say("Deleted.");
}));

$("delete").addEventListener("blur", () => { $("delete").textContent = "Delete"; });

// --- webhooks ---

let looking = 0;

/** Why an endpoint is told nothing more. */
const DISABLED = { gone: "it wants no more", failing: "it failed for days", owner: "switched off", account: "the account was disabled" };

function hookLine(hook) {
  const test = element("button", "Test");
  const remove = element("button", "Remove");
  test.addEventListener("click", pressed(test, async () => {
    await ask("POST", `/worker/webhooks/${encodeURIComponent(hook.id)}/test`);
    await look();
  }));
  remove.addEventListener("click", pressed(remove, async () => {
    await ask("DELETE", `/worker/webhooks/${encodeURIComponent(hook.id)}`);
    await look();
  }));
  test.type = "button";
  remove.type = "button";
  const off = hook.enabled ? "" : `, disabled: ${DISABLED[hook.disabledReason] ?? hook.disabledReason ?? "switched off"}`;
  const row = element("li", element("span", hook.url, hint(hook.events.join(", ") + off)), test, remove);
  row.className = "hook";
  row.dataset.id = hook.id;
  return row;
}

function deliveryLine(each) {
  const state = each.error ? `${each.state}: ${each.error}` : each.state;
  const cells = [time(each.time), each.event, state, each.status ?? "", each.attempt, each.url];
  return element("tr", ...cells.map((cell) => element("td", String(cell ?? ""))));
}

/** Puts the lines in place of the old ones, unless they are the same: what is being pressed must not go away under the hand. */
function put(place, lines) {
  const text = (line) => `${line.dataset.id} ${line.textContent}`;
  const old = [...place.children];
  if (old.length === lines.length && old.every((line, index) => text(line) === text(lines[index]))) return;
  place.replaceChildren(...lines);
}

async function showWebhooks() {
  const [hooks, deliveries] = await Promise.all([ask("GET", "/worker/webhooks"), ask("GET", "/worker/deliveries?limit=20")]);
  put($("hooks"), hooks.data.webhooks.map(hookLine));
  put($("deliveries"), deliveries.data.deliveries.map(deliveryLine));
  $("no-deliveries").hidden = deliveries.data.deliveries.length > 0;
}

/** Shows what has been delivered, and looks again in a while as long as somebody is signed in and looks on. */
async function look() {
  clearTimeout(looking);
  try {
    if (!document.hidden) await showWebhooks();
  } catch (error) {
    if (error.status === 401) {
      showSignedOut();
      throw error;
    }
    if (error.status === 404) {
      // A platform without webhooks has none to show.
      $("webhooks").hidden = true;
      return;
    }
    $("no-deliveries").textContent = `Deliveries cannot be shown: ${error.message}`;
    $("no-deliveries").hidden = false;
  }
  $("webhooks").hidden = false;
  if (!$("signed-in").hidden) looking = setTimeout(() => look().catch((error) => say(error.message, true)), LOOK_EVERY);
}

$("hook").addEventListener("submit", pressed($("hook").querySelector("[type=submit]"), async () => {
  const { data } = await ask("POST", "/worker/webhooks", {
    json: { url: $("hook-url").value, events: [$("hook-events").value] },
  });
  $("hook-url").value = "";
  $("secret").textContent = `Its secret, told once: ${data.secret}`;
  $("secret").hidden = false;
  await look();
}));

// --- start ---

if (isKept()) {
  try {
    await renew();
    await showSignedIn();
  } catch (error) {
    say(error.message, true);
    showSignedOut();
  }
} else {
  showSignedOut();
}
