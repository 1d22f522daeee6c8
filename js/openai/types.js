/**
 * types.js: the shapes of OpenAI's chat and text completions, as far as tansy fills them. They are written so that values can be
 * assigned to the types of the `openai` package; a test compiles that.
 */

/**
 * @typedef {import('../schema/response_format.js').ResponseFormat} ResponseFormat
 *
 * @typedef {object} ContentPart
 * @property {'text'} type
 * @property {string} text
 *
 * @typedef {object} Message
 * @property {'developer' | 'system' | 'user' | 'assistant' | 'tool' | 'function'} role a chat template may know fewer
 * @property {string | readonly ContentPart[] | null} [content]
 * @property {string} [name]
 *
 * @typedef {object} CommonBody
 * @property {string} [model] any name; it comes back in the answer
 * @property {number | null} [max_tokens]
 * @property {number | null} [temperature] 0 to 2; 0.8
 * @property {number | null} [top_p] 0.95
 * @property {number | null} [top_k] 40
 * @property {number | null} [min_p] 0.05
 * @property {number | null} [repeat_penalty] 1
 * @property {number | null} [repeat_last_n] tokens the three penalties look back; 64
 * @property {number | null} [presence_penalty] -2 to 2; 0
 * @property {number | null} [frequency_penalty] -2 to 2; 0
 * @property {number | null} [seed]
 * @property {string | readonly string[] | null} [stop]
 * @property {Readonly<Record<string, number>> | null} [logit_bias] by token id
 * @property {number | null} [n] 1
 * @property {ResponseFormat} [response_format]
 * @property {{include_usage?: boolean, include_obfuscation?: boolean} | null} [stream_options]
 * @property {string} [user] of no effect here, as the next ones
 * @property {Record<string, string> | null} [metadata]
 * @property {boolean | null} [store]
 * @property {string | null} [service_tier]
 * @property {string} [safety_identifier]
 * @property {string} [prompt_cache_key]
 * @property {string | null} [prompt_cache_retention]
 *
 * @typedef {CommonBody & {
 *   messages: readonly Message[],
 *   max_completion_tokens?: number | null,
 *   logprobs?: boolean | null,
 *   top_logprobs?: number | null,
 *   chat_template?: string,
 *   chat_template_kwargs?: Record<string, unknown>,
 * }} ChatBody chat_template: in place of the file's own
 *
 * @typedef {CommonBody & {
 *   prompt: string | readonly string[] | readonly number[] | readonly (readonly number[])[],
 *   logprobs?: number | null,
 *   echo?: boolean | null,
 *   best_of?: number | null,
 *   suffix?: string | null,
 * }} CompletionBody max_tokens is 16 when left out, as OpenAI has it
 *
 * @typedef {object} RequestOptions
 * @property {AbortSignal} [signal]
 *
 * @typedef {object} Usage
 * @property {number} prompt_tokens
 * @property {number} completion_tokens
 * @property {number} total_tokens
 *
 * @typedef {object} TopLogprob
 * @property {string} token
 * @property {number} logprob
 * @property {number[] | null} bytes
 *
 * @typedef {TopLogprob & {top_logprobs: TopLogprob[]}} TokenLogprob
 * @typedef {{content: TokenLogprob[] | null, refusal: null}} ChatLogprobs
 *
 * @typedef {object} ChatCompletion
 * @property {string} id
 * @property {'chat.completion'} object
 * @property {number} created seconds
 * @property {string} model
 * @property {{index: number, message: {role: 'assistant', content: string | null, refusal: null}, logprobs: ChatLogprobs | null,
 *   finish_reason: 'stop' | 'length'}[]} choices
 * @property {Usage} usage
 *
 * @typedef {object} ChatCompletionChunk
 * @property {string} id
 * @property {'chat.completion.chunk'} object
 * @property {number} created
 * @property {string} model
 * @property {{index: number, delta: {role?: 'assistant', content?: string}, logprobs: ChatLogprobs | null,
 *   finish_reason: 'stop' | 'length' | null}[]} choices
 * @property {Usage | null} [usage]
 *
 * @typedef {object} CompletionLogprobs
 * @property {string[]} tokens
 * @property {number[]} token_logprobs
 * @property {Record<string, number>[]} top_logprobs
 * @property {number[]} text_offset
 *
 * @typedef {{index: number, text: string, logprobs: CompletionLogprobs | null, finish_reason: 'stop' | 'length'}} CompletionChoice
 *
 * @typedef {object} Completion
 * @property {string} id
 * @property {'text_completion'} object
 * @property {number} created
 * @property {string} model
 * @property {CompletionChoice[]} choices
 * @property {Usage} [usage]
 */
export {};
