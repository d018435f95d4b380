#include "reader.hpp"

namespace mopt::hf {

void read_checkpoint(const Checkpoint&, const ReadTarget&) {
  throw Error(MOPT_UNSUPPORTED, "this version writes the hf layout and does not read it back");
}

}  // namespace mopt::hf
