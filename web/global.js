/**
 * global.js: what a plain <script src="tansy.js"> defines as `tansy`. The build replaces import.meta.url, which only
 * modules have, by the address of that script (scripts/build-web.mjs).
 */

export { TansyError, cachedModels, canRun, forgetModels, load, memoryCurve, pickVariant, supports } from './index.js';
