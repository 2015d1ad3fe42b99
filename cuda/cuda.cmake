# The CUDA backend, libspectralkv_cuda.so: a library of its own that the program loads when the GPU is asked for.
# CMakeLists.txt includes this; SPECTRALKV_WITH_CUDA says afterwards whether it is built.
set(SPECTRALKV_CUDA_ARCHITECTURES "80-real;89-real;90" CACHE STRING
    "Architectures of the GPU code, as CMake writes them: 80-real;89-real;90 (the last one with PTX for newer GPUs)")
option(SPECTRALKV_CUDA_REPORT "Let ptxas print registers and spills (tests/checks/cuda_resources.py reads them)" OFF)
set(SPECTRALKV_WITH_CUDA 0)

# AUTO goes on without, ON stops.
macro(cuda_impossible reason)
  if(SPECTRALKV_CUDA STREQUAL "ON")
    message(FATAL_ERROR "SPECTRALKV_CUDA=ON, but ${reason}")
  endif()
  message(STATUS "spectralkv: built without CUDA: ${reason}")
endmacro()

include(${CMAKE_CURRENT_LIST_DIR}/fingerprint.cmake)
plugin_fingerprint(abi_files abi_hash)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${abi_files})
set(SPECTRALKV_PLUGIN_ABI "${PROJECT_VERSION}-${abi_hash}")

find_program(SPECTRALKV_NVCC nvcc HINTS ENV CUDA_PATH ENV CUDA_HOME /usr/local/cuda PATH_SUFFIXES bin
             DOC "CUDA compiler, 12 or newer")
if(SPECTRALKV_CUDA STREQUAL "OFF")
  # said by the user
elseif(CMAKE_VERSION VERSION_LESS 3.25)
  cuda_impossible("CMake 3.25 or newer is needed for it, this is ${CMAKE_VERSION}")
elseif(NOT SPECTRALKV_NVCC)
  cuda_impossible("nvcc was not found (PATH, CUDA_PATH, /usr/local/cuda): set -DSPECTRALKV_NVCC=FILE")
else()
  execute_process(COMMAND ${SPECTRALKV_NVCC} --version OUTPUT_VARIABLE nvcc_version ERROR_QUIET)
  string(REGEX MATCH "release ([0-9]+)" found "${nvcc_version}")
  if(NOT found OR CMAKE_MATCH_1 LESS 12)
    cuda_impossible("${SPECTRALKV_NVCC} is no nvcc 12 or newer")
  else()
    set(CMAKE_CUDA_ARCHITECTURES ${SPECTRALKV_CUDA_ARCHITECTURES})
    set(ENV{CUDACXX} ${SPECTRALKV_NVCC})
    include(CheckLanguage)
    check_language(CUDA) # an nvcc that does not take this C++ compiler must not stop AUTO
    if(CMAKE_CUDA_COMPILER)
      enable_language(CUDA)
      if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION) # CMake 3.25 does not know that nvcc has it
        set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
        set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION -std=c++20)
      endif()
      find_package(CUDAToolkit)
      if(TARGET CUDA::cublas AND TARGET CUDA::cudart_static)
        set(SPECTRALKV_WITH_CUDA 1)
      else()
        cuda_impossible("the toolkit of ${SPECTRALKV_NVCC} has no cuBLAS or static runtime")
      endif()
    else()
      cuda_impossible("${SPECTRALKV_NVCC} does not work with ${CMAKE_CXX_COMPILER}")
    endif()
  endif()
endif()

set_source_files_properties(
  cpp/backend/cuda_library.cc PROPERTIES COMPILE_DEFINITIONS
  "SPECTRALKV_WITH_CUDA=${SPECTRALKV_WITH_CUDA};SPECTRALKV_PLUGIN_ABI=\"${SPECTRALKV_PLUGIN_ABI}\"")

# What the plug-in carries of the core; nothing of it is seen outside.
set(plugin_rooms base formats simd tensor gguf linalg spectral quant kv)
set(plugin_exports ${CMAKE_CURRENT_SOURCE_DIR}/cuda/exports.map)

# Built with everything else, or by name where there may be none (pyproject.toml).
add_custom_target(spectralkv_plugins)

function(add_cuda_backend)
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS cuda/*.cu)
  add_library(cuda_objects OBJECT ${sources})
  target_include_directories(cuda_objects PRIVATE ${CMAKE_CURRENT_SOURCE_DIR}/cpp ${CMAKE_CURRENT_SOURCE_DIR})
  target_compile_definitions(cuda_objects PRIVATE SPECTRALKV_PLUGIN_ABI="${SPECTRALKV_PLUGIN_ABI}")
  set_target_properties(cuda_objects PROPERTIES CUDA_STANDARD 20 CUDA_STANDARD_REQUIRED ON)
  target_compile_options(cuda_objects PRIVATE --expt-relaxed-constexpr -Wno-deprecated-gpu-targets
                                              -Xcompiler=-Wall,-Wextra)
  if(SPECTRALKV_WERROR)
    target_compile_options(cuda_objects PRIVATE -Werror=all-warnings)
  endif()
  if(SPECTRALKV_CUDA_REPORT)
    target_compile_options(cuda_objects PRIVATE -Xptxas=-v)
  endif()

  add_library(spectralkv_cuda SHARED $<TARGET_OBJECTS:cuda_objects>)
  foreach(room IN LISTS plugin_rooms)
    target_sources(spectralkv_cuda PRIVATE $<TARGET_OBJECTS:room_${room}>)
  endforeach()
  set_target_properties(spectralkv_cuda PROPERTIES CUDA_STANDARD 20 LINKER_LANGUAGE CUDA CUDA_RUNTIME_LIBRARY Static
                                                   INSTALL_RPATH "$ORIGIN;${CUDAToolkit_LIBRARY_DIR}")
  target_link_libraries(spectralkv_cuda PRIVATE CUDA::cublas Threads::Threads ${CMAKE_DL_LIBS})
  target_link_options(spectralkv_cuda PRIVATE LINKER:--version-script=${plugin_exports} LINKER:--no-undefined)
  add_dependencies(spectralkv_plugins spectralkv_cuda)

  # Measures attention over the device's cache; built on request, as attention_bench is.
  add_cuda_program(cuda_attention tests/bench/cuda_attention.cu)
  set_target_properties(cuda_attention PROPERTIES EXCLUDE_FROM_ALL ON)
endfunction()

# A program that uses kernels and core without the library around them.
function(add_cuda_program name)
  add_executable(${name} ${ARGN} $<TARGET_OBJECTS:cuda_objects>)
  set_target_properties(${name} PROPERTIES CUDA_STANDARD 20 CUDA_STANDARD_REQUIRED ON CUDA_RUNTIME_LIBRARY Static
                                           LINKER_LANGUAGE CUDA)
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR}/cpp ${PROJECT_SOURCE_DIR} ${PROJECT_SOURCE_DIR}/tests)
  target_compile_options(${name} PRIVATE $<$<COMPILE_LANGUAGE:CUDA>:--expt-relaxed-constexpr -Wno-deprecated-gpu-targets>)
  target_link_libraries(${name} PRIVATE $<TARGET_FILE:spectralkv_core> CUDA::cublas Threads::Threads
                                        ${CMAKE_DL_LIBS})
  add_dependencies(${name} spectralkv_core)
endfunction()
