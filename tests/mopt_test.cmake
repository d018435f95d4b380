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
  # Compiled once: doctest's implementation takes longer than most tests.
  if(NOT TARGET doctest_main)
    add_library(doctest_main OBJECT ${CMAKE_SOURCE_DIR}/tests/doctest_main.cpp)
  endif()
  add_executable(${name}_test ${sources})
  target_link_libraries(${name}_test PRIVATE ${arg_LIBRARIES} doctest_main)
  target_include_directories(${name}_test PRIVATE ${CMAKE_SOURCE_DIR} ${CMAKE_CURRENT_SOURCE_DIR})
  set_target_properties(${name}_test PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/test)
  add_test(NAME ${name} COMMAND ${name}_test)
  set_tests_properties(${name} PROPERTIES ENVIRONMENT
    "MOPT_GOLDEN=${CMAKE_SOURCE_DIR}/tests/golden;MOPT_SHARED=${CMAKE_SOURCE_DIR}/../shared")
endfunction()
