// npm run test:large: tests/large/*.test.mjs, one after the other: models of the sizes that people run. Not part of npm test: they take
// many minutes, 10 GB of disk and 8 GB of memory.
//
//   npm run test:large -- FILE...   these only
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { buildPreset, ensureDist } from './lib/dist.mjs';
import { ensureNodeModules } from './lib/node_modules.mjs';
import { ensureSystemPackages } from './lib/system_packages.mjs';
import { root, run, runMain } from './lib/tools.mjs';

await runMain(async () => {
  ensureSystemPackages();
  ensureNodeModules();
  await ensureDist({ toolchain: 'system' });
  buildPreset('native');
  const all = readdirSync(join(root, 'tests/large')).filter((name) => name.endsWith('.test.mjs')).sort();
  const files = process.argv.length > 2 ? process.argv.slice(2) : all.map((name) => join('tests/large', name));
  return run(process.execPath, ['--test', '--test-reporter=spec', '--test-concurrency=1', ...files], { stdout: 'inherit' }) === 0 ? 0 : 1;
});
