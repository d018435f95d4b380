# Writes OUTPUT, the source of version.hpp's functions, unless it is up to date already.
# Run at each build with SOURCE_DIR, VERSION and OUTPUT.
set(commit unknown)
find_program(GIT git)
if(GIT)
  execute_process(COMMAND ${GIT} describe --always --dirty --abbrev=12 --exclude=*
                  WORKING_DIRECTORY ${SOURCE_DIR} OUTPUT_VARIABLE found RESULT_VARIABLE failed
                  OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  if(NOT failed)
    set(commit ${found})
  endif()
endif()
set(text "#include \"host/report/version.hpp\"

namespace mopt {

std::string_view version() {
  return \"${VERSION}\";
}

std::string_view commit() {
  return \"${commit}\";
}

}  // namespace mopt
")
set(old "")
if(EXISTS ${OUTPUT})
  file(READ ${OUTPUT} old)
endif()
if(NOT old STREQUAL text)
  file(WRITE ${OUTPUT} "${text}")
endif()
