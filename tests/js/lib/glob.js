import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const root = new URL('../../../', import.meta.url);

/** Every .js file below a folder of the repository. @param {string} folder @returns {string[]} */
export function globSync(folder) {
  const dir = fileURLToPath(new URL(`${folder}/`, root));
  return readdirSync(dir, { recursive: true })
    .map(String)
    .filter((name) => name.endsWith('.js'))
    .map((name) => dir + name);
}
