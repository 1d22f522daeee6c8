// fixed_formats.js: weights as the fixed-rate formats of GGUF files would give them back, to compare with. Written from the published
// layouts of the blocks; a format's bytes follow from its block.
//
// Blocks run over a tensor's weights row after row; the last one may be short (its bytes count whole).

/** @param {number} x the nearest half, as a number; no denormals are needed here beyond their value */
export function toHalf(x) {
  if (x === 0 || !Number.isFinite(x)) return x;
  const magnitude = Math.abs(x);
  const exponent = Math.max(-14, Math.floor(Math.log2(magnitude)));
  const unit = 2 ** (exponent - 10);
  const steps = magnitude / unit;
  let nearest = Math.round(steps);
  if (nearest - steps === 0.5 && nearest % 2 === 1) nearest--; /* ties to even */
  return Math.sign(x) * nearest * unit;
}

/** @param {number} x @param {number} low @param {number} high */
const clamp = (x, low, high) => Math.min(high, Math.max(low, x));

/**
 * One scale, integers around 0; the extreme value decides the scale and its sign (Q4_0, Q5_0).
 * @param {number} bits
 */
const signedBlock = (bits) => (/** @type {Float32Array} */ w) => {
  let extreme = 0;
  for (const x of w) if (Math.abs(x) > Math.abs(extreme)) extreme = x;
  const half = 2 ** (bits - 1);
  const exact = extreme / -half;
  const d = toHalf(exact);
  for (let i = 0; i < w.length; i++) w[i] = exact === 0 ? 0 : d * clamp(Math.round(w[i] / exact), -half, half - 1);
};

/** Q8_0: largest magnitude at 127. @param {Float32Array} w */
function absmaxBlock(w) {
  let largest = 0;
  for (const x of w) largest = Math.max(largest, Math.abs(x));
  const exact = largest / 127;
  const d = toHalf(exact);
  for (let i = 0; i < w.length; i++) w[i] = exact === 0 ? 0 : d * Math.round(w[i] / exact);
}

/**
 * w ~ scale * q - min with q of 0..15 and min >= 0: of several scales around the range, each refined by least squares, the best.
 * @param {Float32Array} w
 * @returns {{scale: number, min: number}}
 */
function fitScaleAndMin(w) {
  let low = 0;
  let high = -Infinity;
  for (const x of w) {
    low = Math.min(low, x);
    high = Math.max(high, x);
  }
  let best = { scale: 0, min: -low, error: w.reduce((sum, x) => sum + (x - low) ** 2, 0) };
  if (!(high > low)) return best;
  for (let trial = -9; trial <= 9; trial++) {
    let scale = (high - low) / (15 + trial / 5);
    let min = -low;
    for (let round = 0; round < 3; round++) {
      /* integers for this scale and minimum, then both by least squares for these integers */
      let [n, q1, q2, x1, xq, error] = [0, 0, 0, 0, 0, 0];
      for (const x of w) {
        const q = clamp(Math.round((x + min) / scale), 0, 15);
        error += (scale * q - min - x) ** 2;
        n++;
        q1 += q;
        q2 += q * q;
        x1 += x;
        xq += x * q;
      }
      if (error < best.error) best = { scale, min, error };
      const determinant = n * q2 - q1 * q1;
      if (!(determinant > 0)) break;
      scale = (n * xq - q1 * x1) / determinant;
      min = -(x1 - scale * q1) / n;
      if (min < 0) {
        min = 0;
        scale = xq / q2;
      }
      if (!(scale > 0)) break;
    }
  }
  return best;
}

/** Q4_K: eight parts of 32 with scales and minima of 6 bits under two halves. @param {Float32Array} w */
function superBlock(w) {
  const parts = [];
  for (let at = 0; at < w.length; at += 32) parts.push(w.subarray(at, at + 32));
  const fits = parts.map(fitScaleAndMin);
  const d = toHalf(Math.max(...fits.map((f) => f.scale)) / 63);
  const dmin = toHalf(Math.max(...fits.map((f) => f.min)) / 63);
  for (const [k, part] of parts.entries()) {
    const scale = d === 0 ? 0 : d * clamp(Math.round(fits[k].scale / d), 0, 63);
    const min = dmin === 0 ? 0 : dmin * clamp(Math.round(fits[k].min / dmin), 0, 63);
    for (let i = 0; i < part.length; i++) part[i] = (scale === 0 ? 0 : scale * clamp(Math.round((part[i] + min) / scale), 0, 15)) - min;
  }
}

/** @type {Readonly<Record<string, {block: number, nbytes: number, round: (w: Float32Array) => void}>>} */
export const FIXED_FORMATS = Object.freeze({
  Q8_0: { block: 32, nbytes: 34, round: absmaxBlock },
  Q5_0: { block: 32, nbytes: 22, round: signedBlock(5) },
  Q4_K: { block: 256, nbytes: 144, round: superBlock },
  Q4_0: { block: 32, nbytes: 18, round: signedBlock(4) },
});

/**
 * Rounds a tensor in place.
 * @param {string} name of the format
 * @param {Float32Array} weights
 * @returns {number} its bytes
 */
export function roundToFormat(name, weights) {
  const { block, nbytes, round } = FIXED_FORMATS[name];
  for (let at = 0; at < weights.length; at += block) round(weights.subarray(at, at + block));
  return Math.ceil(weights.length / block) * nbytes;
}
