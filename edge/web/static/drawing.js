// Drawings of the page, as SVG: spectrum, map, and control charts. Texts are set as text, never as
// markup, because ids and notes may hold anything.
const SVG = "http://www.w3.org/2000/svg";

export function shape(name, attributes, text) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) {
    element.setAttribute(key, value);
  }
  if (text !== undefined) {
    element.textContent = text;
  }
  return element;
}

function scale(low, high, from, to) {
  const span = high - low || 1;
  return (value) => from + ((value - low) / span) * (to - from);
}

function path(xs, ys) {
  return xs.map((x, i) => `${i ? "L" : "M"}${x.toFixed(1)} ${ys[i].toFixed(1)}`).join("");
}

const BOX = { left: 34, right: 352, top: 8, bottom: 166 };

// Draws values above wavelengths; a null, or a step wider than `gap` nm, interrupts the line.
function curve(nm, values, x, y, top, gap, name) {
  let line = "";
  values.forEach((value, i) => {
    if (value !== null) {
      const on = line && values[i - 1] !== null && nm[i] - nm[i - 1] < gap;
      line += `${on ? "L" : "M"}${x(nm[i]).toFixed(1)} ${y(Math.max(0, Math.min(top, value))).toFixed(1)}`;
    }
  });
  return shape("path", { d: line, class: name });
}

// found: {wavelengths_nm, reflectance, examples: {wavelengths_nm, reflectance: [[...], ...]} or null}
export function drawSpectrum(svg, found) {
  svg.replaceChildren();
  const nm = found.wavelengths_nm;
  const values = found.reflectance.filter((value) => value !== null);
  const known = found.examples;
  const inside = known
    ? known.wavelengths_nm.map((value, i) => i).filter((i) => known.wavelengths_nm[i] >= nm[0] && known.wavelengths_nm[i] <= nm[nm.length - 1])
    : [];
  const examples = known ? known.reflectance.map((soil) => inside.map((i) => soil[i])) : [];
  const top = Math.min(1.2, Math.max(0.1, ...values, ...examples.flat()));
  const x = scale(nm[0], nm[nm.length - 1], BOX.left, BOX.right);
  const y = scale(0, top, BOX.bottom, BOX.top);
  for (const soil of examples) {
    // The model's gaps are wider than 20 nm, its separate bands lie further apart than that.
    const gap = known.wavelengths_nm.length < 30 ? Infinity : 20;
    svg.append(curve(inside.map((i) => known.wavelengths_nm[i]), soil, x, y, top, gap, "example"));
  }
  svg.append(
    shape("path", { d: `M${BOX.left} ${BOX.top}V${BOX.bottom}H${BOX.right}`, class: "axis" }),
  );
  for (let step = 0; step <= 4; step++) {
    const wavelength = nm[0] + ((nm[nm.length - 1] - nm[0]) * step) / 4;
    svg.append(
      shape("text", { x: x(wavelength), y: BOX.bottom + 14, "text-anchor": step === 4 ? "end" : "middle" },
        wavelength.toFixed(0)),
    );
    const level = (top * step) / 4;
    svg.append(shape("text", { x: BOX.left - 4, y: y(level) + 3, "text-anchor": "end" }, level.toFixed(2)));
  }
  svg.append(curve(nm, found.reflectance, x, y, top, Infinity, "curve"));
}

const METRES_PER_DEGREE = 111320;

// points: [{latitude, longitude, id, last}]; returns the length of the scale bar in m.
export function drawMap(svg, points) {
  svg.replaceChildren();
  const middle = points.reduce((sum, point) => sum + point.latitude, 0) / points.length;
  const stretch = Math.max(0.01, Math.cos((middle * Math.PI) / 180));
  const xs = points.map((point) => point.longitude * stretch * METRES_PER_DEGREE);
  const ys = points.map((point) => point.latitude * METRES_PER_DEGREE);
  const span = Math.max(20, Math.max(...xs) - Math.min(...xs), (Math.max(...ys) - Math.min(...ys)) * 1.5);
  const centre = [(Math.max(...xs) + Math.min(...xs)) / 2, (Math.max(...ys) + Math.min(...ys)) / 2];
  const factor = 300 / span;
  points.forEach((point, i) => {
    const dot = shape("circle", {
      cx: (180 + (xs[i] - centre[0]) * factor).toFixed(1),
      cy: (112 - (ys[i] - centre[1]) * factor).toFixed(1),
      r: point.last ? 7 : 5,
      class: point.last ? "last" : "point",
    });
    dot.append(shape("title", {}, point.id));
    svg.append(dot);
  });
  const round = 10 ** Math.floor(Math.log10(span / 3));
  const bar = span / 3 / round >= 5 ? 5 * round : span / 3 / round >= 2 ? 2 * round : round;
  svg.append(
    shape("path", { d: `M20 228h${(bar * factor).toFixed(1)}`, class: "curve" }),
    shape("text", { x: 20, y: 222 }, bar >= 1000 ? `${bar / 1000} km` : `${bar} m`),
    shape("path", { d: "M340 30V12M335 18L340 10L345 18", class: "axis" }),
    shape("text", { x: 336, y: 42 }, "N"),
  );
  return bar;
}

// chart: {values, low, high}
export function drawChart(svg, chart) {
  svg.replaceChildren();
  const all = chart.values.concat([chart.low, chart.high].filter((value) => value !== null));
  const y = scale(Math.min(...all), Math.max(...all), 80, 10);
  const x = scale(0, Math.max(1, chart.values.length - 1), 10, 350);
  for (const limit of [chart.low, chart.high]) {
    if (limit !== null) {
      svg.append(shape("path", { d: `M10 ${y(limit).toFixed(1)}H350`, class: "limit" }));
    }
  }
  chart.values.forEach((value, i) => {
    const outside = (chart.low !== null && value < chart.low) || (chart.high !== null && value > chart.high);
    svg.append(
      shape("circle", { cx: x(i).toFixed(1), cy: y(value).toFixed(1), r: 3, class: outside ? "last" : "point" }),
    );
  });
}
