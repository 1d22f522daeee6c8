# Prefers clang-19 natively, so that native, sanitizer and wasm builds share one compiler; CC overrides it.
if(NOT DEFINED ENV{CC} AND NOT CMAKE_C_COMPILER)
  find_program(tansy_clang NAMES clang-19)
  if(tansy_clang)
    set(CMAKE_C_COMPILER ${tansy_clang})
  endif()
endif()
