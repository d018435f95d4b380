# The SDK as a CMake package: target mopt::sdk and mopt_add_plugin(). Works from the source tree and
# from an installation.
if(EXISTS "${CMAKE_CURRENT_LIST_DIR}/../include/mopt/mopt.h")
  get_filename_component(mopt_sdk_include "${CMAKE_CURRENT_LIST_DIR}/../include" ABSOLUTE)
else()
  get_filename_component(mopt_sdk_include "${CMAKE_CURRENT_LIST_DIR}/../../../include" ABSOLUTE)
endif()
set(mopt_sdk_exports "${CMAKE_CURRENT_LIST_DIR}/plugin.map")

if(NOT TARGET mopt::sdk)
  add_library(mopt::sdk INTERFACE IMPORTED GLOBAL)
  target_include_directories(mopt::sdk INTERFACE "${mopt_sdk_include}")
  target_compile_features(mopt::sdk INTERFACE cxx_std_20)
endif()

# mopt_add_plugin(nvfp4 SOURCES plugin.cpp nvfp4.cpp [LIBRARIES lib...])
# builds nvfp4.so with exactly one exported symbol. In a build that sets MOPT_PLUGIN_OUTPUT_DIRECTORY
# the file lands there; `install` puts it under lib/mopt/plugins/abi-0.
function(mopt_add_plugin name)
  cmake_parse_arguments(arg "" "" "SOURCES;LIBRARIES" ${ARGN})
  if(NOT arg_SOURCES)
    message(FATAL_ERROR "mopt_add_plugin(${name}): SOURCES is required")
  endif()
  add_library(${name} MODULE ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE mopt::sdk ${arg_LIBRARIES})
  # Highway includes a kernel file again for every instruction set.
  target_include_directories(${name} PRIVATE ${CMAKE_CURRENT_SOURCE_DIR})
  set_target_properties(${name} PROPERTIES
    PREFIX "" SUFFIX ".so" CXX_STANDARD 20 CXX_STANDARD_REQUIRED ON CXX_EXTENSIONS OFF
    CXX_VISIBILITY_PRESET hidden C_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON
    POSITION_INDEPENDENT_CODE ON INSTALL_RPATH "$ORIGIN" LINK_DEPENDS "${mopt_sdk_exports}")
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    target_compile_options(${name} PRIVATE $<$<COMPILE_LANGUAGE:CXX>:-fno-gnu-unique>)
  endif()
  # Encoded bytes must not depend on whether the compiler contracts a*b+c.
  target_compile_options(${name} PRIVATE $<$<COMPILE_LANGUAGE:C,CXX>:-ffp-contract=off>)
  target_link_options(${name} PRIVATE "-Wl,--version-script=${mopt_sdk_exports}" -Wl,-z,now
    -Wl,-z,relro -Wl,-z,noexecstack -Wl,--exclude-libs,ALL)
  if(NOT MOPT_SANITIZE)
    target_link_options(${name} PRIVATE -Wl,-z,defs)
  endif()
  if(MOPT_PLUGIN_OUTPUT_DIRECTORY)
    set_target_properties(${name} PROPERTIES
      LIBRARY_OUTPUT_DIRECTORY "${MOPT_PLUGIN_OUTPUT_DIRECTORY}")
  endif()
  install(TARGETS ${name} LIBRARY DESTINATION lib/mopt/plugins/abi-0)
endfunction()
