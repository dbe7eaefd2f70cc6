// What Cloudflare calls: hands each event to the function that wasm-bindgen made of Rust.
//
// A panic of a function ends in a trap, after which its memory is in no known state. The module is
// then made anew before the next event: one request fails, and the isolate goes on.

import * as wasm from "./index.js";

const state = wasm.__worker_init_state();

async function called(handler, event, env, context) {
  if (state.criticalError) {
    console.log("the function starts again after a panic");
    wasm.__wbg_reset_state();
    state.criticalError = false;
  }
  try {
    return await handler(event, env, context);
  } catch (error) {
    if (error instanceof WebAssembly.RuntimeError) {
      state.criticalError = true;
    }
    throw error;
  }
}

// A function takes requests, a schedule, or both: it exports what it takes.
const handlers = {};
for (const kind of ["fetch", "scheduled"]) {
  const handler = wasm[kind];
  if (handler) {
    handlers[kind] = (event, env, context) => called(handler, event, env, context);
  }
}

export default handlers;
