/**
 * ranges.js: a set of bytes of a file, as sorted half-open ranges that do not touch.
 */

/** @typedef {[begin: number, end: number]} Range */

export class Ranges {
  /** @param {Range[]} [list] as from toJSON() */
  constructor(list = []) {
    /** @type {Range[]} */
    this.list = [];
    for (const [begin, end] of list) this.add(begin, end);
  }

  /**
   * @param {number} begin
   * @param {number} end
   */
  add(begin, end) {
    if (end <= begin) return;
    const { list } = this;
    let first = 0;
    while (first < list.length && list[first][1] < begin) first++;
    let last = first;
    while (last < list.length && list[last][0] <= end) last++;
    if (last > first) {
      begin = Math.min(begin, list[first][0]);
      end = Math.max(end, list[last - 1][1]);
    }
    list.splice(first, last - first, [begin, end]);
  }

  /**
   * Whether the byte at `offset` is in the set, and up to where that stays so.
   * @param {number} offset
   * @returns {{ has: boolean, until: number }}
   */
  at(offset) {
    for (const [begin, end] of this.list) {
      if (offset < begin) return { has: false, until: begin };
      if (offset < end) return { has: true, until: end };
    }
    return { has: false, until: Infinity };
  }

  /** @param {number} nbytes of the file */
  isWhole(nbytes) {
    const { has, until } = this.at(0);
    return has && until >= nbytes;
  }

  toJSON() {
    return this.list;
  }
}
