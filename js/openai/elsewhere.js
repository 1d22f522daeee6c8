/** elsewhere.js: in a page OpenAI's shapes are made beside the page's model (web/index.js); the worker's model goes without. */

/** @returns {{chat: any, completions: any}} */
export const openAi = () => ({ chat: undefined, completions: undefined });
