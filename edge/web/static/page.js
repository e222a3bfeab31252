// The page: it shows what the daemon sends, and asks it for scans. Everything that comes from the
// store is set as text, never as markup.
import { drawChart, drawMap, drawSpectrum } from "./drawing.js";

const KEPT = 500;

const texts = await (await fetch("texts.en.json")).json();
const records = new Map();
let newest = 0;
let shown = 0;
let following = true;
let status = {};

function say(key, values = {}) {
  return (texts[key] ?? key).replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}

function $(id) {
  return document.getElementById(id);
}

function element(name, text, className) {
  const made = document.createElement(name);
  if (text !== undefined) {
    made.textContent = text;
  }
  if (className) {
    made.className = className;
  }
  return made;
}

function rounded(value) {
  return value === null || value === undefined ? "" : String(Number(value.toPrecision(3)));
}

function lasting(seconds) {
  if (seconds < 120) {
    return say("seconds", { n: Math.round(seconds) });
  }
  return seconds < 7200
    ? say("minutes", { n: Math.round(seconds / 60) })
    : say("hours", { n: Math.round(seconds / 3600) });
}

function verdictOf(record) {
  return record.verdict ? record.verdict.sample : "";
}

// ---- the instrument

function showStatus() {
  $("activity").textContent = status.text ?? "";
  const rows = [];
  if (status.instrument) {
    rows.push([say("instrument"), `${status.instrument.model} ${status.instrument.serial}`]);
  }
  const references = status.references;
  rows.push([
    say("references"),
    references && references.age_s !== null
      ? references.due || say("age", { age: lasting(references.age_s) })
      : say("noReferences"),
  ]);
  if (status.check_sample) {
    rows.push([say("check"), status.check_sample.text]);
  }
  if (status.position) {
    const found = status.position.position;
    rows.push([
      say("position"),
      found
        ? `${found.latitude.toFixed(5)}, ${found.longitude.toFixed(5)}${found.accuracy_m ? ` ${say("accuracy", { metres: Math.round(found.accuracy_m) })}` : ""}`
        : say("noPosition"),
    ]);
  }
  const model = status.model;
  if (model) {
    const known = model.on_trial ? say("onTrial", { name: model.running }) : model.running;
    rows.push([
      say("model"),
      model.refused ? say("refused", { known, name: model.refused_name, reason: model.refused }) : known,
    ]);
  }
  if (status.health && status.health.problem) {
    rows.push([say("store"), status.health.problem]);
  }
  $("references").replaceChildren(
    ...rows.flatMap(([name, value]) => [element("dt", name), element("dd", value)]),
  );
  showChecks();
}

function showJob(job) {
  const asked = job.event === "prompt";
  $("job").hidden = !asked;
  $("job-text").textContent = asked ? job.text : "";
  if (asked) {
    $("proceed").focus();
  }
  const busy = asked || job.event === "progress";
  for (const id of ["scan", "take-references", "check-sample"]) {
    $(id).disabled = busy;
  }
  $("refused").textContent = job.event === "failed" ? job.text : "";
  if (job.event === "progress" && job.text) {
    $("activity").textContent = job.text;
  }
}

function showLink(key, className) {
  $("link").textContent = say(key);
  $("link").className = `badge ${className}`;
}

// ---- the result

function flagText(flag) {
  if (flag.startsWith("out_of_domain")) {
    return `${say("flagOutOfDomain")} (${flag})`;
  }
  return flag.startsWith("rescan:")
    ? say("flagRescan", { reason: flag.slice("rescan:".length).replaceAll("_", " ") })
    : flag.replaceAll("_", " ");
}

function card(name, estimate, verdict) {
  const made = element("div", undefined, `card ${verdict ? verdict.verdict : ""}`);
  made.append(element("span", name, "name"), element("div", rounded(estimate.value), "value"));
  // pH is its own unit.
  made.append(element("span", estimate.unit === name ? "" : estimate.unit, "unit"));
  const interval =
    estimate.low === null ? say("noInterval") : say("interval", { low: rounded(estimate.low), high: rounded(estimate.high) });
  made.append(element("span", interval, "interval"));
  if (estimate.places === "new") {
    made.append(element("span", say("newPlaces"), "interval"));
  }
  if (verdict) {
    made.append(element("span", `${say(verdict.verdict)}: ${verdict.reason}`, "reason"));
  }
  return made;
}

