/**
 * stop.js: stop strings in streamed text, including ones that begin in one piece and end in a later one.
 *
 * Text that may still become a stop string is held back, so that nothing of a stop string is ever shown.
 */

/** Feeds on pieces of text; gives back what may be shown. */
export class StopMatcher {
  /** @param {readonly string[]} stops non-empty strings */
  constructor(stops) {
    this.stops = stops;
    this.held = '';
    /** the stop string that was met
     * @type {string | undefined} */
    this.matched = undefined;
  }

  /**
   * @param {string} piece
   * @returns {string} text that is certainly not part of a stop string
   */
  push(piece) {
    if (this.matched !== undefined) return '';
    if (this.stops.length === 0) return piece;
    const text = this.held + piece;
    let at = -1;
    for (const stop of this.stops) {
      const index = text.indexOf(stop);
      /* the earliest wins; of two that start together, the first listed */
      if (index >= 0 && (at < 0 || index < at)) {
        at = index;
        this.matched = stop;
      }
    }
    if (at >= 0) {
      this.held = '';
      return text.slice(0, at);
    }
    const keep = this.#openNbytes(text);
    this.held = text.slice(text.length - keep);
    return text.slice(0, text.length - keep);
  }

  /** @returns {string} what was held back, when the text ends without a stop string */
  flush() {
    const text = this.held;
    this.held = '';
    return text;
  }

  /**
   * Length of the longest end of `text` that begins a stop string.
   * @param {string} text
   */
  #openNbytes(text) {
    let longest = 0;
    for (const stop of this.stops)
      for (let n = Math.min(stop.length - 1, text.length); n > longest; n--)
        if (text.endsWith(stop.slice(0, n))) {
          longest = n;
          break;
        }
    return longest;
  }
}
