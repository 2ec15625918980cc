// What the path says is shown: each page is a module of its own.

import { get, url } from "./api.js";
import { h, show } from "./dom.js";
import { failed } from "./parts.js";
import { login } from "./login.js";
import { overview } from "./overview.js";
import { allRecords } from "./records.js";
import { record } from "./record.js";
import { scaledDeployment } from "./scaleddeployment.js";
import { scaledJob } from "./scaledjob.js";

function page() {
  const parts = location.pathname.split("/").filter(Boolean);
  if (parts.at(-4) === "scaledjobs" || parts.at(-2) === "scaledjobs") {
    if (parts.at(-6) === "namespaces" && parts.at(-2) === "records") return record;
    if (parts.at(-4) === "namespaces") return scaledJob;
  }
  if (parts.at(-4) === "namespaces" && parts.at(-2) === "scaleddeployments") return scaledDeployment;
  return { login, records: allRecords }[parts.at(-1)] ?? overview;
}

function head(user) {
  const leave = async () => {
    await fetch(url("logout"), { method: "POST" });
    location.assign(url("login"));
  };
  show(document.getElementById("user"), user.anonymous
    ? h("span", { title: "This manager asks nobody who they are" }, "no login")
    : [h("span", { class: "name" }, user.name), " ", h("button", { class: "plain", onclick: leave }, "Log out")]);
  const here = location.pathname.replace(/\/$/, "");
  for (const link of document.querySelectorAll("nav a")) {
    if (new URL(link.href).pathname.replace(/\/$/, "") === here) link.setAttribute("aria-current", "page");
  }
}

async function start() {
  const main = document.getElementById("main");
  const shown = page();
  if (shown === login) {
    login(main);
    return;
  }
  try {
    const user = await get("user");
    head(user);
    await shown(main, user);
  } catch (error) {
    show(main, failed(error), h("p", {}, h("button", { onclick: () => location.reload() }, "Try again")));
  }
}

start();
