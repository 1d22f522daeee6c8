// What the model writes, and where: a story that goes on from its beginning, or a conversation in turns.
import { make } from './dom.js';

/** @typedef {import('../web/index.js').Model} Model */
/** @typedef {{ prompt: string | number[], options?: import('../web/index.js').GenerateOptions }} Task */

/** Room for new tokens: what came first is left out of a prompt that leaves less. */
const ROOM = 64;

/**
 * @typedef {object} Mode
 * @property {string} label of the text field
 * @property {string} action of the button
 * @property {(model: Model, text: string) => Promise<Task>} begin
 * @property {(piece: string) => void} add
 * @property {(ended: boolean) => void} end ended: by the model itself
 */

/** @implements {Mode} */
export class Story {
  label = 'Begin a story';
  action = 'Write';
  #article;
  #given;
  #written;

  /** @param {{ article: HTMLElement, given: HTMLElement, written: HTMLElement }} elements */
  constructor({ article, given, written }) {
    this.#article = article;
    this.#given = given;
    this.#written = written;
  }

  get text() {
    return `${this.#given.textContent}${this.#written.textContent}`;
  }

  /** @param {Model} _ @param {string} text @returns {Promise<Task>} */
  async begin(_, text) {
    this.#given.textContent = text;
    this.#written.textContent = '';
    this.#article.setAttribute('aria-busy', 'true');
    return { prompt: text };
  }

  /** Where it ended, as far back as the context reaches. @param {Model} model @returns {Promise<Task>} */
  async goOn(model) {
    this.#article.setAttribute('aria-busy', 'true');
    const ids = await model.tokenize(this.text, { addBos: true });
    return { prompt: ids.length + ROOM > model.contextSize ? ids.slice(-Math.floor(model.contextSize / 2)) : ids };
  }

  /** @param {string} piece */
  add(piece) {
    this.#written.append(piece);
  }

  end() {
    this.#written.normalize();
    this.#article.setAttribute('aria-busy', 'false');
  }
}

/** @implements {Mode} */
export class Chat {
  label = 'Say something';
  action = 'Send';
  #log;
  /** @type {{ role: 'user' | 'assistant', content: string }[]} */
  #turns = [];
  /** @type {HTMLElement | undefined} */
  #reply;
  #isBook = false;

  /** @param {HTMLElement} log */
  constructor(log) {
    this.#log = log;
  }

  clear() {
    this.#turns = [];
    this.#log.replaceChildren();
  }

  /** @param {Model} model @param {string} text @returns {Promise<Task>} */
  async begin(model, text) {
    this.#turns.push({ role: 'user', content: text });
    this.#reply = make('p', { className: 'turn theirs' });
    this.#log.append(make('p', { className: 'turn mine' }, text), this.#reply);
    this.#reply.setAttribute('aria-busy', 'true');
    this.#reply.scrollIntoView({ block: 'nearest' });
    this.#isBook = model.chatTemplate === undefined;
    for (;;) {
      const ids = this.#isBook ? await model.tokenize(asBook(this.#turns), { addBos: true }) : (await model.applyChatTemplate(this.#turns)).ids;
      if (ids.length + ROOM <= model.contextSize || this.#turns.length === 1)
        return { prompt: ids, options: this.#isBook ? { stop: ['"', '”', '\n'] } : {} };
      this.#turns.splice(0, 2);
    }
  }

  /** @param {string} piece */
  add(piece) {
    this.#reply?.append(piece);
    this.#reply?.scrollIntoView({ block: 'nearest' });
  }

  end() {
    const reply = /** @type {HTMLElement} */ (this.#reply);
    reply.setAttribute('aria-busy', 'false');
    // Speech in a book ends with a comma where the sentence goes on: “Come in,” he said.
    if (this.#isBook) reply.textContent = (reply.textContent ?? '').trim().replace(/,$/, '.');
    const content = reply.textContent ?? '';
    if (content === '') reply.textContent = '…';
    this.#turns.push({ role: 'assistant', content });
  }
}

/** Turns as speech in a book, for models that know nothing but books; ends where the reply begins. @param {readonly { role: string, content: string }[]} turns */
function asBook(turns) {
  return `${turns.map(({ role, content }) => `"${content.replaceAll('"', "'")}" ${role === 'user' ? 'said the child' : 'said the old man'}.\n\n`).join('')}"`;
}
