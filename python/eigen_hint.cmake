# Where Python's build environment keeps Eigen: PyPI's cmeel-eigen installs below site-packages/cmeel.prefix.
find_package(Python 3.10 REQUIRED COMPONENTS Interpreter Development.Module)
if(NOT SPECTRALKV_EIGEN_DIR AND NOT SPECTRALKV_EIGEN_HINT)
  execute_process(
    COMMAND "${Python_EXECUTABLE}" -c
            "import os, sys; print(next((p for p in (os.path.join(s, 'cmeel.prefix') for s in sys.path) if os.path.isdir(p)), ''))"
    OUTPUT_VARIABLE SPECTRALKV_EIGEN_HINT OUTPUT_STRIP_TRAILING_WHITESPACE)
endif()
