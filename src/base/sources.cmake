set(TANSY_BASE_SOURCES
  src/base/math.c
  src/base/parallel.c
)
