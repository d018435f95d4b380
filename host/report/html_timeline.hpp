// The section of report.html that shows what a run did when.
#pragma once

#include <string>

#include "host/report/report.hpp"

namespace mopt {

// One row per lane over one axis of seconds; empty without lanes.
std::string timeline_html(const Report&);

}  // namespace mopt
