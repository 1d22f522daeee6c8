// The model that this page, `npm start` and the tests open, beside this file; `npm run demo:model` makes it. Nothing else names it.
export const EMBEDDED_MODEL = 'models/tales-6m.tansy';
