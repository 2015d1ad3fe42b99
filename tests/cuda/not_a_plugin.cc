// A shared library that is no backend.
extern "C" int not_a_plugin() {
  return 0;
}
