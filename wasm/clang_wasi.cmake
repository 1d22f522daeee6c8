# Toolchain: clang >= 16 with wasi-libc, as in Debian (clang-19 lld-19 libclang-rt-19-dev-wasm32 wasi-libc), or a wasi-sdk
# named by WASI_SDK_PATH.
set(CMAKE_SYSTEM_NAME Generic)
set(CMAKE_SYSTEM_PROCESSOR wasm32)
set(CMAKE_C_COMPILER_TARGET wasm32-wasi)
set(CMAKE_TRY_COMPILE_TARGET_TYPE STATIC_LIBRARY)
# No -O here: it would reach the linking step too, where clang then runs a wasm-opt found on PATH, old as it may be.
# Compiling takes its level from TANSY_WASM_CFLAGS.
set(CMAKE_C_FLAGS_RELWITHDEBINFO "-g -DNDEBUG" CACHE STRING "" FORCE)

if(DEFINED ENV{WASI_SDK_PATH})
  set(CMAKE_C_COMPILER $ENV{WASI_SDK_PATH}/bin/clang)
  set(CMAKE_AR $ENV{WASI_SDK_PATH}/bin/llvm-ar)
  set(CMAKE_RANLIB $ENV{WASI_SDK_PATH}/bin/llvm-ranlib)
  set(CMAKE_SYSROOT $ENV{WASI_SDK_PATH}/share/wasi-sysroot)
else()
  find_program(CMAKE_C_COMPILER NAMES clang-19 clang-20 clang-18 clang-17 clang REQUIRED)
  find_program(CMAKE_AR NAMES llvm-ar-19 llvm-ar-20 llvm-ar-18 llvm-ar-17 llvm-ar REQUIRED)
  find_program(CMAKE_RANLIB NAMES llvm-ranlib-19 llvm-ranlib-20 llvm-ranlib-18 llvm-ranlib-17 llvm-ranlib REQUIRED)
  set(CMAKE_SYSROOT /usr)
endif()

find_program(node_program NAMES node)
if(node_program)
  set(CMAKE_CROSSCOMPILING_EMULATOR ${node_program};--no-warnings;${CMAKE_CURRENT_LIST_DIR}/../scripts/run_wasi.mjs)
endif()
