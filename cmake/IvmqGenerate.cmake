# ivmq_generate(TARGET t PROTOS file.proto... [IMPORT_DIRS dir...] [PLUGIN_OPTIONS option...])
# Adds to the target what protoc and protoc-gen-ivmq make of the files: messages, and stubs and
# services for what services they define. #include "file.ivmq.pb.h". Paths are relative to the
# calling folder, and so are those of the generated headers; an IMPORT_DIR in place of it is where
# the files' own imports begin. For the options see protoc-gen-ivmq's generator.h.
# Made anew when a file, one that it imports, protoc or the plugin has changed.
function(ivmq_generate)
  cmake_parse_arguments(PARSE_ARGV 0 arg "" "TARGET" "PROTOS;IMPORT_DIRS;PLUGIN_OPTIONS")
  if(arg_UNPARSED_ARGUMENTS OR NOT arg_PROTOS OR NOT TARGET "${arg_TARGET}")
    message(FATAL_ERROR "ivmq_generate: no PROTOS, no such TARGET, or unknown: "
      "${arg_TARGET} ${arg_UNPARSED_ARGUMENTS}")
  endif()
  set(out "${CMAKE_CURRENT_BINARY_DIR}/${arg_TARGET}.gen")
  file(MAKE_DIRECTORY "${out}")
  set(imports "")
  set(folders "")
  foreach(dir ${arg_IMPORT_DIRS} "${CMAKE_CURRENT_SOURCE_DIR}")
    cmake_path(ABSOLUTE_PATH dir NORMALIZE)
    list(APPEND folders "${dir}")
    list(APPEND imports -I "${dir}")
  endforeach()
  string(JOIN "," options ${arg_PLUGIN_OPTIONS})
  set(generated "")
  foreach(file ${arg_PROTOS})
    cmake_path(ABSOLUTE_PATH file NORMALIZE)
    set(stem "")
    foreach(dir ${folders})
      cmake_path(IS_PREFIX dir "${file}" NORMALIZE within)
      if(within AND stem STREQUAL "")
        cmake_path(RELATIVE_PATH file BASE_DIRECTORY "${dir}" OUTPUT_VARIABLE stem)
      endif()
    endforeach()
    if(stem STREQUAL "")
      message(FATAL_ERROR "ivmq_generate: ${file} is in none of ${folders}")
    endif()
    cmake_path(REMOVE_EXTENSION stem LAST_ONLY)
    # In the order in which protoc writes them into the file of dependencies: ninja runs a command
    # again and again whose first output is not the first one there.
    set(outputs "${out}/${stem}.ivmq.pb.cc" "${out}/${stem}.ivmq.pb.h"
                "${out}/${stem}.pb.cc" "${out}/${stem}.pb.h")
    if("generate_mock_code=true" IN_LIST arg_PLUGIN_OPTIONS)
      list(APPEND outputs "${out}/${stem}_mock.ivmq.pb.h")
    endif()
    add_custom_command(
      OUTPUT ${outputs}
      COMMAND protobuf::protoc ${imports} --cpp_out "${out}"
              "--plugin=protoc-gen-ivmq=$<TARGET_FILE:ivmq::protoc-gen-ivmq>"
              "--ivmq_out=${options}:${out}" "--dependency_out=${out}/${stem}.d" "${file}"
      DEPFILE "${out}/${stem}.d"
      DEPENDS "${file}" protobuf::protoc ivmq::protoc-gen-ivmq
      COMMENT "protoc-gen-ivmq ${stem}.proto"
      VERBATIM)
    list(APPEND generated ${outputs})
    # protoc's code is not the target's: no warnings. That of protoc-gen-ivmq gives none.
    set_source_files_properties("${out}/${stem}.pb.cc" PROPERTIES COMPILE_OPTIONS "-w")
  endforeach()
  target_sources(${arg_TARGET} PRIVATE ${generated})
  set_source_files_properties(${generated} PROPERTIES
    SKIP_UNITY_BUILD_INCLUSION ON) # the helpers of protoc's code share names
  target_include_directories(${arg_TARGET} SYSTEM PUBLIC "$<BUILD_INTERFACE:${out}>")
  target_link_libraries(${arg_TARGET} PUBLIC ivmq::rpc protobuf::libprotobuf)
endfunction()
