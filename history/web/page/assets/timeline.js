// Jobs as bars over time: how long each waited, started up and ran.

import { of, url } from "./api.js";
import { label } from "./charts.js";
import { s, show } from "./dom.js";
import { duration } from "./format.js";

const left = 56; // for the sequence
const right = 8;
const head = 20; // for the times

const seconds = (text) => Date.parse(text) / 1000;

// phases are a bar's parts: what it did, and from when until when.
function phases(bar, now) {
  const end = bar.finished ? seconds(bar.finished) : now;
  const created = seconds(bar.created);
  const started = bar.started ? seconds(bar.started) : end;
  const all = [];
  if (bar.seen) all.push({ what: "wait", from: seconds(bar.seen), to: created });
  all.push({ what: "start", from: created, to: started });
  if (bar.started) all.push({ what: bar.outcome || "run", from: started, to: end });
  return all.filter((p) => p.to >= p.from);
}

const did = { wait: "waited", start: "started up", run: "runs since", succeeded: "ran", failed: "ran", cancelled: "ran" };

// words tell a bar.
function words(bar, now) {
  const parts = phases(bar, now).map((p) => `${did[p.what]} ${duration(p.to - p.from)}`);
  return `Job ${bar.sequence}, ${bar.category ?? (bar.started ? "running" : "starting")}: ${parts.join(", ")}`;
}

// steps are times on the axis.
function steps(from, to, most) {
  const all = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800];
  const step = all.find((n) => (to - from) / n <= most) ?? 2592000;
  const offset = new Date(from * 1000).getTimezoneOffset() * 60; // whole hours and days are the reader's
  const times = [];
  for (let t = Math.ceil((from - offset) / step) * step + offset; t <= to; t += step) times.push(t);
  return times;
}

// timeline draws bars of a ScaledJob in an element: one row each, newest first. Up and down lead from one to the next.
export function timeline(element, namespace, name) {
  let chosen = 0; // the sequence of the bar that the keyboard is at
  element.addEventListener("keydown", (event) => {
    const bars = [...element.querySelectorAll("a")];
    const at = bars.indexOf(document.activeElement);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: bars.length - 1 }[event.key];
    if (to === undefined || !bars[to]) return;
    event.preventDefault();
    bars[at]?.setAttribute("tabindex", "-1");
    bars[to].setAttribute("tabindex", "0");
    bars[to].focus();
    chosen = Number(bars[to].dataset.sequence);
  });
  let last;
  const draw = () => {
    if (!last || element.clientWidth === 0) return;
    const { bars, from, to } = last;
    const wide = element.clientWidth;
    const tall = bars.length > 120 ? 5 : bars.length > 40 ? 9 : 16;
    const x = (t) => left + ((Math.min(to, Math.max(from, t)) - from) / (to - from)) * (wide - left - right);
    const times = steps(from, to, Math.max(2, Math.floor(wide / 110)));
    const high = head + Math.max(1, bars.length) * tall + 4;
    if (!bars.some((b) => b.sequence === chosen)) chosen = bars[0]?.sequence;
    const focused = element.contains(document.activeElement);
    show(element, s("svg", { width: wide, height: high, viewBox: `0 0 ${wide} ${high}` },
      times.map((t) => [
        s("line", { x1: x(t), x2: x(t), y1: head - 4, y2: high, class: "grid" }),
        s("text", { x: x(t), y: 12, "text-anchor": x(t) > wide - 40 ? "end" : "middle" }, label(t, times)),
      ]),
      bars.map((bar, i) => {
        const y = head + i * tall;
        return s("a", { href: url(of(namespace, name, "records", bar.sequence)), "aria-label": words(bar, to), tabindex: bar.sequence === chosen ? "0" : "-1", "data-sequence": bar.sequence },
          s("title", {}, words(bar, to)),
          s("rect", { x: 0, y, width: wide, height: tall, class: "row" }),
          tall > 10 && s("text", { x: left - 6, y: y + tall - 4, "text-anchor": "end" }, String(bar.sequence)),
          phases(bar, to).map((p) => p.to >= from && p.from <= to &&
            s("rect", { x: x(p.from), y: y + 1, width: Math.max(1, x(p.to) - x(p.from)), height: tall - 2, class: `bar ${p.what}` })));
      })));
    if (focused) element.querySelector("a[tabindex='0']")?.focus({ preventScroll: true });
  };
  new ResizeObserver(draw).observe(element);
  return (bars, from, to) => {
    last = { bars, from: seconds(from), to: seconds(to) };
    draw();
  };
}
