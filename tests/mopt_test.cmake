# mopt_compile_quickly(target...): what runs for moments is not worth the time to optimize it.
function(mopt_compile_quickly)
  foreach(target IN LISTS ARGN)
    target_compile_options(${target} PRIVATE $<$<CONFIG:Release>:-O1>)
  endforeach()
endfunction()

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

# mopt_add_tests(name LIBRARIES ...): one doctest binary from every *_test.cpp of this folder and
# below, registered with CTest. GOLDEN cases read MOPT_GOLDEN (tests/golden) and MOPT_SHARED.
function(mopt_add_tests name)
  if(NOT MOPT_TESTS)
    return()
  endif()
  cmake_parse_arguments(arg "" "" "LIBRARIES" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*_test.cpp)
  if(NOT sources)
    return()
  endif()
  add_executable(${name}_test ${sources})
  target_link_libraries(${name}_test PRIVATE ${arg_LIBRARIES} mopt_test_support)
  mopt_compile_quickly(${name}_test)
  target_include_directories(${name}_test PRIVATE ${CMAKE_SOURCE_DIR} ${CMAKE_CURRENT_SOURCE_DIR})
  set_target_properties(${name}_test PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/test)
  add_test(NAME ${name} COMMAND ${name}_test)
  set_tests_properties(${name} PROPERTIES ENVIRONMENT
    "MOPT_GOLDEN=${CMAKE_SOURCE_DIR}/tests/golden;MOPT_SHARED=${CMAKE_SOURCE_DIR}/../shared")
endfunction()
