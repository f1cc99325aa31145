# Read at the end of the application's project(): notes what is to be the same at its end.
set(noted_directory_properties COMPILE_DEFINITIONS COMPILE_OPTIONS INCLUDE_DIRECTORIES LINK_OPTIONS)
foreach(property ${noted_directory_properties})
  get_directory_property(noted_${property} ${property})
endforeach()
get_cmake_property(noted_variables VARIABLES)
list(FILTER noted_variables EXCLUDE REGEX "^CMAKE_CURRENT_") # where CMake reads
foreach(variable ${noted_variables})
  set("noted_value_of_${variable}" "${${variable}}")
endforeach()
