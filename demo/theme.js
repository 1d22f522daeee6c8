// Light, dark, or as the system has it; the choice is kept in this browser, and first.js follows it before anything is painted.
import { element } from './dom.js';

const KEY = 'tansy-theme';
const THEMES = /** @type {const} */ ([
  ['system', 'as the system', '◐'],
  ['light', 'light', '☀'],
  ['dark', 'dark', '☾'],
]);

export function followTheme() {
  const button = element('theme', HTMLButtonElement);
  const system = matchMedia('(prefers-color-scheme: dark)');
  let at = Math.max(0, THEMES.findIndex(([theme]) => theme === localStorage.getItem(KEY)));
  const show = () => {
    const [theme, words, sign] = THEMES[at];
    document.documentElement.dataset.theme = theme === 'system' ? (system.matches ? 'dark' : 'light') : theme;
    button.textContent = sign;
    button.title = `Colours: ${words}`;
    button.setAttribute('aria-label', button.title);
  };
  button.addEventListener('click', () => {
    at = (at + 1) % THEMES.length;
    if (at === 0) localStorage.removeItem(KEY);
    else localStorage.setItem(KEY, THEMES[at][0]);
    show();
  });
  system.addEventListener('change', show);
  show();
}
