# Toolchain: any emcc >= 3.1.6. Used as a plain C compiler and linker: one object format, no generated JavaScript.
set(CMAKE_SYSTEM_NAME Generic)
set(CMAKE_SYSTEM_PROCESSOR wasm32)
set(CMAKE_TRY_COMPILE_TARGET_TYPE STATIC_LIBRARY)
set(CMAKE_C_COMPILER_WORKS ON)
# no -g: emcc would keep it, and with it the paths of this machine, in the module
set(CMAKE_C_FLAGS_RELWITHDEBINFO "-DNDEBUG" CACHE STRING "" FORCE)
find_program(CMAKE_C_COMPILER NAMES emcc REQUIRED)
find_program(CMAKE_AR NAMES emar REQUIRED)
find_program(CMAKE_RANLIB NAMES emranlib REQUIRED)
set(TANSY_EMSCRIPTEN ON)
