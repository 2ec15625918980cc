// What the server is asked, by relative URLs: there may be a proxy's path before them.

const root = document.documentElement.dataset.root;

// url leads to a path of the server's, with a query of those parameters that are not empty.
export function url(path, parameters = {}) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    if (value !== undefined && value !== null && value !== "" && value !== false) query.set(name, value);
  }
  const text = query.toString();
  return root + path + (text ? `?${text}` : "");
}

// of names what is a ScaledJob's: a page's path, or the API's.
export function of(namespace, name, ...rest) {
  return ["namespaces", namespace, "scaledjobs", name, ...rest].map(encodeURIComponent).join("/");
}

// ofDeployment names a ScaledDeployment likewise.
export function ofDeployment(namespace, name) {
  return ["namespaces", namespace, "scaleddeployments", name].map(encodeURIComponent).join("/");
}

// path is the parts of this page's path after the root, so many of them.
export function path(parts) {
  return location.pathname.split("/").filter(Boolean).slice(-parts).map(decodeURIComponent);
}

// Refused is an answer that is not as wished: its status, and what to do.
class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

// get asks the API for something. Who is not known is led to the login.
export async function get(of, parameters = {}, signal = undefined) {
  let answer;
  try {
    answer = await fetch(url(`api/v1/${of}`, parameters), { signal, headers: { Accept: "application/json" } });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0, "The manager does not answer. It may be starting anew; this page asks again by itself.");
  }
  if (answer.status === 401) {
    location.assign(url("login", { next: location.href }));
    throw new Refused(401, "You are not logged in.");
  }
  const body = await answer.json().catch(() => ({ message: `The answer, with status ${answer.status}, is not JSON.` }));
  if (!answer.ok) throw new Refused(answer.status, body.message);
  return body;
}

// say says in the page's head whether it hears of changes.
function say(state, text) {
  const live = document.getElementById("live");
  live.dataset.state = state;
  live.textContent = text;
}

// poll asks again and again for what the server does not tell of by itself, as long as the page is looked at.
export function poll(ask, milliseconds) {
  let again;
  const once = async () => {
    clearTimeout(again);
    if (!document.hidden) await ask();
    again = setTimeout(once, milliseconds);
  };
  document.addEventListener("visibilitychange", () => document.hidden || once());
  addEventListener("pagehide", () => clearTimeout(again), { once: true });
  again = setTimeout(once, milliseconds);
}

// polled is poll for a page that shows nothing else: its head says whether the answers come.
export function polled(ask, milliseconds) {
  const told = async () => {
    try {
      await ask();
      say("on", "live");
    } catch {
      say("off", "reconnecting");
    }
  };
  poll(told, milliseconds);
  return told();
}

// follow has the server tell what changes from now on: handlers by the event's name, and one, began, for each time that it
// begins, after which what happened before has to be asked for. It says in the page's head whether it hears.
export function follow(parameters, handlers) {
  let again;
  const open = () => {
    const source = new EventSource(url("api/v1/events", parameters));
    source.onopen = () => {
      say("on", "live");
      handlers.began();
    };
    source.onerror = () => {
      say("off", "reconnecting");
      if (source.readyState === EventSource.CLOSED) {
        clearTimeout(again);
        again = setTimeout(open, 5000); // an answer that is no stream ends it for good
      }
    };
    for (const [name, handle] of Object.entries(handlers)) {
      if (name !== "began") source.addEventListener(name, (event) => handle(JSON.parse(event.data)));
    }
    addEventListener("pagehide", () => source.close(), { once: true });
  };
  open();
}

// seldom has something done soon, and at most once in so many milliseconds, however often it is asked for. It is not done
// again before it is done.
export function seldom(pause, work) {
  let wanted = false;
  let busy = false;
  const run = async () => {
    busy = true;
    while (wanted) {
      wanted = false;
      await work();
      await new Promise((done) => setTimeout(done, pause));
    }
    busy = false;
  };
  return () => {
    wanted = true;
    if (!busy) run();
  };
}
