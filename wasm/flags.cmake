# Compiler and linker flags: plain lists, read by CMake and by scripts/build_wasm.mjs.

# every target
set(TANSY_CFLAGS
  -ffp-contract=off -fno-math-errno -fno-strict-aliasing -fvisibility=hidden -ffunction-sections -fdata-sections
  -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes)

# every wasm target; all of it is older than SIMD128 in every browser
set(TANSY_WASM_CFLAGS -O3 -msimd128 -mbulk-memory -mnontrapping-fptoint -msign-ext -mmutable-globals)
set(TANSY_RELAXED_CFLAGS -mrelaxed-simd)
# of portable kernels (*_ref.c): in modules they are there to be compared with only
set(TANSY_REF_CFLAGS -Os)
set(TANSY_THREADS_CFLAGS -matomics)

# Browser modules: imported memory, no entry point. The stack comes first, so that overflowing it traps instead of
# overwriting data.
set(TANSY_MODULE_LDFLAGS
  -nostartfiles -Wl,--no-entry -Wl,--import-memory -Wl,--stack-first -Wl,-z,stack-size=65536 -Wl,--gc-sections -Wl,--strip-debug)
# Threads: every worker instantiates the same module on the same memory with a stack of its own. --max-memory is the
# declared limit; the memory that is passed in may be smaller.
set(TANSY_THREADS_LDFLAGS
  -Wl,--shared-memory -Wl,--max-memory=4294967296 -Wl,--no-check-features -Wl,--export=__stack_pointer)
# The compressor as a WASI command
set(TANSY_WASI_LDFLAGS -Wl,--stack-first -Wl,-z,stack-size=1048576 -Wl,--max-memory=4294967296 -Wl,--gc-sections -Wl,--strip-debug)
# emcc: the same module through Emscripten's linker (growth only declares that the memory passed in may be larger)
set(TANSY_EMSCRIPTEN_LDFLAGS
  -O3 --no-entry -sSTANDALONE_WASM -sIMPORTED_MEMORY=1 -sALLOW_MEMORY_GROWTH=1 -sMAXIMUM_MEMORY=4294967296
  -sTOTAL_STACK=65536 -sINITIAL_MEMORY=131072 -Wl,--stack-first)
