# What tests share, compiled once; doctest's main comes with it.
if(MOPT_TESTS AND NOT TARGET mopt_test_support)
  find_package(hwy REQUIRED CONFIG)
  find_package(nlohmann_json REQUIRED)
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/*.cpp)
  add_library(mopt_test_support STATIC ${sources})
  target_include_directories(mopt_test_support PUBLIC ${CMAKE_SOURCE_DIR})
  target_link_libraries(mopt_test_support PUBLIC mopt::sdk hwy::hwy nlohmann_json::nlohmann_json)
  mopt_compile_quickly(mopt_test_support)
endif()

# mopt_emulated(target file.cu...): compiles CUDA sources into a test by the C++ compiler
# (cuda_emulation.hpp says what of CUDA it knows).
function(mopt_emulated target)
  foreach(source IN LISTS ARGN)
    cmake_path(ABSOLUTE_PATH source BASE_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR} NORMALIZE)
    cmake_path(GET source PARENT_PATH folder)
    cmake_path(GET source STEM stem)
    set(output ${CMAKE_CURRENT_BINARY_DIR}/${target}_emulated/${stem}.cpp)
    # What C++ has no word for: an array of a size that the launch gives.
    string(CONCAT rewrite "1i #line 1 \"${source}\"\n"
      "s/extern __shared__ ([^;]*[^ ]) *\\b(\\w+)\\[\\];/"
      "auto* \\2 = static_cast<std::remove_cvref_t<\\1>*>(mopt::emulation::dynamic_shared());/")
    add_custom_command(OUTPUT ${output} DEPENDS ${source} VERBATIM
      COMMAND sed -E ${rewrite} ${source} > ${output})
    target_sources(${target} PRIVATE ${output})
    target_include_directories(${target} PRIVATE ${folder})
  endforeach()
  target_include_directories(${target} BEFORE PRIVATE ${CMAKE_SOURCE_DIR}/tests/cuda_include)
  target_compile_definitions(${target} PRIVATE MOPT_CUDA_EMULATION)
  target_compile_options(${target} PRIVATE -Wno-unknown-pragmas)
endfunction()

# The tests *_cuda_test.cpp of a plugin: its sources once more, told that they have kernels, with the
# kernels emulated.
function(mopt_add_emulated_plugin_tests name plugin)
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*_cuda_test.cpp)
  get_target_property(kernels ${plugin} MOPT_CUDA_SOURCES)
  if(NOT sources OR NOT kernels)
    return()
  endif()
  get_target_property(own ${plugin} SOURCES)
  list(FILTER own EXCLUDE REGEX "\\.cu$")
  get_target_property(libraries ${plugin} LINK_LIBRARIES)
  list(FILTER libraries EXCLUDE REGEX "^CUDA::")
  add_executable(${name}_cuda_test ${sources} ${own})
  target_link_libraries(${name}_cuda_test PRIVATE ${libraries} mopt_test_support)
  target_compile_definitions(${name}_cuda_test PRIVATE MOPT_PLUGIN_CUDA)
  mopt_emulated(${name}_cuda_test ${kernels})
  mopt_register_tests(${name}_cuda)
endfunction()

# Registers NAME_test with CTest. GOLDEN cases read MOPT_GOLDEN (tests/golden) and MOPT_SHARED.
function(mopt_register_tests name)
  target_include_directories(${name}_test PRIVATE ${CMAKE_SOURCE_DIR} ${CMAKE_CURRENT_SOURCE_DIR})
  set_target_properties(${name}_test PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/test)
  add_test(NAME ${name} COMMAND ${name}_test)
  set_tests_properties(${name} PROPERTIES ENVIRONMENT
    "MOPT_GOLDEN=${CMAKE_SOURCE_DIR}/tests/golden;MOPT_SHARED=${CMAKE_SOURCE_DIR}/../shared")
endfunction()

# mopt_add_tests(name [PLUGIN target] [LIBRARIES ...]): one doctest binary from every *_test.cpp of this
# folder and below, linked with the objects of the plugin, registered with CTest. A plugin's
# *_cuda_test.cpp become a second one, NAME_cuda_test.
function(mopt_add_tests name)
  if(NOT MOPT_TESTS)
    return()
  endif()
  cmake_parse_arguments(arg "" "PLUGIN" "LIBRARIES" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*_test.cpp)
  if(arg_PLUGIN)
    list(FILTER sources EXCLUDE REGEX "_cuda_test\\.cpp$")
    mopt_add_emulated_plugin_tests(${name} ${arg_PLUGIN})
  endif()
  if(NOT sources)
    return()
  endif()
  add_executable(${name}_test ${sources})
  target_link_libraries(${name}_test PRIVATE ${arg_LIBRARIES} mopt_test_support)
  if(arg_PLUGIN)
    target_sources(${name}_test PRIVATE $<TARGET_OBJECTS:${arg_PLUGIN}>)
  endif()
  mopt_compile_quickly(${name}_test)
  mopt_register_tests(${name})
endfunction()
