# The elementwise kernels and the matrix product are compiled for several instruction sets; worker/model/vector.c picks one when the program runs, so that
# one binary serves every CPU. Included from the root, after the target `model`.
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64|amd64")
  set_source_files_properties(${CMAKE_SOURCE_DIR}/worker/model/vector_avx2.c PROPERTIES
    COMPILE_OPTIONS "-mavx2;-mfma")
  set_source_files_properties(${CMAKE_SOURCE_DIR}/worker/model/vector_avx512.c ${CMAKE_SOURCE_DIR}/worker/model/sgemm_avx512.c PROPERTIES
    COMPILE_OPTIONS "-mavx512f;-mavx512bw;-mavx512dq;-mavx512vl;-mavx2;-mfma;-mprefer-vector-width=512")
endif()
