/** joined.js: the text of a generation, Node's or a page's: its pieces as they come, and the whole, whoever took the pieces. */
export class JoinedText {
  #whole = '';
  /** @type {{ error: unknown } | undefined} */
  #failure;

  /** @param {AsyncIterable<string>} pieces */
  constructor(pieces) {
    this.pieces = this.#collect(pieces);
  }

  /** @param {AsyncIterable<string>} pieces @returns {AsyncGenerator<string, void, void>} */
  async *#collect(pieces) {
    try {
      for await (const piece of pieces) {
        this.#whole += piece;
        yield piece;
      }
    } catch (error) {
      this.#failure = { error };
      throw error;
    }
  }

  /** Waits for the end. @returns {Promise<string>} */
  async whole() {
    for await (const _ of this.pieces);
    if (this.#failure) throw this.#failure.error;
    return this.#whole;
  }
}
