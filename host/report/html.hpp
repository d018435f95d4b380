// mopt/report.html: what a run did, for people, in one file without scripts or outside resources.
#pragma once

#include <string>
#include <string_view>

#include "host/report/report.hpp"

namespace mopt {

std::string to_html(const Report&);

// Text for the inside of an element or of a quoted attribute; control characters are escaped too.
std::string html_escape(std::string_view text);

}  // namespace mopt
