# The extension module spectralkv._core and its type stubs; CMakeLists.txt includes this with SPECTRALKV_PYTHON=ON.
execute_process(COMMAND "${Python_EXECUTABLE}" -m nanobind --cmake_dir
                OUTPUT_VARIABLE nanobind_ROOT OUTPUT_STRIP_TRAILING_WHITESPACE)
find_package(nanobind CONFIG REQUIRED)

file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/python/src/*.cc)
nanobind_add_module(_core NB_STATIC NOMINSIZE ${sources})
set_target_properties(_core PROPERTIES UNITY_BUILD ${SPECTRALKV_UNITY} UNITY_BUILD_BATCH_SIZE 8)
target_include_directories(_core SYSTEM PRIVATE ${NB_DIR}/include)
target_link_libraries(_core PRIVATE spectralkv_core)
if(NOT APPLE)
  target_link_options(_core PRIVATE LINKER:--exclude-libs,ALL)  # two modules of one process must not share our symbols
endif()

# The stub is made from the module as built, next to a copy of it, so both can be imported from the build folder.
nanobind_add_stub(_core_stub MODULE _core OUTPUT _core.pyi PYTHON_PATH $<TARGET_FILE_DIR:_core> DEPENDS _core)

install(TARGETS _core LIBRARY DESTINATION spectralkv COMPONENT python)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/_core.pyi DESTINATION spectralkv COMPONENT python)
if(SPECTRALKV_WITH_CUDA)
  install(TARGETS spectralkv_cuda LIBRARY DESTINATION spectralkv COMPONENT python)
endif()
