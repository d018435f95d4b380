// The style sheet of report.html: light, dark, narrow screens, paper.
#pragma once

#include <string_view>

namespace mopt {

std::string_view html_style();

}  // namespace mopt
