// npm run sri: the integrity of every file that a page may load from a CDN, for <script integrity="…"> and for comparing.
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { distIsComplete } from './lib/dist.mjs';
import { root, runMain, SetupError } from './lib/tools.mjs';

await runMain(async () => {
  if (!distIsComplete()) throw new SetupError('dist/ is not built: run `npm run build` first');
  const dist = join(root, 'dist');
  for (const name of readdirSync(dist).filter((file) => /\.(js|wasm)$/.test(file)).sort())
    console.log(`sha384-${createHash('sha384').update(readFileSync(join(dist, name))).digest('base64')}  ${name}`);
});
