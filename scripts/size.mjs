// npm run size: what a page downloads besides the model; fails when it is more than the project promises.
import { ensureDist } from './lib/dist.mjs';
import { ensureNodeModules } from './lib/node_modules.mjs';
import { runMain } from './lib/tools.mjs';

await runMain(async () => {
  ensureNodeModules();
  await ensureDist();
  const { LIMITS, kilobytes, measureSizes } = await import('./lib/sizes.mjs');
  const { parts, core, whole } = await measureSizes();
  const line = (/** @type {string} */ name, /** @type {string} */ raw, /** @type {string} */ gzip) => console.log(`${name.padEnd(34)}${raw.padStart(10)}${gzip.padStart(10)}`);
  line('', 'raw', 'gzip');
  for (const { name, nbytes, gzipNbytes } of Object.values(parts)) line(name, kilobytes(nbytes), kilobytes(gzipNbytes));
  console.log('\nA page loads one module. With the largest of them:');
  let failed = false;
  for (const [name, nbytes, limit] of /** @type {const} */ ([
    ['engine: module and JavaScript', core, LIMITS.core],
    ['with tokenizer and chat template', whole, LIMITS.whole],
  ])) {
    line(name, '', kilobytes(nbytes));
    if (nbytes > limit) failed = true;
    if (nbytes > limit) console.log(`  more than ${kilobytes(limit)}`);
  }
  return failed ? 1 : 0;
});