function sampleLine(record) {
  const sample = record.sample ?? {};
  const depth = sample.top_cm !== undefined || sample.bottom_cm !== undefined
    ? `${sample.top_cm ?? "?"}-${sample.bottom_cm ?? "?"} cm`
    : "";
  return [sample.id, depth, record.time.slice(0, 19).replace("T", " "), record.scan_id].filter(Boolean).join(" · ");
}

async function showResult(number) {
  const record = records.get(number);
  shown = number;
  $("sample-line").textContent = record ? sampleLine(record) : say("noResult");
  const verdict = record ? verdictOf(record) : "";
  $("verdict").hidden = !verdict;
  $("verdict").className = { ok: "good", laboratory: "warn", rescan: "bad" }[verdict] ?? "";
  $("verdict").textContent = verdict ? `${say(verdict)}: ${record.verdict.reason}` : "";
  $("cards").replaceChildren(
    ...Object.entries(record ? record.predictions : {}).map(([name, estimate]) =>
      card(name, estimate, record.verdict ? record.verdict.properties[name] : undefined)),
  );
  $("flags").replaceChildren(...(record ? record.flags : []).map((flag) => element("li", flagText(flag), "warn")));
  for (const row of $("session-rows").children) {
    row.toggleAttribute("aria-current", Number(row.dataset.number) === number);
  }
  if (record) {
    const response = await fetch(`api/spectrum?id=${number}`).catch(() => null);
    if (shown !== number) {
      return;
    }
    if (response && response.ok) {
      drawSpectrum($("spectrum"), await response.json());
      $("spectrum-caption").textContent = say("spectrum");
    } else {
      $("spectrum").replaceChildren();
      $("spectrum-caption").textContent = say("noSpectrum");
    }
  }
}

// ---- the session

function properties() {
  const names = new Set();
  for (const record of records.values()) {
    Object.keys(record.predictions).forEach((name) => names.add(name));
  }
  return [...names];
}

function sessionRow(number, record, names) {
  const row = element("tr");
  row.dataset.number = number;
  row.tabIndex = 0;
  const time = new Date(record.time);
  row.append(
    element("td", Number.isNaN(time.getTime()) ? record.time : time.toLocaleTimeString()),
    element("td", (record.sample && record.sample.id) || record.scan_id),
  );
  for (const name of names) {
    const estimate = record.predictions[name];
    row.append(element("td", estimate ? rounded(estimate.value) : "", "number"));
  }
  row.append(element("td", verdictOf(record) ? say(verdictOf(record)) : record.flags.join(" ")));
  const choose = () => {
    following = number === newest;
    showResult(number);
  };
  row.addEventListener("click", choose);
  row.addEventListener("keydown", (event) => {
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      choose();
    }
  });
  return row;
}

let columns = "";

function showSession(fresh) {
  const names = properties();
  const head = names.join("\n");
  if (head !== columns) {
    columns = head;
    $("session-head").replaceChildren(
      ...[say("time"), say("id"), ...names, say("verdict")].map((text) => {
        const cell = element("th", text);
        cell.scope = "col";
        return cell;
      }),
    );
    fresh = [...records.keys()];
    $("session-rows").replaceChildren();
  }
  for (const number of fresh) {
    if (records.has(number)) {
      $("session-rows").prepend(sessionRow(number, records.get(number), names));
    }
  }
  while ($("session-rows").children.length > records.size) {
    $("session-rows").lastElementChild.remove();
  }
}

function showMap() {
  const points = [...records.entries()]
    .filter(([, record]) => record.position)
    .map(([number, record]) => ({
      latitude: record.position.latitude,
      longitude: record.position.longitude,
      id: (record.sample && record.sample.id) || record.scan_id,
      last: number === newest,
    }));
  $("map").toggleAttribute("hidden", points.length === 0);
  $("map-text").textContent = points.length
    ? say("mapText", { count: points.length, metres: drawMap($("map"), points) })
    : say("noMap");
}

let checked = 0;

