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

# CMake 3.25 does not know that nvcc 12 and later speak C++20.
if(CMAKE_CUDA_COMPILER_LOADED AND NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION)
  set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
  set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION -std=c++20)
endif()

# Compiles the plugin's CUDA sources into it, with a static runtime that needs no driver to load.
function(mopt_add_plugin_kernels name)
  find_package(CUDAToolkit REQUIRED)
  target_sources(${name} PRIVATE ${ARGN})
  target_link_libraries(${name} PRIVATE CUDA::cudart_static)
  target_compile_definitions(${name} PRIVATE MOPT_PLUGIN_CUDA)
  # Without contraction of a*b+c, as below; functions of the sdk that are constexpr serve kernels too.
  target_compile_options(${name} PRIVATE "$<$<COMPILE_LANGUAGE:CUDA>:--fmad=false>"
    "$<$<COMPILE_LANGUAGE:CUDA>:--expt-relaxed-constexpr>"
    "$<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=-ffp-contract=off,-fno-gnu-unique>")
  set_target_properties(${name} PROPERTIES CUDA_VISIBILITY_PRESET hidden
    CUDA_RUNTIME_LIBRARY Static)
endfunction()

# mopt_add_plugin(nvfp4 SOURCES plugin.cpp nvfp4.cpp [CUDA nvfp4_cuda.cu] [LIBRARIES lib...])
# builds nvfp4.so with exactly one exported symbol. In a build that sets MOPT_PLUGIN_OUTPUT_DIRECTORY
# the file lands there; `install` puts it under lib/mopt/plugins/abi-0.
# CUDA sources are compiled in where the project enabled the language CUDA before it found this package
# (and, where there is such an option, MOPT_CUDA is on), and mopt::kPluginCuda is then true; else they
# are left out.
function(mopt_add_plugin name)
  cmake_parse_arguments(arg "" "" "SOURCES;CUDA;LIBRARIES" ${ARGN})
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
  set_property(TARGET ${name} PROPERTY MOPT_CUDA_SOURCES ${arg_CUDA})
  if(arg_CUDA AND CMAKE_CUDA_COMPILER_LOADED AND (NOT DEFINED MOPT_CUDA OR MOPT_CUDA))
    mopt_add_plugin_kernels(${name} ${arg_CUDA})
  elseif(arg_CUDA)
    message(STATUS "plugin ${name}: its CUDA kernels are left out, there is no CUDA compiler")
  endif()
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
