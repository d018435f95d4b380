// Which program this is.
#pragma once

#include <string_view>

namespace mopt {

std::string_view version();  // "0.1.0"
// "7133d8c2ab1f", with "-dirty" when files differ from it; "unknown" outside of a git checkout.
std::string_view commit();

}  // namespace mopt
