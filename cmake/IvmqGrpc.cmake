# gRPC, for what is compared with it: only with IVMQ_WITH_GRPC.
if(IVMQ_WITH_GRPC)
  find_package(gRPC REQUIRED)              # libgrpc++-dev protobuf-compiler-grpc
endif()

# ivmq_grpc_services(TARGET t PROTOS file.proto... [NAMESPACE name])
# Adds to the target gRPC's stubs and services for the files, whose messages it has by ivmq_generate
# or ivmq_messages; NAMESPACE: within that of the messages. #include "file.grpc.pb.h".
function(ivmq_grpc_services)
  cmake_parse_arguments(PARSE_ARGV 0 arg "" "TARGET;NAMESPACE" "PROTOS")
  set(out "${CMAKE_CURRENT_BINARY_DIR}/${arg_TARGET}.gen")
  set(options "")
  if(arg_NAMESPACE)
    set(options "services_namespace=${arg_NAMESPACE}")
  endif()
  foreach(file ${arg_PROTOS})
    cmake_path(REMOVE_EXTENSION file LAST_ONLY OUTPUT_VARIABLE stem)
    set(outputs "${out}/${stem}.grpc.pb.cc" "${out}/${stem}.grpc.pb.h")
    add_custom_command(
      OUTPUT ${outputs}
      COMMAND protobuf::protoc -I "${CMAKE_CURRENT_SOURCE_DIR}"
              "--plugin=protoc-gen-grpc=$<TARGET_FILE:gRPC::grpc_cpp_plugin>"
              "--grpc_out=${options}:${out}" "${CMAKE_CURRENT_SOURCE_DIR}/${file}"
      DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/${file}" protobuf::protoc
      COMMENT "grpc_cpp_plugin ${file}"
      VERBATIM)
    target_sources(${arg_TARGET} PRIVATE ${outputs})
    set_source_files_properties(${outputs} PROPERTIES
      SKIP_UNITY_BUILD_INCLUSION ON COMPILE_OPTIONS "-w")
  endforeach()
  target_include_directories(${arg_TARGET} SYSTEM PUBLIC "${out}")
  target_link_libraries(${arg_TARGET} PUBLIC gRPC::grpc++_unsecure)
endfunction()
