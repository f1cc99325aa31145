# What the layers make together: libivmq, the targets by which programs use it, and the packages
# that are installed for CMake and pkg-config.
include(CMakePackageConfigHelpers)

# ivmq_add_library()
# libivmq, shared and static, of the objects of all layers, and ivmq::ivmq, ivmq::core and ivmq::rpc
# for programs of this build.
function(ivmq_add_library)
  get_property(layers GLOBAL PROPERTY IVMQ_LAYERS)
  set(objects ${layers})
  list(TRANSFORM objects REPLACE "(.+)" "$<TARGET_OBJECTS:\\1>")
  set(includes ${layers})
  list(TRANSFORM includes REPLACE "(.+)" "$<TARGET_PROPERTY:\\1,INTERFACE_INCLUDE_DIRECTORIES>")

  add_library(ivmq_shared SHARED ${objects})
  add_library(ivmq_static STATIC ${objects})
  foreach(kind shared static)
    set_target_properties(ivmq_${kind} PROPERTIES OUTPUT_NAME ivmq LINKER_LANGUAGE CXX
      EXPORT_NAME ${kind} EXCLUDE_FROM_ALL ON)
    target_compile_features(ivmq_${kind} INTERFACE cxx_std_20)
    target_include_directories(ivmq_${kind} INTERFACE
      "$<BUILD_INTERFACE:${includes}>" $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
  endforeach()
  # ivmqConfig names to others what they need of these.
  target_link_libraries(ivmq_shared
    PRIVATE $<BUILD_INTERFACE:protobuf::libprotobuf> $<BUILD_INTERFACE:Threads::Threads>)
  set(map "${PROJECT_SOURCE_DIR}/cmake/libivmq.map")
  target_link_options(ivmq_shared PRIVATE "LINKER:--version-script=${map}")
  if(NOT IVMQ_SANITIZE AND NOT IVMQ_BUILD_FUZZ) # what these need is in the program
    target_link_options(ivmq_shared PRIVATE LINKER:-z,defs)
  endif()
  # One more with each version that breaks the ABI (docs/versioning.md), whatever the version's number;
  # it is in the name of the package libivmq0, too.
  set(abi 0)
  set_target_properties(ivmq_shared PROPERTIES
    VERSION ${abi}.${PROJECT_VERSION} SOVERSION ${abi} LINK_DEPENDS "${map}")

  # The programs of this project link layers, since they need their internals; a program that linked
  # libivmq.so as well would have everything twice.
  if(BUILD_SHARED_LIBS AND NOT (IVMQ_BUILD_TOOLS OR IVMQ_BUILD_TESTS OR IVMQ_BUILD_BENCH OR
                                IVMQ_BUILD_EXAMPLES OR IVMQ_BUILD_FUZZ))
    set(core ivmq_shared)
    set(rpc ivmq_shared protobuf::libprotobuf)
  else()
    set(core ivmq_transports)
    set(rpc ivmq_rpc ivmq_transports)
  endif()
  foreach(component core rpc)
    add_library(ivmq_component_${component} INTERFACE)
    target_link_libraries(ivmq_component_${component} INTERFACE ${${component}})
    add_library(ivmq::${component} ALIAS ivmq_component_${component})
  endforeach()
  add_library(ivmq::ivmq ALIAS ivmq_component_rpc)
endfunction()

# ivmq_install_library()
# Installs libivmq for programs of others: the CMake package `ivmq` and ivmq.pc.
function(ivmq_install_library)
  set_target_properties(ivmq_shared ivmq_static PROPERTIES EXCLUDE_FROM_ALL OFF)
  install(TARGETS ivmq_shared ivmq_static EXPORT ivmqTargets
    LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT libivmq0 NAMELINK_COMPONENT libivmq-dev
    ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT libivmq-dev)
  set(folder "${CMAKE_INSTALL_LIBDIR}/cmake/ivmq")
  install(EXPORT ivmqTargets NAMESPACE ivmq:: DESTINATION ${folder} COMPONENT libivmq-dev)
  install(EXPORT ivmqPlugin NAMESPACE ivmq:: DESTINATION ${folder} COMPONENT protobuf-compiler-ivmq)
  configure_package_config_file(
    "${PROJECT_SOURCE_DIR}/cmake/ivmqConfig.cmake.in" "${PROJECT_BINARY_DIR}/ivmqConfig.cmake"
    INSTALL_DESTINATION ${folder} NO_SET_AND_CHECK_MACRO)
  write_basic_package_version_file("${PROJECT_BINARY_DIR}/ivmqConfigVersion.cmake"
    COMPATIBILITY SameMinorVersion)
  install(FILES "${PROJECT_SOURCE_DIR}/cmake/IvmqGenerate.cmake"
                "${PROJECT_BINARY_DIR}/ivmqConfig.cmake"
                "${PROJECT_BINARY_DIR}/ivmqConfigVersion.cmake"
    DESTINATION ${folder} COMPONENT libivmq-dev)

  # Made when it is installed: only then is the prefix known for certain.
  foreach(variable PROJECT_VERSION PROJECT_DESCRIPTION CMAKE_INSTALL_BINDIR CMAKE_INSTALL_LIBDIR
                   CMAKE_INSTALL_INCLUDEDIR)
    install(CODE "set(${variable} \"${${variable}}\")" COMPONENT libivmq-dev)
  endforeach()
  set(pc "${PROJECT_BINARY_DIR}/ivmq.pc")
  install(CODE "configure_file(\"${PROJECT_SOURCE_DIR}/cmake/ivmq.pc.in\" \"${pc}\" @ONLY)"
    COMPONENT libivmq-dev)
  install(FILES "${pc}" DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig" COMPONENT libivmq-dev)
endfunction()