async function showChecks() {
  const chart = status.check_sample;
  if (!chart || chart.measured === checked) {
    return;
  }
  checked = chart.measured;
  const response = await fetch("api/checks").catch(() => null);
  if (!response || !response.ok) {
    checked = 0;
    return;
  }
  const found = Object.entries(await response.json());
  $("check").hidden = found.length === 0;
  $("check-charts").replaceChildren(
    ...found.flatMap(([name, values]) => {
      const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
      svg.setAttribute("viewBox", "0 0 360 90");
      svg.setAttribute("role", "img");
      const caption = say("checkChart", { name, count: values.length });
      svg.setAttribute("aria-label", caption);
      const known = (chart.limits && chart.limits[name]) ?? { low: null, high: null };
      drawChart(svg, { values, low: known.low, high: known.high });
      return [element("p", caption), svg];
    }),
  );
}

// ---- events

let pending = [];

function take(number, record) {
  // After another store was put in place its numbers begin again.
  if (number <= newest && !records.has(number)) {
    records.clear();
    columns = "";
    newest = 0;
  }
  if (records.has(number)) {
    return;
  }
  records.set(number, record);
  newest = number;
  if (records.size > KEPT) {
    records.delete(records.keys().next().value);
  }
  if (!pending.length) {
    // Many records come at once when the page opens: they are drawn together.
    setTimeout(() => {
      const fresh = pending;
      pending = [];
      showSession(fresh);
      showMap();
      if (following || !records.has(shown)) {
        showResult(newest);
        following = true;
      }
    }, 0);
  }
  pending.push(number);
}

function follow() {
  const events = new EventSource("api/events");
  events.addEventListener("open", () => showLink("connected", "good"));
  events.addEventListener("error", () => {
    showLink("offline", "bad");
    // A browser gives up where the daemon refuses; it may be there again later.
    if (events.readyState === EventSource.CLOSED) {
      setTimeout(follow, 2000);
    }
  });
  events.addEventListener("record", (event) => take(Number(event.lastEventId), JSON.parse(event.data)));
  events.addEventListener("status", (event) => {
    status = JSON.parse(event.data);
    showStatus();
  });
  events.addEventListener("job", (event) => showJob(JSON.parse(event.data)));
}

// ---- requests

async function ask(path, body = {}) {
  $("refused").textContent = "";
  try {
    const response = await fetch(path, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
    });
    if (!response.ok) {
      const text = await response.text();
      $("refused").textContent = text.startsWith("{") ? JSON.parse(text).text : text;
    }
    return response.ok;
  } catch {
    $("refused").textContent = say("offline");
    return false;
  }
}

function sampleOf(form) {
  const sample = {};
  for (const name of ["id", "operator", "note"]) {
    if (form.elements[name].value.trim()) {
      sample[name] = form.elements[name].value.trim();
    }
  }
  for (const name of ["top_cm", "bottom_cm"]) {
    if (form.elements[name].value !== "") {
      sample[name] = Number(form.elements[name].value);
    }
  }
  const replicates = Number(form.elements.replicates.value);
  return replicates ? { sample, replicates } : { sample };
}

$("sample").addEventListener("submit", async (event) => {
  event.preventDefault();
  if (await ask("api/scan", sampleOf(event.target))) {
    following = true;
    // The operator stays; the rest belongs to the sample that was scanned.
    for (const name of ["id", "top_cm", "bottom_cm", "note"]) {
      event.target.elements[name].value = "";
    }
    if (matchMedia("(max-width: 48rem)").matches) {
      // On a phone the result would otherwise appear above what is seen.
      document.activeElement.blur();
      $("result-title").scrollIntoView();
    } else {
      event.target.elements.id.focus();
    }
  }
});
$("take-references").addEventListener("click", () => ask("api/reference"));
$("check-sample").addEventListener("click", () => ask("api/check-sample"));
$("proceed").addEventListener("click", () => ask("api/proceed"));
$("cancel").addEventListener("click", () => ask("api/cancel"));

for (const marked of document.querySelectorAll("[data-text]")) {
  marked.textContent = say(marked.dataset.text);
}
showResult(0);
showMap();
follow();
if ("serviceWorker" in navigator) {
  navigator.serviceWorker.register("worker.js").catch(() => {});
}
