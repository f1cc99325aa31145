include(GNUInstallDirs)

# ivmq_add_folders(FOLDER...)
# add_subdirectory for each folder.
macro(ivmq_add_folders)
  foreach(folder ${ARGN})
    add_subdirectory(${folder})
  endforeach()
endmacro()

# ivmq_layer(NAME SOURCES file... [PUBLIC lib...] [PRIVATE lib...] [INSTALLED_INTERNALS header...])
# A layer of the library: target ivmq_NAME, a static library of the build tree. libivmq is made of
# all of them (IvmqPackage). Headers are those under include/ of the calling folder. They are
# installed, except those in folders named internal, of which only what public headers include is:
# INSTALLED_INTERNALS, relative to include/.
function(ivmq_layer name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SOURCES;PUBLIC;PRIVATE;INSTALLED_INTERNALS")
  if(arg_UNPARSED_ARGUMENTS OR NOT arg_SOURCES)
    message(FATAL_ERROR "ivmq_layer(${name}): no SOURCES, or unknown: ${arg_UNPARSED_ARGUMENTS}")
  endif()
  add_library(ivmq_${name} STATIC ${arg_SOURCES})
  set_target_properties(ivmq_${name} PROPERTIES
    CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON)
  target_compile_features(ivmq_${name} PUBLIC cxx_std_20)
  target_include_directories(ivmq_${name}
    PUBLIC ${CMAKE_CURRENT_SOURCE_DIR}/include
    PRIVATE ${CMAKE_CURRENT_SOURCE_DIR})
  target_link_libraries(ivmq_${name}
    PUBLIC ${arg_PUBLIC}
    PRIVATE ${arg_PRIVATE} ivmq_options)
  set_property(GLOBAL APPEND PROPERTY IVMQ_LAYERS ivmq_${name})
  if(IVMQ_INSTALL)
    install(DIRECTORY include/ DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT libivmq-dev
      FILES_MATCHING PATTERN "*.h" PATTERN "internal" EXCLUDE)
    foreach(header ${arg_INSTALLED_INTERNALS})
      cmake_path(GET header PARENT_PATH folder)
      install(FILES "include/${header}"
        DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}/${folder}" COMPONENT libivmq-dev)
    endforeach()
  endif()
endfunction()

# ivmq_program(NAME SOURCES file... [LIBS lib...] [INSTALL component] [MEASURES])
# A program with the project's warnings; with INSTALL it goes to bin/, see docs/using.md for the
# components. What a program adds to the
# layers is quickly done and takes long to optimise (CLI11: minutes), so it hardly is, unless the
# program MEASURES.
function(ivmq_program name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "MEASURES" "INSTALL" "SOURCES;LIBS")
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
  if(IVMQ_STATIC)
    target_link_options(${name} PRIVATE -static LINKER:--gc-sections)
  endif()
  if(arg_INSTALL AND IVMQ_INSTALL)
    install(TARGETS ${name}
      RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT ${arg_INSTALL})
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
