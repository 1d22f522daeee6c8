// Numbers as the page shows them.

/** Memory: K = 1024. @param {number} nbytes */
export function bytes(nbytes) {
  if (nbytes < 1024) return `${nbytes} B`;
  const power = Math.min(3, Math.floor(Math.log2(nbytes) / 10));
  const value = nbytes / 2 ** (10 * power);
  return `${value.toFixed(value < 10 ? 2 : value < 100 ? 1 : 0)} ${['B', 'KB', 'MB', 'GB'][power]}`;
}

/** @param {number} s */
export function seconds(s) {
  if (!Number.isFinite(s)) return '';
  return s < 60 ? `${Math.ceil(s)} s left` : `${Math.ceil(s / 60)} min left`;
}

/** @param {number} value */
export function rate(value) {
  if (!Number.isFinite(value) || value <= 0) return '–';
  return value < 10 ? value.toFixed(1) : Math.round(value).toString();
}
