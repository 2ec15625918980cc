// One ScaledDeployment: how many pods there are and why, and what each of them does.

import { get, ofDeployment, path, polled } from "./api.js";
import { h, show } from "./dom.js";
import { ago, count, duration } from "./format.js";
import { badge, cell, conditions, failed, figure, when } from "./parts.js";

const kinds = { Busy: "run", Draining: "run", Idle: "good", Fenced: "rest", Starting: "start", Silent: "bad", Lost: "bad", Leaving: "gone" };

// doing says what a pod does, and for how long.
function doing(pod) {
  const seconds = pod.since ? Math.max(0, (Date.now() - Date.parse(pod.since)) / 1000) : undefined;
  return [pod.state.toLowerCase(), pod.messageID && ` with ${pod.messageID}`, seconds !== undefined && ` for ${duration(seconds)}`];
}

function pods(all) {
  if (all.length === 0) return h("p", { class: "nothing" }, "There is no pod.");
  return h("table", { class: "rows pods" },
    h("thead", {}, h("tr", {}, ["Pod", "State", "Does", "Since"].map((name) => h("th", { scope: "col" }, name)))),
    h("tbody", {}, all.map((pod) => h("tr", { "data-pod": pod.name },
      cell("Pod", pod.name),
      cell("State", h("span", { class: `badge ${kinds[pod.state] ?? "rest"}` }, pod.state)),
      cell("Does", doing(pod)),
      cell("Since", when(pod.since))))));
}

export async function scaledDeployment(main) {
  const [, namespace, , name] = path(4);
  document.title = `${name} · Longhaul`;
  const head = h("div");
  const figures = h("dl", { class: "figures" });
  const why = h("p", { class: "why", "aria-live": "polite" });
  const problem = h("div");
  const running = h("div");
  const details = h("div");

  const draw = (d) => {
    show(head, h("h1", {}, d.name, " ", badge(d)), h("p", { class: "quiet" }, `namespace ${d.namespace}, scales ${d.targetKind} ${d.targetName}, applied ${ago(d.created)}`,
      d.lastScale ? `, last scaled ${ago(d.lastScale)}` : ""));
    show(why, d.why ?? "");
    show(figures, figure("Waiting", count(d.waiting)), d.held !== undefined && figure("Held by workers", count(d.held)),
      figure("Replicas wanted", `${count(d.desiredReplicas)} of ${count(d.maxReplicas)}`), figure("Replicas", count(d.replicas)),
      figure("Busy", count(d.busy)), figure("Idle", count(d.idle)), figure("Fenced", count(d.fenced)), figure("Leaving", count(d.leaving)),
      d.lost > 0 && figure("Lost", count(d.lost), "bad"));
    show(running, pods(d.pods));
    show(details, conditions(d));
  };
  show(main, head, why, figures, problem,
    h("section", { class: "card" }, h("h2", {}, "Pods"), running, h("details", {}, h("summary", {}, "Triggers and conditions"), details)));
  await polled(async () => {
    try {
      draw(await get(ofDeployment(namespace, name)));
      show(problem);
    } catch (error) {
      show(problem, failed(error));
      throw error;
    }
  }, 2000);
}
