// Apart from doctest itself, so that a program with a main of its own can link the rest.
#include <doctest/doctest.h>

int main(int argc, char** argv) {
  return doctest::Context(argc, argv).run();
}
