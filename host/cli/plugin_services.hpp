// Services of the host that plugins ask for: threads and cancellation.
#pragma once

#include "host/loader/services.hpp"

namespace mopt::cli {

void install_services(Services&);

}  // namespace mopt::cli
