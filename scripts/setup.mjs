// npm run setup: the system packages that the tests and the native build need. `npm start` needs none of them.
import { ensureSystemPackages } from './lib/system_packages.mjs';
import { runMain, say } from './lib/tools.mjs';

await runMain(async () => {
  ensureSystemPackages();
  say('everything that the tests need is installed');
});
