/** lock.js: one holder at a time, in the order of asking. */
export class Lock {
  /** @type {Promise<void>} */
  #tail = Promise.resolve();

  /** @returns {Promise<() => void>} releases; calling it twice is fine */
  async take() {
    let release = () => {};
    const before = this.#tail;
    this.#tail = new Promise((resolve) => (release = () => resolve()));
    await before;
    return release;
  }
}
