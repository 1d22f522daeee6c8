// npm run demo [-- FILE]: the demo page on a local port, with the embedded model or one of your own.
import { join } from 'node:path';
import { EMBEDDED_MODEL } from '../demo/embedded.js';
import { ensureDist } from './lib/dist.mjs';
import { ensureNodeModules } from './lib/node_modules.mjs';
import { root, run, runMain } from './lib/tools.mjs';

await runMain(async () => {
  ensureNodeModules();
  await ensureDist();
  const args = process.argv.length > 2 ? process.argv.slice(2) : [join('demo', EMBEDDED_MODEL)];
  return run(process.execPath, [join(root, 'js', 'cli', 'main.js'), 'serve', ...args], { stdout: 'inherit' });
});
