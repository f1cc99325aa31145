include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

# ivmq_add_folders(FOLDER...)
# add_subdirectory for each folder.
macro(ivmq_add_folders)
  foreach(folder ${ARGN})
    add_subdirectory(${folder})
  endforeach()
endmacro()

# ivmq_layer(NAME SOURCES file... [PUBLIC lib...] [PRIVATE lib...])
# The library of a layer: target ivmq_NAME, used as ivmq::NAME, installed and exported as such.
# Public headers are those under include/ of the calling folder.
function(ivmq_layer name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SOURCES;PUBLIC;PRIVATE")
  if(arg_UNPARSED_ARGUMENTS OR NOT arg_SOURCES)
    message(FATAL_ERROR "ivmq_layer(${name}): no SOURCES, or unknown: ${arg_UNPARSED_ARGUMENTS}")
  endif()
  add_library(ivmq_${name} STATIC ${arg_SOURCES})
  add_library(ivmq::${name} ALIAS ivmq_${name})
  set_target_properties(ivmq_${name} PROPERTIES EXPORT_NAME ${name})
  target_compile_features(ivmq_${name} PUBLIC cxx_std_20)
  target_include_directories(ivmq_${name}
    PUBLIC $<BUILD_INTERFACE:${CMAKE_CURRENT_SOURCE_DIR}/include>
           $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>
    PRIVATE ${CMAKE_CURRENT_SOURCE_DIR})
  target_link_libraries(ivmq_${name}
    PUBLIC ${arg_PUBLIC}
    PRIVATE ${arg_PRIVATE} $<BUILD_INTERFACE:ivmq_options>)
  install(TARGETS ivmq_${name} EXPORT ivmqTargets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
  if(IS_DIRECTORY "${CMAKE_CURRENT_SOURCE_DIR}/include")
    install(DIRECTORY include/ DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.h")
  endif()
  set_property(GLOBAL APPEND PROPERTY IVMQ_LAYERS ${name})
endfunction()

# ivmq_program(NAME SOURCES file... [LIBS lib...] [INSTALL] [MEASURES])
# A program with the project's warnings; with INSTALL it goes to bin/. What a program adds to the
# layers is quickly done and takes long to optimise (CLI11: minutes), so it hardly is, unless the
# program MEASURES.
function(ivmq_program name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "INSTALL;MEASURES" "" "SOURCES;LIBS")
  if(arg_UNPARSED_ARGUMENTS OR NOT arg_SOURCES)
    message(FATAL_ERROR "ivmq_program(${name}): no SOURCES, or unknown: ${arg_UNPARSED_ARGUMENTS}")
  endif()
  add_executable(${name} ${arg_SOURCES})
  target_include_directories(${name} PRIVATE ${CMAKE_CURRENT_SOURCE_DIR})
  target_link_libraries(${name} PRIVATE ${arg_LIBS} ivmq_options)
  if(IVMQ_SANITIZE)
    target_compile_options(${name} PRIVATE -O0)
  elseif(NOT arg_MEASURES)
    target_compile_options(${name} PRIVATE -O1)
  endif()
  if(arg_INSTALL)
    install(TARGETS ${name} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
  endif()
endfunction()

# ivmq_messages(NAME file.proto...)
# A static library of the C++ classes that protoc makes of the files (paths relative to the calling
# folder), without the project's warnings. #include "file.pb.h".
function(ivmq_messages name)
  set(out "${CMAKE_CURRENT_BINARY_DIR}/${name}.gen")
  set(sources "")
  foreach(file ${ARGN})
    cmake_path(REMOVE_EXTENSION file LAST_ONLY OUTPUT_VARIABLE stem)
    cmake_path(GET stem PARENT_PATH folder)
    file(MAKE_DIRECTORY "${out}/${folder}")
    add_custom_command(
      OUTPUT "${out}/${stem}.pb.cc" "${out}/${stem}.pb.h"
      COMMAND protobuf::protoc --cpp_out "${out}" -I "${CMAKE_CURRENT_SOURCE_DIR}"
              "${CMAKE_CURRENT_SOURCE_DIR}/${file}"
      DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/${file}"
      COMMENT "protoc ${file}"
      VERBATIM)
    list(APPEND sources "${out}/${stem}.pb.cc")
  endforeach()
  add_library(${name} STATIC ${sources})
  set_target_properties(${name} PROPERTIES UNITY_BUILD OFF) # their helpers share names
  target_include_directories(${name} SYSTEM PUBLIC "${out}")
  target_link_libraries(${name} PUBLIC protobuf::libprotobuf)
  # Not code of ours: neither warnings nor clang-tidy.
  target_compile_options(${name} PRIVATE -w)
endfunction()

# ivmq_install_package()
# Installs the layers as the CMake package `ivmq`: find_package(ivmq), then ivmq::core and so on.
function(ivmq_install_package)
  get_property(layers GLOBAL PROPERTY IVMQ_LAYERS)
  if(NOT layers)
    return()
  endif()
  set(folder "${CMAKE_INSTALL_LIBDIR}/cmake/ivmq")
  install(EXPORT ivmqTargets NAMESPACE ivmq:: DESTINATION ${folder})
  configure_package_config_file(
    "${PROJECT_SOURCE_DIR}/cmake/ivmqConfig.cmake.in" "${PROJECT_BINARY_DIR}/ivmqConfig.cmake"
    INSTALL_DESTINATION ${folder})
  write_basic_package_version_file("${PROJECT_BINARY_DIR}/ivmqConfigVersion.cmake"
    COMPATIBILITY SameMinorVersion)
  install(FILES "${PROJECT_SOURCE_DIR}/cmake/IvmqGenerate.cmake"
                "${PROJECT_BINARY_DIR}/ivmqConfig.cmake"
                "${PROJECT_BINARY_DIR}/ivmqConfigVersion.cmake"
    DESTINATION ${folder})
endfunction()
