// The page that asks for a token.

import { url } from "./api.js";
import { h, show } from "./dom.js";

// home is where to go after: where the reader came from, if that is a page of this server, else the first page.
function home() {
  const root = new URL(url(""), location.href);
  try {
    const next = new URL(new URLSearchParams(location.search).get("next"), location.href);
    if (next.origin === root.origin && next.pathname.startsWith(root.pathname)) return next.href;
  } catch {
    // none was given, or it is no URL
  }
  return root.href;
}

export function login(main) {
  document.title = "Log in · Longhaul";
  const problem = h("p", { class: "notice bad", role: "alert", hidden: true });
  const token = h("textarea", { id: "token", name: "token", rows: 4, required: true, autocomplete: "off", spellcheck: "false" });
  const button = h("button", { type: "submit" }, "Log in");
  const send = async (event) => {
    event.preventDefault();
    button.disabled = true;
    problem.hidden = true;
    try {
      const answer = await fetch(url("login"), { method: "POST", body: new URLSearchParams({ token: token.value }) });
      if (answer.ok) {
        location.assign(home());
        return;
      }
      problem.textContent = (await answer.json()).message;
    } catch {
      problem.textContent = "The manager does not answer. Try again.";
    }
    problem.hidden = false;
    button.disabled = false;
    token.focus();
  };
  show(main, h("section", { class: "card narrow" },
    h("h1", {}, "Log in"),
    h("p", {}, "Give a token of the cluster. You see what its role lets you get and list, such as ", h("code", {}, "view"), " in a namespace:"),
    h("pre", {}, "kubectl -n NAMESPACE create token SERVICEACCOUNT"),
    h("form", { onsubmit: send }, h("label", { for: "token" }, "Token"), token, problem, button),
    h("p", { class: "quiet" }, "It is kept in a cookie that no script can read, until the browser ends or you log out. ",
      h("code", {}, "kubectl longhaul dashboard"), " needs no login: it uses the token that you have.")));
  token.focus();
}
