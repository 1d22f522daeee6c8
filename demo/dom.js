// Elements of the page, and the small lists of facts in its cards.

/**
 * @template {Element} T
 * @param {string} id
 * @param {new () => T} type
 * @returns {T}
 */
export function element(id, type) {
  const found = document.getElementById(id);
  if (!(found instanceof type)) throw new Error(`#${id} is missing`);
  return found;
}

/**
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {Partial<HTMLElementTagNameMap[K]>} [properties]
 * @param {...(Node | string)} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function make(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

/**
 * @param {string} id of a <dl>
 * @param {[string, string][]} rows those without a value are left out
 */
export function facts(id, rows) {
  const cells = rows.filter(([, value]) => value !== '').flatMap(([name, value]) => [make('dt', {}, name), make('dd', {}, value)]);
  element(id, HTMLElement).replaceChildren(...cells);
}
