// Regular expressions of tokenizer files are written for Oniguruma (Ruby syntax, UTF-8). This
// rewrites one for PCRE2 (UTF, UCP, MULTILINE) so that it matches the same texts.
#pragma once

#include <string>
#include <string_view>

namespace mopt::text {

// Throws mopt::Error that names a construct which PCRE2 cannot express.
std::string oniguruma_to_pcre(std::string_view pattern);

}  // namespace mopt::text
