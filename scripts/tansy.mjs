// npm run -s tansy -- ARGS: the command line from the working tree, installing and building what is missing first.
import { distIsComplete, ensureDist } from './lib/dist.mjs';
import { ensureNodeModules } from './lib/node_modules.mjs';
import { runMain } from './lib/tools.mjs';

let ready = false;
await runMain(async () => {
  ensureNodeModules();
  if (!distIsComplete()) await ensureDist();
  ready = true;
});
if (ready) await import('../js/cli/main.js');
