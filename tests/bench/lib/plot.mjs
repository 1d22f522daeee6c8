// Charts as SVG text: bars with their numbers, and lines on logarithmic axes. Light and dark pages both work.

const FONT = 'font-family="system-ui, sans-serif"';
const COLOURS = ['#3b6fb6', '#d98032', '#4b9b62', '#a05195', '#7a7a7a', '#c0392b', '#2aa5a5', '#8a6d3b'];
const MUTED = COLOURS[4];

/** @param {string} text */
const escape = (text) => text.replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);
/** @param {number} x */
const short = (x) => (x >= 100 ? x.toFixed(0) : x >= 10 ? x.toFixed(1) : x.toPrecision(x < 0.1 ? 2 : 3));

/**
 * @param {number} width @param {number} height @param {string} title @param {string} body
 */
function svg(width, height, title, body) {
  return (
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" ${FONT} font-size="12" role="img">` +
    `<style>text{fill:#222}.axis{stroke:#8884}@media (prefers-color-scheme:dark){text{fill:#ddd}}</style>` +
    `<title>${escape(title)}</title><text x="12" y="20" font-size="14" font-weight="600">${escape(title)}</text>${body}</svg>\n`
  );
}

/** @param {string[]} series @param {number} x @param {number} y */
function legend(series, x, y) {
  let at = x;
  let out = '';
  for (const [i, name] of series.entries()) {
    out += `<rect x="${at}" y="${y - 9}" width="10" height="10" fill="${COLOURS[i % COLOURS.length]}"/><text x="${at + 14}" y="${y}">${escape(name)}</text>`;
    at += 30 + name.length * 7;
  }
  return out;
}

/**
 * One row a bar group; each series has a scale of its own, as their sizes differ.
 * @param {{title: string, series: string[], bars: {label: string, values: number[], muted?: boolean}[]}} chart
 */
export function barChart({ title, series, bars }) {
  const left = 330;
  const panel = 260;
  const rowHeight = 22;
  const width = left + series.length * panel + 20;
  const top = 62;
  let body = '';
  for (const [s, name] of series.entries()) {
    const x0 = left + s * panel;
    const largest = Math.max(...bars.map((b) => b.values[s]));
    body += `<text x="${x0}" y="${top - 14}" font-weight="600">${escape(name)}</text>`;
    for (const [i, bar] of bars.entries()) {
      const y = top + i * rowHeight;
      const w = (bar.values[s] / largest) * (panel - 70);
      body += `<rect x="${x0}" y="${y}" width="${w.toFixed(1)}" height="${rowHeight - 6}" rx="2" fill="${bar.muted ? MUTED : COLOURS[s % COLOURS.length]}"/>`;
      body += `<text x="${(x0 + w + 5).toFixed(1)}" y="${y + 12}">${short(bar.values[s])}</text>`;
    }
  }
  for (const [i, bar] of bars.entries()) body += `<text x="${left - 10}" y="${top + i * rowHeight + 12}" text-anchor="end">${escape(bar.label)}</text>`;
  return svg(width, top + bars.length * rowHeight + 12, title, body);
}

/**
 * Both axes logarithmic.
 * @param {{title: string, xLabel: string, yLabel: string, lines: {label: string, points: [number, number][]}[]}} chart
 */
export function lineChart({ title, xLabel, yLabel, lines }) {
  const [width, height, left, top, right, bottom] = [740, 420, 90, 66, 20, 46];
  const points = lines.flatMap((l) => l.points);
  /** @param {number} axis */
  const range = (axis) => {
    const all = points.map((p) => Math.log2(p[axis]));
    return [Math.floor(Math.min(...all)), Math.ceil(Math.max(...all) + 1e-9)];
  };
  const [x0, x1] = range(0);
  const [y0, y1] = range(1);
  const px = (/** @type {number} */ x) => left + ((Math.log2(x) - x0) / Math.max(1, x1 - x0)) * (width - left - right);
  const py = (/** @type {number} */ y) => height - bottom - ((Math.log2(y) - y0) / Math.max(1, y1 - y0)) * (height - top - bottom);
  let body = legend(lines.map((l) => l.label), left, 44);
  for (let e = x0; e <= x1; e++) {
    const x = px(2 ** e).toFixed(1);
    body += `<line class="axis" x1="${x}" y1="${top}" x2="${x}" y2="${height - bottom}"/><text x="${x}" y="${height - bottom + 16}" text-anchor="middle">${short(2 ** e)}</text>`;
  }
  for (let e = y0; e <= y1; e++) {
    const y = py(2 ** e);
    body += `<line class="axis" x1="${left}" y1="${y.toFixed(1)}" x2="${width - right}" y2="${y.toFixed(1)}"/><text x="${left - 6}" y="${(y + 4).toFixed(1)}" text-anchor="end">${short(2 ** e)}</text>`;
  }
  body += `<text x="${(left + width - right) / 2}" y="${height - 10}" text-anchor="middle">${escape(xLabel)}</text>`;
  body += `<text x="16" y="${(top + height - bottom) / 2}" text-anchor="middle" transform="rotate(-90 16 ${(top + height - bottom) / 2})">${escape(yLabel)}</text>`;
  for (const [i, line] of lines.entries()) {
    const colour = COLOURS[i % COLOURS.length];
    const at = line.points.map(([x, y]) => `${px(x).toFixed(1)},${py(y).toFixed(1)}`);
    body += `<polyline points="${at.join(' ')}" fill="none" stroke="${colour}" stroke-width="2"/>`;
    for (const p of at) body += `<circle cx="${p.split(',')[0]}" cy="${p.split(',')[1]}" r="3.5" fill="${colour}"/>`;
  }
  return svg(width, height, title, body);
}
