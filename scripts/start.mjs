// npm start: installs what is missing, builds the wasm modules and lets the embedded model tell a story.
import { join } from 'node:path';
import { EMBEDDED_MODEL } from '../demo/embedded.js';
import { ensureDist } from './lib/dist.mjs';
import { ensureNodeModules } from './lib/node_modules.mjs';
import { root, run, runMain } from './lib/tools.mjs';

await runMain(async () => {
  ensureNodeModules();
  await ensureDist();
  const model = join('demo', EMBEDDED_MODEL);
  const args = process.argv.length > 2 ? process.argv.slice(2) : ['-p', 'Once upon a time', '-n', '160', '--seed', '7'];
  return run(process.execPath, [join(root, 'js', 'cli', 'main.js'), 'run', '-m', model, ...args], { stdout: 'inherit' });
});
