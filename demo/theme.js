// Light, dark, or as the system has it; the choice is kept in this browser.
import { element } from './dom.js';

const KEY = 'tansy-theme';
const THEMES = /** @type {const} */ ([
  ['system', 'as the system', '◐'],
  ['light', 'light', '☀'],
  ['dark', 'dark', '☾'],
]);

export function followTheme() {
  const button = element('theme', HTMLButtonElement);
  let at = Math.max(0, THEMES.findIndex(([theme]) => theme === localStorage.getItem(KEY)));
  const show = () => {
    const [theme, words, sign] = THEMES[at];
    if (theme === 'system') delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    button.textContent = sign;
    button.title = `Colours: ${words}`;
    button.setAttribute('aria-label', button.title);
  };
  button.addEventListener('click', () => {
    at = (at + 1) % THEMES.length;
    localStorage.setItem(KEY, THEMES[at][0]);
    show();
  });
  show();
}
