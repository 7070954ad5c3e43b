// Who is signed in, and requests in that name. The refresh token outlives a reload of this tab, and nothing else does.

const KEPT = "gatehouse-session";
const PATIENCE = 20_000;

let accessToken = null;
let renewal = null;

/** A refusal: `reason` for programs, `message` for people. */
export class Refusal extends Error {
  constructor(status, reason, message) {
    super(message);
    this.status = status;
    this.reason = reason;
  }
}

function kept() {
  try {
    return JSON.parse(sessionStorage.getItem(KEPT)) ?? {};
  } catch {
    return {};
  }
}

export function email() {
  return kept().email ?? "";
}

export function isKept() {
  return Boolean(kept().refreshToken);
}

async function exchange(method, path, fields, body) {
  let answer;
  try {
    answer = await fetch(path, {
      method, headers: fields, body, credentials: "omit", redirect: "error", cache: "no-store",
      signal: AbortSignal.timeout(PATIENCE),
    });
  } catch {
    throw new Refusal(0, "unreachable", "The gateway cannot be reached.");
  }
  const requestID = answer.headers.get("X-Request-ID");
  if (requestID) {
    document.getElementById("request-id").textContent = requestID;
    document.getElementById("last-request").hidden = false;
  }
  const text = await answer.text();
  let data = null;
  try {
    data = text === "" ? null : JSON.parse(text);
  } catch {
    // An answer of something else on the way; its status says enough.
  }
  return { status: answer.status, tag: answer.headers.get("ETag"), retryAfter: answer.headers.get("Retry-After"), data };
}

function refusal({ status, data, retryAfter }) {
  const said = data?.detail ?? data?.error_description ?? `The answer was ${status}.`;
  const wait = retryAfter ? ` Try again in ${retryAfter} s.` : "";
  return new Refusal(status, data?.reason ?? data?.error ?? "", said + wait);
}

async function grant(form, name) {
  const answer = await exchange(
    "POST", "/auth/token", { "Content-Type": "application/x-www-form-urlencoded" }, new URLSearchParams(form).toString());
  if (answer.status !== 200) throw refusal(answer);
  accessToken = answer.data.access_token;
  sessionStorage.setItem(KEPT, JSON.stringify({ email: name, refreshToken: answer.data.refresh_token }));
}

export async function register(name, password) {
  const answer = await exchange(
    "POST", "/auth/register", { "Content-Type": "application/json" }, JSON.stringify({ email: name, password }));
  if (answer.status !== 201) throw refusal(answer);
}

export async function signIn(name, password) {
  await grant({ grant_type: "password", username: name, password }, name);
}

/** A refresh token is good once: whoever needs a new access token now waits for the same one. */
export function renew() {
  const { email: name, refreshToken } = kept();
  if (!refreshToken) return Promise.reject(new Refusal(401, "signed_out", "Please sign in."));
  renewal ??= grant({ grant_type: "refresh_token", refresh_token: refreshToken }, name).catch((error) => {
    if (error.status !== 400) throw error;
    forget();
    throw new Refusal(401, "signed_out", "The session has ended. Please sign in again.");
  }).finally(() => { renewal = null; });
  return renewal;
}

function forget() {
  accessToken = null;
  sessionStorage.removeItem(KEPT);
}

export async function signOut() {
  try {
    if (accessToken) await exchange("POST", "/auth/logout", { Authorization: `Bearer ${accessToken}` });
  } finally {
    forget();
  }
}

/** Asks in the name of who is signed in. Throws `Refusal` for anything but a success. */
export async function ask(method, path, { json, fields = {} } = {}) {
  const body = json === undefined ? undefined : JSON.stringify(json);
  const type = body === undefined ? {} : { "Content-Type": "application/json" };
  for (const isLast of [false, true]) {
    if (!accessToken) await renew();
    const answer = await exchange(method, path, { ...fields, ...type, Authorization: `Bearer ${accessToken}` }, body);
    if (answer.status === 401 && !isLast) {
      accessToken = null;
      continue;
    }
    if (answer.status < 200 || answer.status > 299) throw refusal(answer);
    return answer;
  }
  throw new Refusal(401, "signed_out", "Please sign in.");
}
