// spectralkv::Error becomes the Python exception of its kind.
#include "base/error.h"
#include "base/shown.h"
#include "bind.h"
#include "shared.h"

namespace spectralkv::python {
namespace {

PyObject* exception_class(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::value:
      return PyExc_ValueError;
    case ErrorKind::file_not_found:
      return PyExc_FileNotFoundError;
    case ErrorKind::memory:
      return PyExc_MemoryError;
    case ErrorKind::os:
      return PyExc_OSError;
    case ErrorKind::interrupted:
      return PyExc_KeyboardInterrupt;
  }
  return PyExc_RuntimeError;
}

void translate(const std::exception_ptr& thrown, void*) {
  try {
    std::rethrow_exception(thrown);
  } catch (const Error& error) {
    const nb::object message = to_str(shown(error.what()));  // it may quote a file's name that is no UTF-8
    PyErr_SetObject(exception_class(error.kind()), message.ptr());
  }
}

}  // namespace

void bind_errors(nb::module_&) {
  nb::register_exception_translator(translate);
}

}  // namespace spectralkv::python
