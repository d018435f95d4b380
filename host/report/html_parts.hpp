// Pieces of HTML that the sections of report.html share.
#pragma once

#include <string>
#include <string_view>

namespace mopt {

// printf with one number; a dash for one that is none.
std::string text_of(double value, const char* format);
// Steps of a short run are told in tenths.
std::string step_text(double seconds);
// `inside` is HTML.
std::string element(std::string_view tag, const std::string& inside, std::string_view cls = {});
std::string section(const std::string& title, const std::string& inside, std::string_view cls = {});

}  // namespace mopt
